"""Which processors the processes of a server run on.

A gateway is as fast as one thread, its event loop, and that loses much to what runs in between on the same processor.
So each gateway has a processor to itself, where there are more than gateways. The engine, the busiest of the others,
keeps off those as long as it keeps up; when it falls behind it takes what it can get.

A gateway waits for one sync of its journal after another, and hears of their ends soonest on the processor that the
disk's interrupts come to. Disks of small virtual machines have one such; others have one for each processor.

Only Linux lets a process choose; elsewhere nothing is chosen.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import sys
from collections.abc import Callable, Collection
from pathlib import Path

from headrace.machine import processor_limit

_LOOK_SECONDS = 0.1
_NEARLY_ALL = 0.9

_log = logging.getLogger(__name__)


def processors_for_gateways(gateways: int, disk: int | None = None) -> tuple[int, ...]:
    """The numbers of the processors that `gateways` processes are to have; none where that would leave none to others.

    None either where a control group limits the time: what runs there shares the machine with much else.

    They begin with the `disk`'s, or anywhere, so that the servers on one machine are not all on the same.
    """
    available = sorted(_available())
    if gateways >= len(available) or processor_limit() is not None:
        return ()
    first = available.index(disk) if disk in available else secrets.randbelow(len(available))
    return tuple(available[(first + number) % len(available)] for number in range(gateways))


def disk_processor(folder: Path, system: Path = Path("/sys")) -> int | None:
    """The processor that nearly all interrupts of the disk below `folder` have come to; None where there is none.

    Nor is there one of a disk that the kernel does not tell of: of several disks in one, in a network, in memory.
    Source: Linux, Documentation/ABI/testing/sysfs-bus-pci (msi_irqs) and sysfs-kernel-irq.
    """
    number = folder.stat().st_dev
    disk = (system / f"dev/block/{os.major(number)}:{os.minor(number)}").resolve()
    device = next((place for place in disk.parents if (place / "msi_irqs").is_dir()), None)
    if device is None:
        return None
    try:
        counts = [
            [int(count) for count in (system / f"kernel/irq/{irq.name}/per_cpu_count").read_text().split(",")]
            for irq in (device / "msi_irqs").iterdir()
        ]
    except (OSError, ValueError) as error:
        _log.info("which processor serves the disk cannot be told: %s", error)
        return None
    by_processor = [sum(column) for column in zip(*counts, strict=True)]
    most = max(by_processor, default=0)
    return by_processor.index(most) if most > _NEARLY_ALL * sum(by_processor) else None


def stay_on(processors: Collection[int]) -> None:
    """Let this process run on these only, its threads of now and later; anywhere if none of them is there."""
    _move(_available() & frozenset(processors))


async def keep_off(processors: Collection[int], behind: Callable[[], bool]) -> None:
    """Let this process run on all processors but these, and on these, too, while it is `behind`; until cancelled."""
    every = _available()
    others = every - frozenset(processors)
    now = every
    while True:
        wanted = every if behind() else others
        if wanted != now:
            _move(wanted)
            now = wanted
        await asyncio.sleep(_LOOK_SECONDS)


def _available() -> frozenset[int]:
    return frozenset(os.sched_getaffinity(0)) if sys.platform == "linux" else frozenset()


def _move(wanted: frozenset[int]) -> None:
    """All threads; those to come take it over from the one that starts them."""
    if sys.platform != "linux" or not wanted:
        return
    for thread in Path("/proc/self/task").iterdir():
        try:
            os.sched_setaffinity(int(thread.name), wanted)
        except ProcessLookupError:
            # It has ended meanwhile.
            continue
        except OSError as error:
            _log.info("the processors cannot be chosen: %s", error)
            return
