"""What bodies cost that are made to cost much: processor time and memory of their admission, one by one.

    python -m benchmarks.hostile --json hostile.json

The aim is 100 ms and 64 MB each, whether a body is refused or taken. Memory is the peak of what Python's allocators
gave beside the body itself, in a run that is not timed.
"""

from __future__ import annotations

import argparse
import json
import time
import tracemalloc
from pathlib import Path

from rich.console import Console
from rich.table import Table
from tests.hostile_bodies import HOSTILE

from headrace.ingest.admission import admit
from headrace.settings import IngestSettings
from headrace.wire.problems import HttpError

_RUNS = 3


def measure(name: str) -> dict[str, object]:
    """The cost of one body, best of three times."""
    body = HOSTILE[name]()
    best, outcome = float("inf"), ""
    for _ in range(_RUNS):
        begun = time.process_time()
        outcome = _outcome(body)
        best = min(best, time.process_time() - begun)
    tracemalloc.start()
    _outcome(body)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {"body": name, "answer": outcome, "ms": round(best * 1e3, 1), "mb": round(peak / 1e6, 1)}


def _outcome(body: bytes) -> str:
    try:
        return f"{admit(body, 'gzip', IngestSettings(), 'headrace').rows} rows"
    except HttpError as error:
        return f"{error.status} {error.problem.code}"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    rows = [measure(name) for name in HOSTILE]
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")
    table = Table("body", "answer", "processor time, ms", "memory, MB")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
