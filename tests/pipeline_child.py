"""An engine process of its own, to be killed: the pipeline over a data folder whose journal another one writes."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from pathlib import Path

from headrace.catalog.rules import Rule
from tests.transform_kit import RULE, PipelineBench, make_flow, make_rule, make_table, wait_idle

KILLED = 137
TWIN = "dcr-00000000000000000000000000000002"
THINGS = make_table()
OTHERS = make_table("Others_CL", incarnation="inc-2")
EVEN = "source | where Id % 2 == 0 | extend Text = strcat('even ', Text)"


def make_rules() -> dict[tuple[str, int], Rule]:
    """Two rules that do the same, with two flows: everything to one table, the even ids to another."""
    rules = [
        make_rule(make_flow(0), make_flow(1, EVEN, "Others_CL"), immutable_id=name) for name in (RULE, TWIN)
    ]
    return {(rule.immutable_id, 1): rule for rule in rules}


def bench(root: Path) -> PipelineBench:
    """The data folder's parts: small batches, a commit whenever there is something to commit."""
    return PipelineBench(
        root,
        make_rules(),
        (THINGS, OTHERS),
        transform={"batch_bytes": 1024},
        store_settings={"commit_bytes": 1024, "checkpoint_commits": 4},
        writes=False,
    )


def main(root: Path, step: str, times: int) -> None:
    """Run until the journal is empty; end at once at the given time of the given step."""
    seen: Counter[str] = Counter()

    def at(name: str) -> None:
        seen[name] += 1
        if name == step and seen[name] == times:
            os._exit(KILLED)

    with bench(root) as parts:
        pipeline = parts.pipeline(at)
        pipeline.start()
        wait_idle(pipeline)
        if step == "checkpoint":
            time.sleep(1.2)
        if not pipeline.stop():
            os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
