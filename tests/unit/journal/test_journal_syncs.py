"""Syncs by the kernel and by a thread."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.disk import Disk, RealDisk
from headrace.journal.syncs import KernelSyncs, Syncs, ThreadSyncs, best_syncs, thread_syncs

pytestmark = pytest.mark.anyio

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux syncs in the background")


@pytest.fixture(params=[thread_syncs, best_syncs])
def make(request: pytest.FixtureRequest) -> Callable[[Disk, int], Syncs]:
    made: Callable[[Disk, int], Syncs] = request.param
    return made


async def test_a_file_and_its_folder_are_synced_one_time_after_another(
    make: Callable[[Disk, int], Syncs], tmp_path: Path
) -> None:
    path = tmp_path / "file"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    syncs = make(RealDisk(), descriptor)
    for i in range(100):
        os.write(descriptor, bytes(1000))
        await syncs.file(path, "site", descriptor)
        if i % 10 == 0:
            await syncs.directory(tmp_path, "site")
    syncs.close()
    os.close(descriptor)


async def test_what_cannot_be_synced_is_told(make: Callable[[Disk, int], Syncs], tmp_path: Path) -> None:
    path = tmp_path / "file"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    syncs = make(RealDisk(), descriptor)
    reading, writing = os.pipe()
    with pytest.raises(OSError) as refused:
        await syncs.file(path, "site", writing)
    assert refused.value.errno == errno.EINVAL
    with pytest.raises(FileNotFoundError):
        await syncs.directory(tmp_path / "missing", "site")
    await syncs.file(path, "site", descriptor)
    syncs.close()
    for opened in (descriptor, reading, writing):
        os.close(opened)


async def test_closing_waits_for_the_sync_under_way(
    make: Callable[[Disk, int], Syncs], tmp_path: Path
) -> None:
    descriptor = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    syncs = make(RealDisk(), descriptor)
    os.write(descriptor, os.urandom(1 << 20))
    begun = asyncio.ensure_future(syncs.file(tmp_path / "file", "site", descriptor))
    syncs.close()
    os.close(descriptor)
    begun.cancel()


@needs_linux
async def test_where_the_kernel_does_not_take_such_files_a_thread_syncs(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    reading, writing = os.pipe()
    kernel, thread = best_syncs(RealDisk(), descriptor), best_syncs(RealDisk(), writing)
    assert isinstance(kernel, KernelSyncs)
    assert isinstance(thread, ThreadSyncs)
    kernel.close()
    thread.close()
    for opened in (descriptor, reading, writing):
        os.close(opened)
