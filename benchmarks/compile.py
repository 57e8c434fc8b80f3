"""How long KQL takes to become SQL: transforms and queries of 40 lines, each compiled many times in one process.

    python -m benchmarks.compile --runs 100 --json result.json

Counts from the text to the SQL's text. Nothing is remembered between two compilations of one text.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table as Grid
from sqlglot import exp

from headrace.kql.api import Database, Output, Scan, compile_query, compile_transform, sql_text
from headrace.kql.types import KustoType, Schema, SchemaColumn

_S, _L, _D, _DY, _I, _R = (
    KustoType.STRING,
    KustoType.LONG,
    KustoType.DATETIME,
    KustoType.DYNAMIC,
    KustoType.INT,
    KustoType.REAL,
)

SOURCE = {"Time": _D, "RawData": _S, "Host": _S, "Level": _S, "Application": _S, "Details": _DY}
TABLES = {
    "Requests_CL": {
        "TimeGenerated": _D,
        "Host": _S,
        "Level": _S,
        "Method": _S,
        "Url": _S,
        "Status": _I,
        "Bytes": _L,
        "DurationMs": _R,
        "Message": _S,
        "Properties": _DY,
    },
    "Hosts_CL": {"TimeGenerated": _D, "Host": _S, "Site": _S, "Owner": _S},
}

TRANSFORMS = {
    "filter and extend": """source
| where Level != "Debug" and isnotempty(RawData)
| extend TimeGenerated = Time, Message = tostring(RawData), Severity = iff(Level == "Error", 3, 1)
| project TimeGenerated, Host, Application, Severity, Message""",
    "access line": r"""source
| parse RawData with Ip " " Id " " User " [" Stamp "] \"" Method " " Path " " Protocol "\" " Status:int " " Bytes:long
| where Status >= 400 and Method in ("GET", "POST")
| extend TimeGenerated = Time, Section = tostring(split(Path, "/")[1]), Failed = Status >= 500
| project TimeGenerated, Host, Ip, Method, Path, Section, Status, Bytes, Failed""",
    "members of JSON": """source
| extend Parsed = parse_json(RawData)
| extend TimeGenerated = todatetime(Parsed.time), Code = toint(Parsed.result.code),
    Region = tostring(Details.region), Name = strcat(Host, "/", Application),
    Kind = case(Level == "Error", "failure", Level startswith "Warn", "warning", "note")
| where Code > 0 and Region !in ("test", "lab")
| project-away RawData, Parsed, Details, Time""",
}

QUERIES = {
    "failures by site": """let start = datetime(2026-05-01);
let finish = datetime(2026-05-08);
let slow = 500.0;
let noisy = dynamic(["web-001", "web-002", "web-003"]);
let rating = (ms: real) {
    case(
        ms < 100, "fast",
        ms < slow, "fair",
        "slow")
};
let sites = Hosts_CL
| where TimeGenerated >= start
| summarize arg_max(TimeGenerated, Site, Owner) by Host
| project Host, Site, Owner;
let failures = Requests_CL
| where TimeGenerated between (start .. finish)
| where Status >= 500
| where Host !in (noisy)
| extend Attempt = toint(Properties.attempt)
| extend Region = tostring(Properties.region)
| where Attempt > 0 or isempty(Region)
| summarize Failures = count(), LastSeen = max(TimeGenerated) by Host, Region;
Requests_CL
| where TimeGenerated between (start .. finish)
| where Level in ("Warning", "Error")
| where Message has "timeout" and not(Message contains "retry")
| extend Rating = rating(DurationMs)
| extend Section = tostring(split(Url, "/")[2])
| summarize
    Requests = count(),
    Slow = countif(Rating == "slow"),
    Mean = avg(DurationMs),
    P95 = percentile(DurationMs, 95),
    Users = dcount(Url)
    by Host, Section, bin(TimeGenerated, 1h)
| join kind=leftouter failures on Host
| join kind=inner sites on Host
| extend Share = round(100.0 * Slow / Requests, 2)
| where Requests > 10
| project TimeGenerated, Site, Owner, Host, Section, Region, Requests, Slow, Share, Mean, P95, Failures
| order by Share desc, Requests desc
| take 100""",
    "sessions and sources": """let window = 7d;
