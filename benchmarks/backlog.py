"""A start with a full journal: how soon the server is ready, and how fast what was accepted before is worked off.

    python -m benchmarks.backlog --megabytes 1000 --json result.json

Accepts nothing itself: it writes the journal as a gateway would, then starts a server on it. `journal_mb` are bytes on
disk, `json_mb` those after inflate.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from tests.server.kit import api_of
from tests.servers import ServerProcess, running_server, start_server

from headrace.clock import SystemClock
from headrace.disk import RealDisk
from headrace.ids import new_guid
from headrace.journal.files import journal_folders, open_free_journal
from headrace.journal.model import Entry
from headrace.settings import JournalSettings

_ROWS = 128
_DISTINCT = 64
_TOGETHER = 64


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, default=1000, help="size of the journal on disk")
    parser.add_argument("--gzip", action="store_true", help="bodies as the SDKs send them")
    parser.add_argument("--json", type=Path, help="write the figures to a file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headrace-backlog-") as folder:
        figures = measure(Path(folder), arguments.megabytes * 1_000_000, zipped=arguments.gzip)
    out = Console()
    for name, value in figures.items():
        out.print(f"{name:24} {value:,.2f}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures))


def measure(folder: Path, size: int, *, zipped: bool) -> dict[str, float]:
    """All figures."""
    data = folder / "data"
    options = ("--data-dir", str(data), "--port", "0", "--quiet")
    with running_server(folder / "first", *options) as server:
        rule, stream = server.env["HEADRACE_DCR_IMMUTABLE_ID"], server.env["HEADRACE_DCR_STREAM"]
    bodies = asyncio.run(fill(data / "journal", rule, stream, size, zipped=zipped))
    journal = sum(
        path.stat().st_size for one in journal_folders(data / "journal") for path in one.glob("*.seg")
    )
    began = time.monotonic()
    server = start_server(folder / "second", *options)
    ready = time.monotonic() - began
    try:
        rows, drained = until_drained(server, bodies * _ROWS, began)
    finally:
        server.stop()
    text = bodies * len(_body(random.Random(0)))
    return {
        "journal_mb": journal / 1e6,
        "json_mb": text / 1e6,
        "ready_s": ready,
        "drained_s": drained,
        "drain_json_mb_s": text / 1e6 / max(drained - ready, 0.001),
        "rows": float(rows),
    }


async def fill(folder: Path, rule: str, stream: str, size: int, *, zipped: bool) -> int:
    """Write records of about `size` bytes in all; how many."""
    source = random.Random(1)
    texts = [_body(source) for _ in range(_DISTINCT)]
    bodies = [gzip.compress(text, 1) if zipped else text for text in texts]
    journal = open_free_journal(folder, JournalSettings(), RealDisk(), SystemClock())
    written = count = 0
    try:
        while written < size:
            entries = []
            for _ in range(_TOGETHER):
                body, text = bodies[count % _DISTINCT], texts[count % _DISTINCT]
                encoding = "gzip" if zipped else ""
                entries.append(Entry(new_guid(), "", "", rule, 1, stream, encoding, body, len(text), _ROWS))
                written += len(body)
                count += 1
            await asyncio.gather(*(journal.append(entry) for entry in entries))
    finally:
        await journal.close()
    return count


def until_drained(server: ServerProcess, rows: int, began: float) -> tuple[int, float]:
    """The rows that are queryable once all are, and how long that took from the start on."""
    with api_of(server) as api:
        while (found := int(api.value(f"{api.env['HEADRACE_TABLE']} | count"))) < rows:
            time.sleep(0.25)
    return found, time.monotonic() - began


def _body(source: random.Random) -> bytes:
    """About 64 KB for the sample's stream."""
    rows: list[dict[str, Any]] = [
        {
            "Time": "2026-01-31T12:00:00Z",
            "Computer": f"web-{source.randrange(100):03d}",
            "Message": " ".join(f"{source.getrandbits(32):08x}" for _ in range(47)),
        }
        for _ in range(_ROWS)
    ]
    return json.dumps(rows).encode()


if __name__ == "__main__":
    main()
