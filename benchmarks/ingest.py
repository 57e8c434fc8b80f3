"""How much JSON is accepted durably and made queryable, with real tokens over TLS 1.3, on this machine.

    python -m benchmarks.ingest --seconds 120 --body 64K --transform plain --json result.json

Starts a server of its own, sends distinct gzip bodies from a process of its own, asks for the row count all
along, and checks it at the end. Memory is the sum of PSS over all Headrace processes.
"""

from __future__ import annotations

import argparse
import json
import os
import ssl
import tempfile
import threading
import time
from bisect import bisect_right
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import psutil
from rich.console import Console
from rich.table import Table
from tests.servers import ServerProcess, running_server

from benchmarks.bodies import SHAPES
from benchmarks.peer import run_peer
from benchmarks.sender import Load, Running, Sent, start_load

BODIES = {"1K": (1024, 32), "64K": (64 * 1024, 8), "900K": (900 * 1024, 2)}
_DRAIN_SECONDS = 300.0
_LOOK_SECONDS = 1.0
_LOOKS_A_WEIGHING = 5
"""Adding up the memory of all processes takes 25 ms of processor time, and holds each of them for 10."""
_SAMPLE_SECONDS = 0.02
_MAKERS = 8
"""Rules that are made at once."""
_ROLES = ("gateway", "engine", "query")


@dataclass
class Watch:
    """What was seen while the load ran: rows queryable and rows acknowledged by time, memory in bytes."""

    counts: list[tuple[float, int]] = field(default_factory=list)
    query_seconds: list[float] = field(default_factory=list)
    pss: list[int] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    acknowledged: list[tuple[float, int]] = field(default_factory=list)


class Target:
    """Rules on a running server, made through the control plane: `rules` of them over `tables` tables."""

    def __init__(self, server: ServerProcess, shape: str, rules: int = 1, tables: int = 1) -> None:
        self.env = server.env
        self._shape = shape
        self._client = httpx.Client(
            verify=ssl.create_default_context(cafile=server.env["HEADRACE_CA_FILE"]),
            timeout=60,
            trust_env=False,
        )
        self._manage = self._bearer("https://management.azure.com/.default")
        self._ask = self._bearer("https://api.loganalytics.io/.default")
        self._group = (
            f"/subscriptions/{self.env['AZURE_SUBSCRIPTION_ID']}"
            f"/resourceGroups/{self.env['HEADRACE_RESOURCE_GROUP']}"
        )
        self._tables = [f"Bench{number or ''}_CL" for number in range(tables)]
        self.workspace_id = ""
        workspace = self._make_workspace(shape)
        self._let_send()
        with ThreadPoolExecutor(_MAKERS) as makers:
            made = [
                makers.submit(self._make_rule, shape, workspace, number, self._tables[number % tables])
                for number in range(rules)
            ]
            self.urls = [one.result() for one in made]

    def token(self, scope: str) -> str:
        """An access token of the sample app."""
        env = self.env
        answer = self._client.post(
            f"{env['AZURE_AUTHORITY_HOST']}/{env['AZURE_TENANT_ID']}/oauth2/v2.0/token",
            data={
                "grant_type": "client_credentials",
                "client_id": env["AZURE_CLIENT_ID"],
                "client_secret": env["AZURE_CLIENT_SECRET"],
                "scope": scope,
            },
        )
        answer.raise_for_status()
        return str(answer.json()["access_token"])

    def load(self, body: str, seconds: float, max_mb_s: float | None = None) -> Load:
        """Bodies of a size of `BODIES` to all rules in turn, for so long and no faster than this."""
        size, connections = BODIES[body]
        return Load(
            url=self.urls[0],
            more_urls=tuple(self.urls[1:]),
            ca=self.env["HEADRACE_CA_FILE"],
            token=self.token("https://monitor.azure.com/.default"),
            shape=self._shape,
            body_bytes=size,
            connections=connections,
            seconds=seconds,
            event_time=datetime.now(UTC).isoformat(),
            max_mb_s=max_mb_s,
        )

    def count(self) -> int:
        """Rows that a query sees now."""
        source = self._tables[0] if len(self._tables) == 1 else f"union {', '.join(self._tables)}"
        answer = self._client.post(
            f"{self.env['HEADRACE_QUERY_URL']}/workspaces/{self.workspace_id}/query",
            json={"query": f"{source} | count"},
            headers=self._ask,
        )
        answer.raise_for_status()
        return int(answer.json()["tables"][0]["rows"][0][0])

    def _make_workspace(self, shape: str) -> str:
        workspace = f"{self._group}/providers/Microsoft.OperationalInsights/workspaces/bench-{shape}"
        body = {"location": self.env["HEADRACE_LOCATION"], "properties": {}}
        self.workspace_id = self._put(workspace, "2022-10-01", body)["properties"]["customerId"]
        columns = [{"name": column, "type": kind} for column, kind in SHAPES[shape].output.items()]
        for table in self._tables:
            schema = {"name": table, "columns": columns}
            self._put(f"{workspace}/tables/{table}", "2022-10-01", {"properties": {"schema": schema}})
        return workspace

    def _let_send(self) -> None:
        """The sample app may send to all rules of the resource group."""
        role = "3913510d-42f4-4e42-8a64-420c390055eb"
        assignment = {
            "roleDefinitionId": f"/providers/Microsoft.Authorization/roleDefinitions/{role}",
            "principalId": self.env["HEADRACE_PRINCIPAL_ID"],
            "principalType": "ServicePrincipal",
        }
        name = "00000000-0000-4000-8000-00000000beac"
        path = f"{self._group}/providers/Microsoft.Authorization/roleAssignments/{name}"
        self._put(path, "2022-04-01", {"properties": assignment})

    def _make_rule(self, shape: str, workspace: str, number: int, table: str) -> str:
        """A rule; where to send its rows."""
        name = f"bench-{shape}-{number}"
        path = f"{self._group}/providers/Microsoft.Insights/dataCollectionRules/{name}"
        rule = self._put(path, "2023-03-11", self._rule(workspace, shape, table))
        return (
            f"{self.env['HEADRACE_INGEST_URL']}/dataCollectionRules/{rule['properties']['immutableId']}"
            "/streams/Custom-Bench?api-version=2023-01-01"
        )

    def _rule(self, workspace: str, name: str, table: str) -> dict[str, Any]:
        shape = SHAPES[name]
        columns = [{"name": column, "type": kind} for column, kind in shape.columns.items()]
        flow = {
            "streams": ["Custom-Bench"],
            "destinations": ["store"],
            "transformKql": shape.transform,
            "outputStream": f"Custom-{table}",
        }
        return {
            "location": self.env["HEADRACE_LOCATION"],
            "properties": {
                "streamDeclarations": {"Custom-Bench": {"columns": columns}},
                "destinations": {"logAnalytics": [{"workspaceResourceId": workspace, "name": "store"}]},
                "dataFlows": [flow],
            },
        }

    def _bearer(self, scope: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(scope)}"}

    def _put(self, path: str, version: str, body: dict[str, Any]) -> Any:
        url = f"{self.env['HEADRACE_ARM_URL']}{path}?api-version={version}"
        answer = self._client.put(url, json=body, headers=self._manage)
        if answer.is_error:
            raise SystemExit(f"{path}: {answer.status_code} {answer.text}")
        return answer.json()


