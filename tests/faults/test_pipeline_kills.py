"""The engine process is killed between any two steps, again and again; every row is there exactly once."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from tests.pipeline_child import KILLED, OTHERS, THINGS, TWIN, bench
from tests.transform_kit import RULE, PipelineBench

from headrace.transform.dead_letters import read_letters

STEPS = (
    "batch", "transform", "publish", "published", "letters", "lettered", "commit", "checkpoint", "trim",
)  # fmt: skip
ROOT = Path(__file__).parents[2]


def start(root: Path, step: str = "never", times: int = 1) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.pipeline_child", str(root), step, str(times)]
    return subprocess.Popen(command, cwd=ROOT)


def end(child: subprocess.Popen[bytes]) -> int:
    return child.wait(timeout=120)


class Sender:
    """Sends payloads of three rows with running ids; in every fourth payload the second row is broken."""

    def __init__(self, parts: PipelineBench) -> None:
        self.parts = parts
        self.good: set[int] = set()
        self.bad: set[tuple[int, int]] = set()
        self.rules = random.Random(7)
        self._next = 0

    def send(self, payloads: int) -> None:
        for _ in range(payloads):
            rule = self.rules.choice((RULE, TWIN))
            texts = []
            broken = self._next % 4 == 0
            for row in range(3):
                texts.append(b'{"Id": %d, "Text": "x"}' % self._next)
                if broken and row == 1:
                    texts[-1] = b'{"Id": %d, "Text": "\xff"}' % self._next
                else:
                    self.good.add(self._next)
                self._next += 1
            record = self.parts.send(b"[" + b",".join(texts) + b"]", count=3, rule=rule)
            if broken:
                self.bad.add((record.offset, 1))


def check(parts: PipelineBench, sender: Sender, *, whole: bool) -> None:
    things = Counter(row[0] for row in parts.rows("Id", table=THINGS))
    others = Counter(row[0] for row in parts.rows("Id", table=OTHERS))
    letters = Counter((one.offset, one.row, one.flow) for one in read_letters(parts.root / "dead-letters"))
    assert set((things | others | letters).values()) <= {1}
    if whole:
        assert set(things) == sender.good
        assert set(others) == {number for number in sender.good if number % 2 == 0}
        assert set(letters) == {(offset, row, flow) for offset, row in sender.bad for flow in (0, 1)}


@pytest.mark.slow
def test_each_row_once_whatever_step_is_the_last(tmp_path: Path) -> None:
    parts = bench(tmp_path)
    parts.open_journal()
    sender = Sender(parts)
    try:
        sender.send(8)
        for number, step in enumerate((*STEPS, "published", "commit")):
            sender.send(6)
            code = end(start(tmp_path, step, 1 + number // len(STEPS) * 2))
            assert code in (KILLED, 0)
            assert code == KILLED or number >= len(STEPS), f"{step} was never reached"
            check(parts, sender, whole=code == 0)
        assert end(start(tmp_path)) == 0
        check(parts, sender, whole=True)
    finally:
        parts.close()
        parts.sql.close()
        parts.loop.close()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1])
def test_each_row_once_after_kills_at_any_moment(tmp_path: Path, seed: int) -> None:
    moments = random.Random(seed)
    parts = bench(tmp_path)
    parts.open_journal()
    sender = Sender(parts)
    try:
        for _ in range(4):
            child = start(tmp_path)
            time.sleep(0.4)
            for _ in range(5):
                sender.send(3)
                time.sleep(moments.random() * 0.1)
            time.sleep(moments.random() * 0.3)
            child.send_signal(signal.SIGKILL)
            end(child)
            check(parts, sender, whole=False)
        assert end(start(tmp_path)) == 0
        check(parts, sender, whole=True)
    finally:
        parts.close()
        parts.sql.close()
        parts.loop.close()
