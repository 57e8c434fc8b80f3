"""How fast `parse` with literal delimiters is, against one capture regex over the same texts in the same engine.

    python -m benchmarks.parse --rows 200000 --runs 5 --json result.json

One thread, texts in memory, all columns computed and counted. The regex is written by hand in two ways: as `parse`
defines its pattern (each column as few letters as possible), and with letter classes that rule out its delimiters,
which is faster and means the same on these texts only. Outcomes have to be equal.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
from rich.console import Console
from rich.table import Table as Grid
from sqlglot import exp

from headrace.kql.api import Output, Scan, compile_transform, sql_text
from headrace.kql.sql.session import prepare
from headrace.kql.types import KustoType, Schema, SchemaColumn


@dataclass(frozen=True, slots=True)
class Case:
    """A pattern in KQL, and as regexes with a group a column."""

    name: str
    pattern: str
    columns: tuple[str, ...]
    lazy: str
    classes: str
    numbers: tuple[str, ...] = ()


CASES = (
    Case(
        "access line, text",
        r'ip " " id " " usr " [" stamp "] \"" verb " " path " " protocol "\" " status " " size " " rest',
        ("ip", "id", "usr", "stamp", "verb", "path", "protocol", "status", "size", "rest"),
        r'(?s)^(.*?) (.*?) (.*?) \[(.*?)\] "(.*?) (.*?) (.*?)" (.*?) (.*?) (.*)$',
        r'^([^ ]*) ([^ ]*) ([^ ]*) \[([^]]*)\] "([^ ]*) ([^ ]*) ([^"]*)" ([^ ]*) ([^ ]*) (.*)$',
    ),
    Case(
        "access line, typed",
        r'ip " " id " " usr " [" stamp "] \"" verb " " path " " protocol "\" " status: int " " size: long " " rest',
        ("ip", "id", "usr", "stamp", "verb", "path", "protocol", "status", "size", "rest"),
        r'(?s)^(.*?) (.*?) (.*?) \[(.*?)\] "(.*?) (.*?) (.*?)" (.*?) (.*?) (.*)$',
        r'^([^ ]*) ([^ ]*) ([^ ]*) \[([^]]*)\] "([^ ]*) ([^ ]*) ([^"]*)" ([^ ]*) ([^ ]*) (.*)$',
        ("status", "size"),
    ),
    Case(
        "address and request",
        r'ip " " * "] \"" verb " " path " " * "\" " status " " *',
        ("ip", "verb", "path", "status"),
        r'(?s)^(.*?) .*?\] "(.*?) (.*?) .*?" (.*?) ',
        r'^([^ ]*) [^]]*\] "([^ ]*) ([^ ]*) [^"]*" ([^ ]*) ',
    ),
    Case(
        "agent at the end",
        r'* "\" \"" agent "\""',
        ("agent",),
        r'(?s)^.*?" "(.*)"$',
        r'" "([^"]*)"$',
    ),
)


def texts(rows: int) -> list[str]:
    """Lines of a web server's log in the combined format."""
    chance = random.Random(7)
    pick = chance.choice
    return [
        f"{chance.randint(1, 255)}.{chance.randint(0, 255)}.{chance.randint(0, 255)}.{chance.randint(0, 255)} - "
        f"{pick(('-', 'anna', 'jürgen'))} [27/Nov/2026:11:{chance.randint(10, 59)}:{chance.randint(10, 59)} +0000] "
        f'"{pick(("GET", "POST", "PUT"))} /{pick(("api", "static"))}/{pick(("users", "orders"))}/'
        f'{chance.randint(1, 99_999)} HTTP/1.1" {pick((200, 200, 304, 404, 500))} {chance.randint(10, 99_999)} '
        f'"https://example.org/{pick(("a", "bb", "ccc"))}" "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"'
        for _ in range(rows)
    ]


def compiled(case: Case) -> str:
    """The select of a transform whose whole work is the `parse`."""
    text = f"source | parse s with {case.pattern} | project {', '.join(case.columns)}"
    statement = compile_transform(text, Schema((SchemaColumn("s", KustoType.STRING),))).statements[0]

    def scan(scan: Scan) -> exp.Query:
        return exp.select(exp.alias_(exp.column("s"), scan.columns[0].sql_name)).from_("lines")

    names = [f"{made.sql_name} AS {name}" for made, name in zip(statement.columns, case.columns, strict=True)]
    return f"SELECT {', '.join(names)} FROM ({sql_text(statement.to_sql(scan, Output.STORAGE))})"


def by_regex(case: Case, pattern: str) -> str:
    """The select of one capture regex."""
    values = [
        f"TRY_CAST(m.{name} AS BIGINT) AS {name}" if name in case.numbers else f"m.{name} AS {name}"
        for name in case.columns
    ]
    captured = f"regexp_extract(s, '{pattern}', {list(case.columns)})"
    return f"SELECT {', '.join(values)} FROM (SELECT {captured} AS m FROM lines)"


class Measured:
    """An engine of one thread that holds the lines."""

    def __init__(self, rows: int, runs: int) -> None:
        self._engine = duckdb.connect(config={"threads": 1})
        prepare(self._engine)
        self._engine.execute("CREATE TABLE lines (s VARCHAR)")
        self._engine.from_arrow(pa.table({"s": texts(rows)})).insert_into("lines")
        self._runs = runs
        self.bytes: int = self._count("SELECT sum(strlen(s)) FROM lines")

    def seconds(self, select: str, columns: tuple[str, ...]) -> float:
        """The best processor time of computing the columns of a select."""
        whole = f"SELECT {', '.join(f'count({name})' for name in columns)} FROM ({select})"
        times = []
        for _ in range(self._runs):
            start = time.thread_time()
            self._engine.execute(whole).fetchall()
            times.append(time.thread_time() - start)
        return min(times)

    def differences(self, first: str, second: str) -> int:
        """How many rows two selects do not share."""
        return self._count(f"SELECT count(*) FROM (({first}) EXCEPT ALL ({second}))")

    def _count(self, select: str) -> int:
        row = self._engine.execute(select).fetchone()
        assert row is not None
        return int(row[0])


@dataclass
class Outcome:
    """Megabytes of text a second, and how many times the regexes `parse` is as fast."""

    name: str
    parse: float
    lazy_regex: float
    class_regex: float
    to_lazy: float
    to_class: float


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="benchmarks.parse", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    measured = Measured(options.rows, options.runs)
    outcomes = []
    for case in CASES:
        ways = [compiled(case), by_regex(case, case.lazy), by_regex(case, case.classes)]
        if any(measured.differences(ways[0], way) for way in ways[1:]):
            raise SystemExit(f"{case.name}: the outcome differs from that of a regex")
        times = [measured.seconds(way, case.columns) for way in ways]
        speeds = [round(measured.bytes / seconds / 1e6, 1) for seconds in times]
        ratios = [round(seconds / times[0], 2) for seconds in times[1:]]
        outcomes.append(Outcome(case.name, *speeds, *ratios))
    grid = Grid(title=f"{options.rows:,} lines, {measured.bytes / 1e6:.0f} MB, one thread; MB/s")
    for column in asdict(outcomes[0]):
        grid.add_column(column.replace("_", " "), justify="left" if column == "name" else "right")
    for outcome in outcomes:
        grid.add_row(*(str(value) for value in asdict(outcome).values()))
    Console(width=110).print(grid)
    if options.json:
        report = {"options": {"rows": options.rows, "runs": options.runs}, "duckdb": duckdb.__version__}
        options.json.write_text(
            json.dumps(report | {"patterns": [asdict(o) for o in outcomes]}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