def run(options: argparse.Namespace) -> dict[str, Any]:
    """One run as the command's options ask for it; the figures by name."""
    with (
        tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder,
        running_server(
            Path(folder), "--data-dir", "data", "--port", "0", "--quiet", *options.server
        ) as server,
    ):
        target = Target(server, options.transform, options.rules, options.tables)
        anywhere = target.load(options.body, options.seconds, options.max_mb_s)
        load = replace(anywhere, processors=_left_by_gateways(server))
        watch = Watch()
        done = threading.Event()
        before = _cpu_seconds(server)
        running = start_load(load)
        watcher = threading.Thread(
            target=_watch, args=(target, server, running, watch, done, load.processors)
        )
        watcher.start()
        try:
            sent = running.result()
            drained = _drain(target, sent)
            used = {role: seconds - before[role] for role, seconds in _cpu_seconds(server).items()}
        finally:
            done.set()
            watcher.join()
        figures = _figures(sent, watch, drained, target.count()) | _cpu_figures(used, sent)
    return figures | (run_peer(anywhere) if options.peer else {})


def _watch(
    target: Target,
    server: ServerProcess,
    running: Running,
    watch: Watch,
    done: threading.Event,
    processors: tuple[int, ...],
) -> None:
    """A query every second, as someone looking at the table would do, and the memory of all processes."""
    if processors:
        # Of this thread alone.
        os.sched_setaffinity(0, processors)
    looked = time.monotonic()
    while not done.wait(_SAMPLE_SECONDS):
        watch.acknowledged.append((time.monotonic(), running.kept_rows()))
        if time.monotonic() - looked < _LOOK_SECONDS:
            continue
        looked = time.monotonic()
        try:
            watch.counts.append((looked, target.count()))
        except httpx.HTTPError as error:
            watch.problems.append(repr(error))
        watch.query_seconds.append(time.monotonic() - looked)
        if len(watch.query_seconds) % _LOOKS_A_WEIGHING == 1:
            watch.pss.append(_pss(server.process.pid))