let finish = datetime(2026-05-08);
let start = finish - window;
let interesting = Requests_CL
| where TimeGenerated > start and TimeGenerated <= finish
| where Method == "POST"
| where Url startswith "/api/" and Url !endswith "/health"
| project TimeGenerated, Host, Url, Status, DurationMs, Message, Properties;
let parsed = interesting
| parse Message with * "from " Client " for user " User " took " Took:long " ms;" Rest
| where isnotempty(User)
| extend Details = parse_json(Properties)
| extend Region = tostring(Details.region), Attempt = tolong(Details.attempt)
| extend Day = startofday(TimeGenerated)
| project-away Properties, Details;
let busy = parsed
| summarize Requests = count() by User
| where Requests > 100
| top 50 by Requests desc;
let firsts = parsed
| summarize First = min(TimeGenerated), Clients = make_set(Client, 20) by User;
parsed
| where User in (busy)
| lookup kind=leftouter firsts on User
| extend Age = TimeGenerated - First
| extend Phase = case(
    Age < 1h, "new",
    Age < 1d, "known",
    "old")
| extend Spread = array_length(Clients)
| summarize
    Requests = count(),
    Failed = countif(Status >= 400),
    Slowest = max(Took),
    Regions = dcount(Region),
    Sample = take_any(Url)
    by User, Phase, Day
| extend Ratio = todouble(Failed) / Requests
| where Ratio > 0.05 or Regions > 3
| extend Label = strcat(User, " (", Phase, ")"), Week = startofweek(Day)
| project Day, Week, Label, Requests, Failed, Ratio, Slowest, Regions, Sample
| sort by Day asc, Ratio desc""",
}


class _Database:
    """The tables above."""

    def find_table(self, name: str) -> Schema | None:
        columns = TABLES.get(name)
        return _schema(columns) if columns is not None else None

    def table_names(self) -> Iterable[str]:
        return TABLES

    def workspace(self, name: str) -> Database | None:
        return None


def _schema(columns: dict[str, KustoType]) -> Schema:
    return Schema(tuple(SchemaColumn(name, kind) for name, kind in columns.items()))


def _scan(scan: Scan) -> exp.Query:
    columns = [exp.alias_(exp.column(column.name, quoted=True), column.sql_name) for column in scan.columns]
    table = exp.Table(this=exp.Identifier(this=scan.table, quoted=False))
    return exp.Select(expressions=columns or [exp.Literal.number(1)]).from_(table, copy=False)


def transform(text: str) -> str:
    """The SQL of a transform."""
    compiled = compile_transform(text, _schema(SOURCE))
    return sql_text(compiled.statements[0].to_sql(_scan, Output.STORAGE))


def query(text: str) -> str:
    """The SQL of a query."""
    return sql_text(compile_query(text, _Database()).statements[0].to_sql(_scan))


def measure(compile: Callable[[str], str], text: str, runs: int) -> dict[str, float]:
    """Milliseconds of `runs` compilations: wall clock, and processor time, which other work cannot lengthen."""
    wall, cpu = [], []
    for _ in range(5):
        compile(text)
    for _ in range(runs):
        before, used = time.perf_counter(), time.thread_time()
        compile(text)
        cpu.append(1000 * (time.thread_time() - used))
        wall.append(1000 * (time.perf_counter() - before))
    return {
        "lines": text.count("\n") + 1,
        "cpu_best": round(min(cpu), 2),
        "cpu_median": round(statistics.median(cpu), 2),
        "wall_best": round(min(wall), 2),
        "wall_median": round(statistics.median(wall), 2),
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="benchmarks.compile", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--profile", action="store_true", help="where the time goes")
    parser.add_argument("--show", action="store_true", help="print the SQL")
    options = parser.parse_args()
    work = [("transform", transform, *item) for item in TRANSFORMS.items()]
    work += [("query", query, *item) for item in QUERIES.items()]
    console = Console(width=110)
    if options.show:
        for _, compile, _, text in work:
            console.print(compile(text), markup=False, highlight=False)
    if options.profile:
        _profile(work, options.runs)
        return
    results = [
        {"kind": kind, "name": name} | measure(compile, text, options.runs)
        for kind, compile, name, text in work
    ]
    grid = Grid(title=f"text to SQL, {options.runs} times each; ms")
    for column in results[0]:
        grid.add_column(column.replace("_", " "), justify="left" if column in ("kind", "name") else "right")
    for result in results:
        grid.add_row(*(str(value) for value in result.values()))
    console.print(grid)
    if options.json:
        options.json.write_text(json.dumps({"runs": options.runs, "texts": results}, indent=2) + "\n")


def _profile(work: Sequence[tuple[str, Callable[[str], str], str, str]], runs: int) -> None:
    profile = cProfile.Profile()
    for _, compile, _, text in work:
        compile(text)
        profile.enable()
        for _ in range(runs):
            compile(text)
        profile.disable()
    pstats.Stats(profile).sort_stats("tottime").print_stats(45)


if __name__ == "__main__":
    main()
