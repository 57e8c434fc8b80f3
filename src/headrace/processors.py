"""Which processors the processes of a server run on.

A gateway is as fast as one thread, its event loop, and that loses much to what runs in between on the same processor.
So each gateway has a processor to itself, where there are more than gateways. The engine, the busiest of the others,
keeps off those as long as it keeps up; when it falls behind it takes what it can get.

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

_LOOK_SECONDS = 0.1

_log = logging.getLogger(__name__)


def processors_for_gateways(gateways: int) -> tuple[int, ...]:
    """The numbers of the processors that `gateways` processes are to have; none where that would leave none to others.

    They begin anywhere, so that the servers on one machine are not all on the same.
    """
    available = sorted(_available())
    if gateways >= len(available):
        return ()
    first = secrets.randbelow(len(available))
    return tuple(available[(first + number) % len(available)] for number in range(gateways))


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
