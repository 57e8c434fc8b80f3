"""Work beside a process's main task: it never ends unnoticed."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from headrace.app.common import running_beside
from headrace.app.own_log import journal_sizes


def test_work_that_fails_ends_the_block_with_its_error(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        raise LookupError("gone")

    async def main() -> None:
        async with running_beside(work()):
            await asyncio.Event().wait()

    with caplog.at_level(logging.CRITICAL), pytest.raises(LookupError):
        asyncio.run(main())
    assert [record.message.rpartition(".")[2] for record in caplog.records] == ["work failed: LookupError"]


def test_work_ends_with_its_block_and_may_end_before_it() -> None:
    async def main() -> list[str]:
        ended: list[str] = []

        async def long() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("long")

        async def short() -> None:
            ended.append("short")

        async with running_beside(long()), running_beside(short()):
            await asyncio.sleep(0.01)
        return ended

    assert asyncio.run(main()) == ["short", "long"]


def test_a_segment_that_is_let_go_while_sizes_are_taken(tmp_path: Path) -> None:
    journal = tmp_path / "j"
    journal.mkdir()
    (journal / "1.seg").write_bytes(b"x" * 4096)
    (journal / "2.seg").symlink_to("nowhere")
    ((name, size),) = journal_sizes(tmp_path)
    assert (name, size >= 4096) == ("j", True)
