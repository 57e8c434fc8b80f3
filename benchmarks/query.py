"""How much slower KQL is than SQL written by hand over the same files, on eleven queries.

    python -m benchmarks.query --rows 3000000 --runs 7 --json result.json

Makes a table of seven days through the table store, then runs each query both ways in turn in one process and
one engine: the KQL through the query engine (compile, pin, run, fetch; with and without the JSON of the answer),
and the SQL of this file on the pruned list of files. Results have to be equal. Ratios compare the best runs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from rich.console import Console
from rich.table import Table as Grid

from benchmarks.query_data import DAYS, FIRST_DAY, HOSTS, NAME, Data, make_data
from headrace.clock import DAY, SystemClock, to_datetime
from headrace.query.database import WorkspaceView
from headrace.query.engine import QueryEngine
from headrace.query.model import QueryRequest
from headrace.settings import QuerySettings
from headrace.tables.reader import TableReader

_START = to_datetime(FIRST_DAY * DAY).date()
_HOUR = f"{_START + timedelta(days=3)} 10:00:00"
_NEXT_HOUR = f"{_START + timedelta(days=3)} 11:00:00"


@dataclass(frozen=True, slots=True)
class Case:
    """A query both ways. `{requests}` and `{hosts}` in the SQL are the files of the tables."""

    name: str
    kql: str
    sql: str
    bounds: tuple[datetime | None, datetime | None] = (None, None)


CASES = (
    Case("count", f"{NAME} | count", "SELECT count(*) FROM {requests}"),
    Case(
        "count from an hour on",
        f"{NAME} | where TimeGenerated >= datetime({_HOUR}) | count",
        f"SELECT count(*) FROM {{requests}} WHERE TimeGenerated >= TIMESTAMPTZ '{_HOUR}Z'",
        (datetime.fromisoformat(f"{_HOUR}Z"), None),
    ),
    Case(
        "count by day",
        f"{NAME} | summarize count() by bin(TimeGenerated, 1d)",
        "SELECT time_bucket(INTERVAL 24 HOUR, TimeGenerated), count(*) FROM {requests} GROUP BY 1",
    ),
    Case(
        "count by hour",
        f"{NAME} | summarize count() by bin(TimeGenerated, 1h)",
        "SELECT time_bucket(INTERVAL 1 HOUR, TimeGenerated), count(*) FROM {requests} GROUP BY 1",
    ),
    Case(
        "one hour of seven days",
        f"{NAME} | where TimeGenerated >= datetime({_HOUR}) and TimeGenerated < datetime({_NEXT_HOUR})\n"
        "| summarize count(), avg(DurationMs), sum(Bytes) by Host, Status",
        "SELECT Host, Status, count(*), avg(DurationMs), sum(Bytes)::BIGINT FROM {requests}\n"
        f"WHERE TimeGenerated >= TIMESTAMPTZ '{_HOUR}Z' AND TimeGenerated < TIMESTAMPTZ '{_NEXT_HOUR}Z'\n"
        "GROUP BY 1, 2",
        (datetime.fromisoformat(f"{_HOUR}Z"), datetime.fromisoformat(f"{_NEXT_HOUR}Z")),
    ),
    Case(
        "rare has",
        f'{NAME} | where Message has "zwei" | project TimeGenerated, Host, Message',
        "SELECT TimeGenerated, Host, Message FROM {requests}\n"
        "WHERE lower(Message) LIKE '%zwei%' AND regexp_matches(lower(Message), '(^|[^\\pL\\pN])zwei([^\\pL\\pN]|$)')",
    ),
    Case(
        "rare contains",
        f'{NAME} | where Message contains "replica-z" | project TimeGenerated, Host, Message',
        "SELECT TimeGenerated, Host, Message FROM {requests} WHERE lower(Message) LIKE '%replica-z%'",
    ),
    Case(
        "top 10",
        f"{NAME} | top 10 by DurationMs desc, TimeGenerated desc",
        "SELECT '5b1c5f0e-6f7e-4f5c-9a35-3f3d1c0f6a10', TimeGenerated, Host, Level, Method, Url, Status, Bytes,\n"
        f"DurationMs, Message, Properties, '{NAME}', _ResourceId FROM {{requests}}\n"
        "ORDER BY DurationMs DESC NULLS LAST, TimeGenerated DESC LIMIT 10",
    ),
    Case(
        "arg_max by host",
        f"{NAME} | summarize arg_max(TimeGenerated, *) by Host",
        "SELECT m.Host, m.TimeGenerated, m.tenant, m.Level, m.Method, m.Url, m.Status, m.Bytes, m.DurationMs,\n"
        "m.Message, m.Properties, m.type, m._ResourceId FROM (SELECT arg_max({{Host: Host, tenant:\n"
        "'5b1c5f0e-6f7e-4f5c-9a35-3f3d1c0f6a10', TimeGenerated: TimeGenerated, Level: Level, Method: Method,\n"
        "Url: Url, Status: Status, Bytes: Bytes, DurationMs: DurationMs, Message: Message, Properties: Properties,\n"
        f"type: '{NAME}', _ResourceId: _ResourceId}}}}, TimeGenerated) AS m FROM {{requests}} GROUP BY Host)",
    ),
    Case(
        "innerunique join",
        f"{HOSTS} | join ({NAME} | where Status == 500) on Host | summarize count(), sum(Bytes) by Site",
        "SELECT Site, count(*), sum(Bytes)::BIGINT FROM (SELECT DISTINCT ON (Host) * FROM {hosts}) h\n"
        "JOIN (SELECT Host, Bytes FROM {requests} WHERE Status = 500) r USING (Host) GROUP BY 1",
    ),
    Case(
        "parse and summarize",
        f'{NAME} | parse Message with * "for user " User " took " Took:long " ms; " *\n'
        "| summarize count(), avg(Took) by User",
        "SELECT p[1], count(*), avg(p[2]::BIGINT) FROM (SELECT [split_part(rest, ' took ', 1),\n"
        "split_part(split_part(rest, ' took ', 2), ' ms; ', 1)] AS p\n"
        "FROM (SELECT split_part(Message, 'for user ', 2) AS rest FROM {requests})) GROUP BY 1",
    ),
)


@dataclass
class Timing:
    """Seconds of one way of running a query: of the wall clock and of the processor."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    async def take(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Do the work once and note its time."""
        wall, cpu = time.perf_counter(), time.process_time()
        result = await work()
        self.cpu.append(time.process_time() - cpu)
        self.wall.append(time.perf_counter() - wall)
        return result