def _left_by_gateways(server: ServerProcess) -> tuple[int, ...]:
    """Those that generator and watcher take: as if they were on another machine, none that a gateway has to itself."""
    every = set(psutil.Process().cpu_affinity() or ())
    own = {processor for gateway in server.children("gateway") for processor in gateway.cpu_affinity() or ()}
    return tuple(sorted(every - own))


def _pss(pid: int) -> int:
    parent = psutil.Process(pid)
    return sum(process.memory_full_info().pss for process in (parent, *parent.children(recursive=True)))


def _cpu_seconds(server: ServerProcess) -> dict[str, float]:
    """Processor time of each role's processes so far."""
    times = {role: [child.cpu_times() for child in server.children(role)] for role in _ROLES}
    return {role: sum(time.user + time.system for time in found) for role, found in times.items()}


def _cpu_figures(used: dict[str, float], sent: Sent) -> dict[str, float]:
    """Processor time by process, in ms for each MB of JSON; walls of a shared machine say less."""
    megabytes = sent.json_bytes / 1e6
    figures = {f"{role}_cpu_ms_per_mb": round(used[role] * 1e3 / megabytes, 2) for role in _ROLES}
    figures["gateway_cpu_us_per_request"] = round(used["gateway"] * 1e6 / sent.requests, 1)
    figures["sender_cpu_ms_per_mb"] = round(sent.cpu_seconds * 1e3 / megabytes, 2)
    return figures


def _drain(target: Target, sent: Sent) -> float:
    """Seconds from the start of the load until every row is queryable. Ends the run if rows are missing."""
    deadline = time.monotonic() + _DRAIN_SECONDS
    while (seen := target.count()) < sent.kept_rows:
        if time.monotonic() > deadline:
            raise SystemExit(f"only {seen} of {sent.kept_rows} rows became queryable")
        time.sleep(0.05)
    return time.monotonic() - sent.started


def _lags(watch: Watch) -> list[float]:
    """At each look at the table, the seconds since the first acknowledged row that it did not show yet.

    Rows become visible in about the order of their acknowledgement, so counts tell which one that is.
    """
    lags = []
    times = [moment for moment, _ in watch.acknowledged]
    rows = [count for _, count in watch.acknowledged]
    for moment, seen in watch.counts:
        place = bisect_right(rows, seen)
        lags.append(max(0.0, moment - times[place]) if place < len(times) else 0.0)
    return lags


def _at(values: list[float], share: float) -> float:
    return sorted(values)[min(int(len(values) * share), len(values) - 1)] if values else 0.0


def _figures(sent: Sent, watch: Watch, drained: float, rows: int) -> dict[str, Any]:
    if rows != sent.kept_rows:
        raise SystemExit(f"{rows} rows are stored, {sent.kept_rows} were sent and kept")
    falls = sum(later[1] < earlier[1] for earlier, later in pairwise(watch.counts))
    lags = _lags(watch)
    return {
        "accepted_mb_s": round(sent.json_bytes / sent.seconds / 1e6, 1),
        "queryable_mb_s": round(sent.json_bytes / drained / 1e6, 1),
        "rows_s": round(sent.rows / drained),
        "requests_s": round(sent.requests / sent.seconds),
        "ack_p50_ms": round(_at(sent.latencies, 0.5) * 1e3, 2),
        "ack_p99_ms": round(_at(sent.latencies, 0.99) * 1e3, 2),
        "queryable_p50_s": round(_at(lags, 0.5), 2),
        "queryable_p99_s": round(_at(lags, 0.99), 2),
        "query_p50_ms": round(_at(watch.query_seconds, 0.5) * 1e3, 1),
        "drain_s": round(drained - sent.seconds, 2),
        "rss_mb": round(max(watch.pss, default=0) / 2**20),
        "rows": rows,
        "refused": sent.refused,
        "falls_of_the_count": falls,
        "failed_queries": len(watch.problems),
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--body", choices=BODIES, default="64K")
    parser.add_argument("--transform", choices=SHAPES, default="plain")
    parser.add_argument("--rules", type=int, default=1, help="so many rules of the same kind, in turn")
    parser.add_argument(
        "--tables", type=int, default=1, help="so many tables, over which the rules are spread"
    )
    parser.add_argument("--max-mb-s", type=float, help="send no faster than this")
    parser.add_argument("--peer", choices=["fluent-bit"], help="the same load against a peer afterwards")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--server", nargs="*", default=[], help="more arguments for `headrace up`")
    options = parser.parse_args()
    figures = run(options)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    table = Table(
        "figure", "value", title=f"{options.transform}, {options.body} bodies, {options.seconds:.0f} s"
    )
    for name, value in figures.items():
        table.add_row(name, str(value))
    Console().print(table)


if __name__ == "__main__":
    main()
