"""What of the machine may be used: control groups as containers and services find them."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.machine import memory_bytes, processor_limit
from headrace.settings import MIB, load_settings, memory_defaults

GIB = 1024 * MIB
LIMITLESS = 9223372036854771712


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{text}\n")
    return root


UNIFIED_CONTAINER = {
    "proc/self/cgroup": "0::/",
    "sys/fs/cgroup/memory.max": str(100 * MIB),
    "sys/fs/cgroup/cpu.max": "50000 100000",
}
SERVICE_IN_A_SLICE = {
    "proc/self/cgroup": "0::/system.slice/headrace.service",
    "sys/fs/cgroup/system.slice/memory.max": str(100 * MIB),
    "sys/fs/cgroup/system.slice/cpu.max": "max 100000",
    "sys/fs/cgroup/system.slice/headrace.service/memory.max": "max",
    "sys/fs/cgroup/system.slice/headrace.service/cpu.max": "50000 100000",
}
OLD_CONTAINER = {
    "proc/self/cgroup": "4:memory:/docker/0123abc\n1:cpu,cpuacct:/docker/0123abc",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": str(100 * MIB),
    "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000",
    "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
}
OLD_SERVICE = {
    "proc/self/cgroup": "4:memory:/system.slice/headrace.service\n1:cpu,cpuacct:/system.slice/headrace.service",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": str(LIMITLESS),
    "sys/fs/cgroup/memory/system.slice/headrace.service/memory.limit_in_bytes": str(100 * MIB),
    "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
    "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
    "sys/fs/cgroup/cpu/system.slice/headrace.service/cpu.cfs_quota_us": "50000",
    "sys/fs/cgroup/cpu/system.slice/headrace.service/cpu.cfs_period_us": "100000",
}


@pytest.mark.parametrize("files", [UNIFIED_CONTAINER, SERVICE_IN_A_SLICE, OLD_CONTAINER, OLD_SERVICE])
def test_the_limits_of_control_groups_count(tmp_path: Path, files: dict[str, str]) -> None:
    root = machine(tmp_path, files)
    assert memory_bytes(root) == 100 * MIB
    assert processor_limit(root) == 0.5


NO_LIMITS = {
    "proc/self/cgroup": "0::/",
    "sys/fs/cgroup/memory.max": "max",
    "sys/fs/cgroup/cpu.max": "max 100000",
}
OLD_NO_LIMITS = {
    "sys/fs/cgroup/memory/memory.limit_in_bytes": str(LIMITLESS),
    "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
    "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
}
MORE_THAN_THERE_IS = {"sys/fs/cgroup/cpu.max": "99900000 100000"}


@pytest.mark.parametrize("files", [{}, NO_LIMITS, OLD_NO_LIMITS, MORE_THAN_THERE_IS])
def test_without_limits_it_is_the_whole_machine(tmp_path: Path, files: dict[str, str]) -> None:
    root = machine(tmp_path, files)
    whole = memory_bytes(tmp_path / "nothing")
    assert memory_bytes(root) == whole
    assert whole is None or whole > 100 * MIB
    assert processor_limit(root) is None


def test_defaults_are_in_proportion_to_memory() -> None:
    assert memory_defaults(None) == memory_defaults(4 * GIB) == {}
    assert memory_defaults(2 * GIB) == {
        "ingest.max_pending_bytes": 128 * MIB,
        "journal.inflated_bytes": 64 * MIB,
        "transform.batch_bytes": 6 * MIB,
        "transform.queue_bytes": 80 * MIB,
        "transform.memory_limit": "256MB",
        "query.memory_limit": "500MB",
    }
    least = memory_defaults(GIB)
    assert (least["transform.memory_limit"], least["query.memory_limit"]) == ("256MB", "250MB")
    assert memory_defaults(GIB // 8) == least


def test_defaults_for_little_memory_are_settings_like_any() -> None:
    settings = load_settings(memory_defaults(GIB), {}).settings
    assert settings.journal.inflated_bytes == 32 * MIB
    assert settings.query.memory_limit == "250MB"
