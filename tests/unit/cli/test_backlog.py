"""The line of `headrace up` that tells what is worked off."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest
from rich.console import Console

from headrace.cli.backlog import show_backlog
from headrace.observe.exchange import giving_numbers, numbers_socket
from headrace.observe.metrics import Snapshot


@pytest.mark.parametrize(("start", "shown"), [(1_000_000, False), (900_000_000, True)])
def test_it_is_shown_until_all_is_worked_off(tmp_path: Path, start: int, shown: bool) -> None:
    left = [start, start // 2, 0]

    def numbers() -> Snapshot:
        return {"headrace_journal_waiting_bytes": [(("j",), left.pop(0) if len(left) > 1 else left[0])]}

    async def run() -> str:
        out = Console(file=io.StringIO(), width=100)
        async with giving_numbers(numbers_socket(tmp_path, "engine-0"), numbers):
            await show_backlog(tmp_path, out)
        assert isinstance(out.file, io.StringIO)
        return out.file.getvalue()

    text = asyncio.run(run())
    assert ("900 MB left" in text) == shown
    assert ("Worked off 900 MB in" in text) == shown
