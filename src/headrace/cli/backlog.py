"""What `headrace up` shows while the pipeline works off what was accepted before it started."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from rich.console import Console

from headrace.observe.exchange import all_numbers

_LOOK_SECONDS = 0.5
_WORTH_BYTES = 8_000_000
"""Less is worked off before anybody could read the line."""


async def show_backlog(sockets: Path, out: Console) -> None:
    """Show what is left until nothing is; at once when it is little. `sockets` is the processes' folder."""
    first = left = await _waiting(sockets)
    if first < _WORTH_BYTES:
        return
    began = time.monotonic()
    with out.status(_line(left, 0.0)) as status:
        if not out.is_terminal:
            out.print(_line(left, 0.0))
        while left:
            await asyncio.sleep(_LOOK_SECONDS)
            left = await _waiting(sockets)
            rate = max(first - left, 0) / (time.monotonic() - began)
            status.update(_line(left, rate))
    out.print(f"Worked off {first / 1e6:,.0f} MB in {time.monotonic() - began:.0f} s.")


async def _waiting(sockets: Path) -> int:
    snapshots = await all_numbers(sockets)
    found = (value for one in snapshots for _, value in one.get("headrace_journal_waiting_bytes", ()))
    return int(sum(found))


def _line(left: int, rate: float) -> str:
    speed = f", {rate / 1e6:,.0f} MB/s" if rate else ""
    return f"Working off what was accepted before: {left / 1e6:,.0f} MB left{speed}"
