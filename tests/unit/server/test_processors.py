"""Which processors processes run on: real processes of several threads."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from headrace.processors import processors_for_gateways

AVAILABLE = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []

pytestmark = pytest.mark.skipif(len(AVAILABLE) < 2, reason="needs Linux and two processors to choose from")

STAY = """
import sys, threading, time
from headrace.processors import stay_on
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
stay_on({processors})
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
"""

KEEP_OFF = """
import asyncio, threading, time
from headrace.processors import keep_off
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
async def main():
    answers = iter({behind})
    done = asyncio.Event()
    def behind():
        answer = next(answers, None)
        if answer is None:
            done.set()
        return bool(answer)
    task = asyncio.create_task(keep_off({processors}, behind))
    while not done.is_set():
        await asyncio.sleep(0.05)
        show()
    task.cancel()
"""

SHOW = """
import os
def show():
    found = {tuple(sorted(os.sched_getaffinity(int(t)))) for t in os.listdir("/proc/self/task")}
    print(sorted(found))
"""


def shown(script: str) -> list[str]:
    """What a process that runs the script shows, each line once."""
    done = subprocess.run([sys.executable, "-c", SHOW + script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    return [line for line, before in zip(lines, [None, *lines], strict=False) if line != before]


def test_a_process_stays_on_a_processor_with_all_its_threads() -> None:
    last = AVAILABLE[-1]
    assert shown(STAY.format(processors=[last]) + "show()") == [str([(last,)])]


def test_a_processor_that_is_not_there_changes_nothing() -> None:
    assert shown(STAY.format(processors=[100_000]) + "show()") == [str([tuple(AVAILABLE)])]


def test_a_process_keeps_off_a_processor_but_while_it_is_behind() -> None:
    first = AVAILABLE[0]
    script = KEEP_OFF.format(processors=[first], behind=[False, False, True, True, False, False])
    others, every = str([tuple(AVAILABLE[1:])]), str([tuple(AVAILABLE)])
    assert shown(script + "asyncio.run(main())") == [others, every, others]


def test_each_gateway_has_a_processor_of_its_own() -> None:
    for gateways in range(1, len(AVAILABLE)):
        chosen = processors_for_gateways(gateways)
        assert len(set(chosen)) == gateways
        assert set(chosen) < set(AVAILABLE)


def test_none_is_taken_where_the_others_would_have_none() -> None:
    assert processors_for_gateways(len(AVAILABLE)) == ()


def test_servers_begin_at_different_processors() -> None:
    assert len({processors_for_gateways(1) for _ in range(200)}) == len(AVAILABLE)
