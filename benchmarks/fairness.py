"""How long a quiet rule's rows wait while noisy rules send as much as the machine takes.

    python -m benchmarks.fairness --seconds 60 --json fairness.json

The quiet rule sends one row a second on a connection of its own, into a table of its own. Its delay is the time from
the 204 to the first query that shows the row; the table is asked every 50 ms, and a query's own time counts.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from tests.server.kit import Api, Rule, api_of
from tests.servers import running_server

from benchmarks.bodies import SHAPES
from benchmarks.ingest import BODIES, Target
from benchmarks.sender import start_load

_TABLE = "Quiet_CL"
_ROW_SECONDS = 1.0
_LOOK_SECONDS = 0.05
_WARM_UP_SECONDS = 3.0
_DRAIN_SECONDS = 120.0


@dataclass
class Delays:
    """When each row was answered and when it was first seen, by number; seconds of the monotonic clock."""

    answered: dict[int, float] = field(default_factory=dict)
    seen: dict[int, float] = field(default_factory=dict)
    answer_seconds: list[float] = field(default_factory=list)
    refused: int = 0

    def waited(self) -> list[float]:
        """The delay of each row that was seen; a look that began before the answer came shows it at once."""
        return [max(0.0, self.seen[row] - at) for row, at in self.answered.items() if row in self.seen]


def run(shape: str, body: str, seconds: float, rules: int, arguments: list[str]) -> dict[str, Any]:
    """One run; the figures by name."""
    with (
        tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder,
        running_server(Path(folder), "--ephemeral", "--port", "0", "--quiet", *arguments) as server,
        api_of(server) as api,
        api_of(server) as asking,
    ):
        target = Target(server, shape, rules)
        api.make_table(_TABLE, {"Number": "long"})
        quiet = api.make_rule("quiet", {"Number": "long"}, _TABLE)
        delays, sent_all = Delays(), threading.Event()
        running = start_load(target.load(body, seconds))
        time.sleep(_WARM_UP_SECONDS)
        sender = threading.Thread(
            target=_send, args=(quiet, delays, time.monotonic() + seconds - 2 * _WARM_UP_SECONDS, sent_all)
        )
        looker = threading.Thread(target=_look, args=(asking, delays, sent_all))
        sender.start()
        looker.start()
        sender.join()
        looker.join()
        sent = running.result()
        waited = sorted(delays.waited())
        if len(waited) != len(delays.answered):
            raise SystemExit(f"{len(delays.answered) - len(waited)} rows of the quiet rule were never seen")
        return {
            "quiet_rows": len(waited),
            "quiet_p50_ms": _at(waited, 0.5),
            "quiet_p99_ms": _at(waited, 0.99),
            "quiet_max_ms": round(waited[-1] * 1e3),
            "quiet_204_p50_ms": _at(sorted(delays.answer_seconds), 0.5),
            "quiet_204_max_ms": round(max(delays.answer_seconds) * 1e3),
            "quiet_refused": delays.refused,
            "noisy_accepted_mb_s": round(sent.json_bytes / sent.seconds / 1e6, 1),
            "noisy_behind_s": round(_drain(target, sent.kept_rows, sent.started + sent.seconds), 1),
        }


def _send(quiet: Rule, delays: Delays, end: float, done: threading.Event) -> None:
    """A row a second, whatever became of those before."""
    try:
        due = time.monotonic()
        while due < end:
            time.sleep(max(0.0, due - time.monotonic()))
            number = len(delays.answered)
            began = time.monotonic()
            while quiet.post(b'[{"Number": %d}]' % number).status_code != 204:
                delays.refused += 1
                time.sleep(_LOOK_SECONDS)
            now = time.monotonic()
            delays.answered[number] = now
            delays.answer_seconds.append(now - began)
            due += _ROW_SECONDS
    finally:
        done.set()


def _look(api: Api, delays: Delays, sent_all: threading.Event) -> None:
    """Ask for the rows that were not seen yet, until all were."""
    deadline = None
    while True:
        last = sent_all.is_set()
        for row in api.rows(f"{_TABLE} | where Number >= {len(delays.seen)} | project Number"):
            delays.seen.setdefault(int(row[0]), time.monotonic())
        if last and len(delays.seen) >= len(delays.answered):
            return
        if last:
            deadline = deadline or time.monotonic() + _DRAIN_SECONDS
            if time.monotonic() > deadline:
                return
        time.sleep(_LOOK_SECONDS)


def _drain(target: Target, rows: int, end: float) -> float:
    """How long after the end of the load the noisy rules' rows were all there, in seconds."""
    deadline = time.monotonic() + _DRAIN_SECONDS
    while target.count() < rows:
        if time.monotonic() > deadline:
            raise SystemExit("not all rows of the noisy rules became queryable")
        time.sleep(0.1)
    return time.monotonic() - end


def _at(ordered: list[float], share: float) -> int:
    return round(ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1e3)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--body", choices=BODIES, default="64K")
    parser.add_argument("--transform", choices=SHAPES, default="plain")
    parser.add_argument("--rules", type=int, default=1, help="so many noisy rules")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--server", nargs="*", default=[], help="more arguments for `headrace up`")
    options = parser.parse_args()
    figures = run(options.transform, options.body, options.seconds, options.rules, options.server)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    table = Table("figure", "value", title=f"a quiet rule beside {options.rules} that flood")
    for name, value in figures.items():
        table.add_row(name, str(value))
    Console().print(table)


if __name__ == "__main__":
    main()
