"""What the pipeline costs alone: from a journal on disk to published and committed rows, in one process.

    python -m benchmarks.pipeline --megabytes 600 --body 64K --transform plain

Processor time is told by thread and in all, in ms for each MB of JSON. The journal is written before.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import threading
import time
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table
from tests.transform_kit import PipelineBench, make_flow, make_rule, make_table, wait_idle

from benchmarks.bodies import SHAPES, BodyMaker
from headrace.clock import SystemClock
from headrace.disk import RealDisk
from headrace.journal.model import Entry
from headrace.kql.types import KustoType
from headrace.observe.receipts import Receipts

BODIES = {"1K": 1024, "64K": 64 * 1024, "900K": 900 * 1024}
_TICKS = os.sysconf("SC_CLK_TCK")


def kinds(columns: dict[str, str]) -> list[tuple[str, KustoType]]:
    """A shape's columns as the catalog has them."""
    return [(name, KustoType("bool" if kind == "boolean" else kind)) for name, kind in columns.items()]


def run(shape_name: str, body: str, megabytes: float, transform: dict[str, object]) -> dict[str, float]:
    """One run; the figures by name."""
    shape = SHAPES[shape_name]
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        table = make_table(columns=kinds(shape.output))
        rule = make_rule(make_flow(transform=shape.transform), columns=kinds(shape.columns))
        bench = PipelineBench(
            Path(folder),
            {(rule.immutable_id, 1): rule},
            (table,),
            transform={"batch_seconds": 0.25, **transform},
        )
        with bench:
            sent, rows = _fill(bench, shape_name, BODIES[body], megabytes)
            receipts = Receipts(Path(folder) / "receipts", RealDisk(), SystemClock())
            pipeline = bench.pipeline(receipts=receipts)
            watch = _Threads()
            started, used = time.monotonic(), time.process_time()
            pipeline.start()
            watch.start()
            wait_idle(pipeline, 600)
            idle, idle_used = time.monotonic(), time.process_time()
            shares = watch.stop()
            assert pipeline.stop()
            stopped, stopped_used = time.monotonic(), time.process_time()
            receipts.close()
            kept = sum(flow.stored for flow in pipeline.progress().streams.values())
            assert kept == rows, (kept, rows)
    mb = sent / 1e6
    return {
        "mb_s": round(mb / (idle - started), 1),
        "cpu_ms_per_mb": round((idle_used - used) * 1e3 / mb, 2),
        "with_last_commit_cpu_ms_per_mb": round((stopped_used - used) * 1e3 / mb, 2),
        "last_commit_s": round(stopped - idle, 2),
        **{f"{name}_ms_per_mb": round(seconds * 1e3 / mb, 2) for name, seconds in sorted(shares.items())},
    }


def _fill(bench: PipelineBench, shape: str, size: int, megabytes: float) -> tuple[int, int]:
    """Write distinct gzip bodies into the journal; JSON bytes, and rows that the transform keeps."""
    makers = [BodyMaker(shape, size, datetime.now(UTC).isoformat(), seed) for seed in range(8)]
    journal = bench.journal
    assert journal is not None
    rule = next(iter(bench.rules))[0]

    async def write() -> tuple[int, int]:
        sent = rows = serial = 0
        while sent < megabytes * 1e6:
            waiting = []
            for maker in makers:
                serial += 1
                data = maker.make(serial)
                entry = Entry(
                    f"{serial:032x}",
                    "",
                    "p",
                    rule,
                    1,
                    "Custom-Things",
                    "gzip",
                    data,
                    maker.json_bytes,
                    maker.rows,
                )
                waiting.append(journal.append(entry))
                sent += maker.json_bytes
                rows += maker.kept_rows
            await asyncio.gather(*waiting)
        return sent, rows

    return bench.loop.run_until_complete(write())


class _Threads:
    """Processor time by thread, read from the system while the threads live."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[str, float]] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="watch")

    def start(self) -> None:
        self._first = self._look()
        self._thread.start()

    def stop(self) -> dict[str, float]:
        self._done.set()
        self._thread.join()
        self._seen |= self._look()
        sums: dict[str, float] = defaultdict(float)
        for key, (name, seconds) in self._seen.items():
            sums[name] += seconds - self._first.get(key, (name, 0.0))[1]
        return sums

    def _loop(self) -> None:
        while not self._done.wait(0.2):
            self._seen |= self._look()

    def _look(self) -> dict[int, tuple[str, float]]:
        names = {thread.native_id: thread.name for thread in threading.enumerate()}
        found = {}
        for path in Path("/proc/self/task").iterdir():
            try:
                fields = (path / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            seconds = (int(fields[11]) + int(fields[12])) / _TICKS
            found[int(path.name)] = (names.get(int(path.name), "native"), seconds)
        return found


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=float, default=600)
    parser.add_argument("--body", choices=BODIES, default="64K")
    parser.add_argument("--transform", choices=SHAPES, default="plain")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings of the transform section"
    )
    options = parser.parse_args()
    own: dict[str, object] = dict(one.split("=", 1) for one in options.set)
    figures = run(options.transform, options.body, options.megabytes, own)
    table = Table("figure", "value", title=f"pipeline alone, {options.transform}, {options.body} bodies")
    for name, value in figures.items():
        table.add_row(name, str(value))
    Console().print(table)


if __name__ == "__main__":
    main()
