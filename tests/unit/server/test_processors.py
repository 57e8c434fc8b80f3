"""Which processors processes run on: real processes of several threads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from headrace.processors import disk_processor, processors_for_gateways

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


def test_gateways_begin_at_the_disk_s_processor() -> None:
    assert processors_for_gateways(1, AVAILABLE[-1]) == (AVAILABLE[-1],)


def test_a_disk_s_processor_that_this_process_may_not_use_changes_nothing() -> None:
    assert len({processors_for_gateways(1, 100_000) for _ in range(200)}) == len(AVAILABLE)


def system_with(folder: Path, counts: Mapping[str, str]) -> Path:
    """A tree as Linux shows it, in which the disk of `folder` has these interrupts, counted by processor."""
    number = folder.stat().st_dev
    system = folder / "sys"
    device = system / "devices/pci0000:00/0000:00:02.0"
    disk = device / "virtio1/block/vda/vda1"
    disk.mkdir(parents=True)
    (device / "msi_irqs").mkdir()
    for irq, by_processor in counts.items():
        (device / "msi_irqs" / irq).write_text("msix\n")
        (system / "kernel/irq" / irq).mkdir(parents=True)
        (system / "kernel/irq" / irq / "per_cpu_count").write_text(by_processor)
    link = system / f"dev/block/{os.major(number)}:{os.minor(number)}"
    link.parent.mkdir(parents=True)
    link.symlink_to(disk)
    return system


def test_the_processor_of_a_disk_with_one_queue(tmp_path: Path) -> None:
    system = system_with(tmp_path, {"35": "0,1,0,0\n", "36": "0,12,18894475,0\n"})
    assert disk_processor(tmp_path, system) == 2


def test_a_disk_with_a_queue_for_each_processor_has_none(tmp_path: Path) -> None:
    system = system_with(tmp_path, {"35": "7,0\n", "36": "5000,0\n", "37": "0,4000\n"})
    assert disk_processor(tmp_path, system) is None


@pytest.mark.parametrize("counts", ["0,0\n", "\n", "many\n"])
def test_a_disk_that_the_kernel_tells_nothing_of_has_none(tmp_path: Path, counts: str) -> None:
    assert disk_processor(tmp_path, system_with(tmp_path, {"36": counts})) is None


def test_what_is_no_disk_of_this_machine_has_none(tmp_path: Path) -> None:
    assert disk_processor(tmp_path, tmp_path / "sys") is None