@dataclass
class Outcome:
    """One query's times in milliseconds and ratios of KQL to SQL."""

    name: str
    rows: int
    equal: bool
    sql_best: float
    sql_median: float
    kql_best: float
    kql_median: float
    answer_best: float
    answer_median: float
    ratio_wall: float
    ratio_cpu: float
    ratio_answer: float


class Runner:
    """The query engine over the made tables."""

    def __init__(self, data: Data, scratch: Path, threads: int) -> None:
        settings = QuerySettings(threads=threads)
        self._reader = TableReader(data.root)
        self._data = data
        self.engine = QueryEngine(self._reader, data.root, scratch / "spill", settings, SystemClock())
        self.view = WorkspaceView(data.catalog, (data.workspace,), lambda *_: True)
        self._cursor = self.engine.cursor()

    async def answer(self, kql: str) -> list[list[Any]]:
        """The whole way to the JSON of the answer."""
        result = await self.engine.run(self.view, QueryRequest(kql), 600)
        if result.partial is not None:
            raise RuntimeError(result.partial.message)
        self._text = result.tables[0].rows
        return []

    def last_rows(self) -> list[list[Any]]:
        """The rows of the last answer."""
        rows: list[list[Any]] = json.loads(self._text)
        return rows

    async def kql(self, kql: str) -> pa.Table:
        """Compile, pin, run and fetch."""
        prepared = self.engine.prepare(self.view, QueryRequest(kql))
        return self._cursor.execute(prepared.queries[0].sql).to_arrow_table()

    def plan(self, kql: str) -> str:
        """The SQL that a KQL text becomes."""
        return self.engine.prepare(self.view, QueryRequest(kql)).queries[0].sql

    def handwritten(self, case: Case) -> str:
        """The SQL of a case over the files that it can need."""
        low, high = (None if bound is None else int(bound.timestamp() * 1_000_000) for bound in case.bounds)
        tables = {}
        for key, name in (("requests", NAME), ("hosts", HOSTS)):
            table = self._data.workspace.tables[name]
            snapshot = self._reader.pin(table)
            folder = self._data.root / table.workspace / table.name / table.incarnation
            paths = [str(folder / file.path) for file in snapshot.files if file.overlaps(low, high)]
            tables[key] = f"read_parquet({paths!r})"
        return case.sql.format(**tables)

    async def sql(self, text: str) -> pa.Table:
        """Run and fetch."""
        return self._cursor.execute(text).to_arrow_table()

    def close(self) -> None:
        """Let the engine go."""
        self._cursor.close()
        self.engine.close()


