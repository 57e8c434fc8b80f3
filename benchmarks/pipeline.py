"""What the pipeline costs alone: from a journal on disk to published and committed rows, in one process.

    python -m benchmarks.pipeline --megabytes 600 --body 64K --transform plain
    python -m benchmarks.pipeline --rules 1000 --tables 100 --mb-s 60

Processor time is told by thread and in all, in ms for each MB of JSON. The journal is written before, or with `--mb-s`
meanwhile, by the main thread; then it is told, too, how old the oldest payload was that waited.
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
from headrace.clock import SECOND, SystemClock
from headrace.disk import RealDisk
from headrace.journal.model import Entry
from headrace.kql.types import KustoType
from headrace.observe.receipts import Receipts
from headrace.transform.pipeline import Pipeline

BODIES = {"1K": 1024, "64K": 64 * 1024, "900K": 900 * 1024}
_TICKS = os.sysconf("SC_CLK_TCK")


def kinds(columns: dict[str, str]) -> list[tuple[str, KustoType]]:
    """A shape's columns as the catalog has them."""
    return [(name, KustoType("bool" if kind == "boolean" else kind)) for name, kind in columns.items()]


def run(
    shape_name: str,
    body: str,
    megabytes: float,
    transform: dict[str, object],
    rules: int = 1,
    tables: int = 1,
    mb_s: float | None = None,
) -> dict[str, float]:
    """One run; the figures by name."""
    shape = SHAPES[shape_name]
    columns = kinds(shape.columns)
    names = [f"Things{number}_CL" for number in range(tables)]
    flows = [make_flow(transform=shape.transform, table=name) for name in names]
    made = [
        make_rule(flows[number % tables], columns=columns, immutable_id=f"dcr-{number:032x}")
        for number in range(rules)
    ]
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        bench = PipelineBench(
            Path(folder),
            {(rule.immutable_id, 1): rule for rule in made},
            tuple(
                make_table(name, kinds(shape.output), f"inc-{number}") for number, name in enumerate(names)
            ),
            transform={"batch_seconds": 0.25, **transform},
        )
        with bench:
            source = _Source(bench, shape_name, BODIES[body], megabytes)
            if mb_s is None:
                source.write()
            receipts = Receipts(Path(folder) / "receipts", RealDisk(), SystemClock())
            pipeline = bench.pipeline(receipts=receipts)
            watch = _Watch(pipeline)
            pipeline.start()
            started = time.monotonic()
            watch.start()
            if mb_s is not None:
                source.write(mb_s)
            wait_idle(pipeline, 600)
            idle = time.monotonic()
            watch.stop()
            used = time.process_time()
            assert pipeline.stop()
            stopped, stopped_used = time.monotonic(), time.process_time()
            receipts.close()
            kept = sum(flow.stored for flow in pipeline.progress().streams.values())
            assert kept == source.rows, (kept, source.rows)
    mb = source.sent / 1e6
    cpu = sum(watch.seconds.values()) - watch.seconds.pop("MainThread", 0.0)
    lags = sorted(watch.lags)
    return {
        "mb_s": round(mb / (idle - started), 1),
        "cpu_ms_per_mb": round(cpu * 1e3 / mb, 2),
        "with_last_commit_cpu_ms_per_mb": round((cpu + stopped_used - used) * 1e3 / mb, 2),
        "last_commit_s": round(stopped - idle, 2),
        "oldest_waiting_p50_s": round(lags[len(lags) // 2], 2),
        "oldest_waiting_p99_s": round(lags[len(lags) * 99 // 100], 2),
        **{f"{name}_ms_per_mb": round(taken * 1e3 / mb, 2) for name, taken in sorted(watch.seconds.items())},
    }


class _Source:
    """Writes distinct gzip bodies into the journal, to all rules in turn. `sent` are JSON bytes, `rows` those kept."""

    def __init__(self, bench: PipelineBench, shape: str, size: int, megabytes: float) -> None:
        self.sent = self.rows = 0
        self._bench = bench
        self._makers = [BodyMaker(shape, size, datetime.now(UTC).isoformat(), seed) for seed in range(8)]
        self._bytes = megabytes * 1e6

    def write(self, mb_s: float | None = None) -> None:
        """Write all, no faster than this."""
        self._bench.loop.run_until_complete(self._write(mb_s))

    async def _write(self, mb_s: float | None) -> None:
        journal = self._bench.journal
        assert journal is not None
        rules = [rule for rule, _ in self._bench.rules]
        serial = 0
        started = time.monotonic()
        while self.sent < self._bytes:
            waiting = []
            for maker in self._makers:
                rule, data = rules[serial % len(rules)], maker.make(serial)
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
                serial += 1
                waiting.append(journal.append(entry))
                self.sent += maker.json_bytes
                self.rows += maker.kept_rows
            await asyncio.gather(*waiting)
            if mb_s is not None:
                await asyncio.sleep(max(started + self.sent / 1e6 / mb_s - time.monotonic(), 0))


class _Watch:
    """Looks at processor time by thread, while the threads live, and at how old the oldest waiting payload is."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.seconds: dict[str, float] = {}
        self.lags: list[float] = []
        self._pipeline = pipeline
        self._clock = SystemClock()
        self._seen: dict[int, tuple[str, float]] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="watch")

    def start(self) -> None:
        self._first = self._look()
        self._thread.start()

    def stop(self) -> None:
        self._done.set()
        self._thread.join()
        self._seen |= self._look()
        sums: dict[str, float] = defaultdict(float)
        for key, (name, seconds) in self._seen.items():
            sums[name] += seconds - self._first.get(key, (name, 0.0))[1]
        self.seconds = dict(sums)

    def _loop(self) -> None:
        while not self._done.wait(0.2):
            self._seen |= self._look()
            oldest = self._pipeline.oldest()
            self.lags.append(0.0 if oldest is None else (self._clock.now() - oldest) / SECOND)

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
    parser.add_argument("--rules", type=int, default=1, help="so many rules of the same kind, in turn")
    parser.add_argument(
        "--tables", type=int, default=1, help="so many tables, over which the rules are spread"
    )
    parser.add_argument("--mb-s", type=float, help="write the journal meanwhile, no faster than this")
    options = parser.parse_args()
    own: dict[str, object] = dict(one.split("=", 1) for one in options.set)
    figures = run(
        options.transform, options.body, options.megabytes, own, options.rules, options.tables, options.mb_s
    )
    table = Table("figure", "value", title=f"pipeline alone, {options.transform}, {options.body} bodies")
    for name, value in figures.items():
        table.add_row(name, str(value))
    Console().print(table)


if __name__ == "__main__":
    main()
