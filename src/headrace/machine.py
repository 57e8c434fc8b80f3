"""How much of the machine this process may use: what it has, or less where a control group sets limits.

Containers and services have such limits. Nothing else in the process knows of them: the system tells the processors
and the memory of the whole machine, whoever asks.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_ROOT = Path("/")


def memory_bytes(root: Path = _ROOT) -> int | None:
    """Memory that may be used, in bytes; None where the system does not tell. `root` is where /proc and /sys are."""
    found = list(_memory_limits(root))
    with suppress(ValueError, OSError, AttributeError):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min(found, default=None)


def processor_limit(root: Path = _ROOT) -> float | None:
    """How many processors' time may be used, where less than that of all those it may run on; None without a limit."""
    found = min(_processor_limits(root), default=None)
    return found if found is not None and found < _processors() else None


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _memory_limits(root: Path) -> Iterator[int]:
    for folder in _folders(root, ""):
        yield from _numbers(folder / "memory.max")
    for folder in _folders(root, "memory"):
        yield from _numbers(folder / "memory.limit_in_bytes")


def _processor_limits(root: Path) -> Iterator[float]:
    for folder in _folders(root, ""):
        with suppress(OSError, ValueError):
            quota, period = (folder / "cpu.max").read_text("ascii").split()
            yield int(quota) / int(period)
    for folder in _folders(root, "cpu"):
        quotas, periods = (_numbers(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
        yield from (
            quota / period for quota, period in zip(quotas, periods, strict=False) if quota > 0 < period
        )


def _numbers(file: Path) -> list[int]:
    """The number of the file as the only member; none where it has another word, such as `max`."""
    try:
        return [int(file.read_text("ascii"))]
    except (OSError, ValueError):
        return []


def _folders(root: Path, controller: str) -> Iterator[Path]:
    """The control group of this process and those that it is in; `controller` is empty for the unified hierarchy.

    In a container its own group is often where the hierarchy begins, whatever the group is called outside.
    """
    hierarchy = root / "sys/fs/cgroup" / controller
    yield hierarchy
    group = hierarchy / _group(root, controller)
    while group != hierarchy:
        yield group
        group = group.parent


def _group(root: Path, controller: str) -> Path:
    """The path of this process's group below its hierarchy."""
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text("utf-8").splitlines():
            _, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            if controller in controllers.split(",") and ".." not in path.split("/"):
                return Path(path.lstrip("/"))
    return Path()