async def measure(runner: Runner, case: Case, runs: int) -> Outcome:
    """Run a case both ways in turn."""
    sql = runner.handwritten(case)
    by_hand, fetched, answered = Timing(), Timing(), Timing()
    for run in range(runs):
        ways = [
            (by_hand, lambda: runner.sql(sql)),
            (fetched, lambda: runner.kql(case.kql)),
            (answered, lambda: runner.answer(case.kql)),
        ]
        for timing, work in ways if run % 2 else reversed(ways):
            found = await timing.take(work)
            if timing is by_hand:
                expected = found
    rows = runner.last_rows()
    ordered = case.name.startswith("top")
    equal = _comparable(rows, ordered) == _comparable(_plain(expected), ordered)
    best = [min(timing.wall) for timing in (by_hand, fetched, answered)]
    median = [statistics.median(timing.wall) for timing in (by_hand, fetched, answered)]
    return Outcome(
        name=case.name,
        rows=len(rows),
        equal=equal,
        sql_best=_milliseconds(best[0]),
        sql_median=_milliseconds(median[0]),
        kql_best=_milliseconds(best[1]),
        kql_median=_milliseconds(median[1]),
        answer_best=_milliseconds(best[2]),
        answer_median=_milliseconds(median[2]),
        ratio_wall=round(best[1] / best[0], 2),
        ratio_cpu=round(min(fetched.cpu) / min(by_hand.cpu), 2),
        ratio_answer=round(best[2] / best[0], 2),
    )


def _milliseconds(seconds: float) -> float:
    return round(1000 * seconds, 2)


def _plain(table: pa.Table) -> list[list[Any]]:
    columns = [column.to_pylist() for column in table.columns]
    return [[_value(value) for value in row] for row in zip(*columns, strict=True)]


def _value(value: Any) -> Any:
    if isinstance(value, datetime):
        text = value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
        return text.rstrip("0").rstrip(".") + "Z"
    return value


def _comparable(rows: list[list[Any]], ordered: bool) -> list[str]:
    """Rows as text; reals to ten digits, because sums of them depend on the order."""
    texts = [
        json.dumps([float(f"{value:.10g}") if isinstance(value, float) else value for value in row])
        for row in rows
    ]
    return texts if ordered else sorted(texts)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="benchmarks.query", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=3_000_000)
    parser.add_argument("--files-a-day", type=int, default=1)
    parser.add_argument("--published", type=int, default=4, help="files that are not committed yet")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", help="run only cases whose name holds this")
    parser.add_argument("--show", action="store_true", help="print the SQL that the KQL becomes")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    console = Console(width=120)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        data = make_data(scratch / "tables", options.rows, options.files_a_day, options.published)
        runner = Runner(data, scratch, options.threads)
        outcomes: list[Outcome] = []
        try:
            for case in CASES:
                if options.only and options.only not in case.name:
                    continue
                if options.show:
                    console.print(runner.plan(case.kql), markup=False, highlight=False)
                outcomes.append(asyncio.run(measure(runner, case, options.runs)))
        finally:
            runner.close()
    title = f"{options.rows:,} rows over {DAYS} days, {data.files} files, {data.bytes / 1e6:.0f} MB; ms"
    console.print(_grid(title, outcomes))
    if options.json:
        report = {
            "options": {name: value for name, value in vars(options).items() if name != "json"},
            "bytes": data.bytes,
            "files": data.files,
            "duckdb": duckdb.__version__,
            "queries": [asdict(outcome) for outcome in outcomes],
        }
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    if not all(outcome.equal for outcome in outcomes):
        raise SystemExit("a result differs from that of the SQL written by hand")


def _grid(title: str, outcomes: list[Outcome]) -> Grid:
    grid = Grid(title=title)
    grid.add_column("query")
    for name in ("rows", "SQL best", "median", "KQL best", "median", "JSON best", "median"):
        grid.add_column(name, justify="right")
    for name in ("KQL/SQL", "CPU", "JSON/SQL", "equal"):
        grid.add_column(name, justify="right")
    for outcome in outcomes:
        values = [value for name, value in asdict(outcome).items() if name not in ("name", "rows", "equal")]
        figures = [f"{value:.2f}" if place > 5 else f"{value:.1f}" for place, value in enumerate(values)]
        grid.add_row(outcome.name, f"{outcome.rows:,}", *figures, "yes" if outcome.equal else "NO")
    return grid


if __name__ == "__main__":
    main()
