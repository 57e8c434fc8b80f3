"""Syncs that an event loop waits for: by the Linux kernel in the background where it takes them, else on a thread.

A thread that syncs costs more than the sync does: it has to be woken, and to be let into the interpreter that the event
loop holds, for each group of records. Linux makes a file durable in the background (`IOCB_CMD_FDSYNC` of
`io_submit(2)`) and tells of it by an eventfd, which the event loop watches as it watches sockets.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from headrace.disk import Disk

_FDSYNC: Final = 3
_TELL_BY_EVENTFD: Final = 1
_REQUEST = struct.Struct("<QIIHhIQQqQII")
"""`struct iocb` of linux/aio_abi.h: data, key, flags, operation, priority, file, then what a sync does not use, flags
and eventfd."""
_EVENT = struct.Struct("<QQqq")
"""`struct io_event`: data, iocb, result (0, or an error's number below 0), second result."""


@dataclass(frozen=True, slots=True)
class _Numbers:
    """The kernel's numbers of the calls, which the C library has no functions for."""

    setup: int
    destroy: int
    getevents: int
    submit: int


_NUMBERS: Final = {"x86_64": _Numbers(206, 207, 208, 209), "aarch64": _Numbers(0, 1, 4, 2)}


class Syncs(Protocol):
    """The syncs of a journal's writer: one at a time, for one event loop."""

    def file(self, path: Path, site: str, descriptor: int) -> Awaitable[None]:
        """Begin to make the content of an open file durable; done when it is. Both raise as `Disk.sync_file`."""
        ...

    def directory(self, path: Path, site: str) -> Awaitable[None]:
        """Begin to make a directory's entries durable; done when they are. Raises as `Disk.sync_dir`."""
        ...

    def close(self) -> None:
        """Let go. A sync under way has ended when this returns; whoever waits for it hears no more of it."""
        ...


class ThreadSyncs:
    """By `disk`, on a thread."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal-sync")

    def file(self, path: Path, site: str, descriptor: int) -> Awaitable[None]:
        """See `Syncs.file`."""
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._thread, self._disk.sync_file, path, site, descriptor)

    def directory(self, path: Path, site: str) -> Awaitable[None]:
        """See `Syncs.directory`."""
        return asyncio.get_running_loop().run_in_executor(self._thread, self._disk.sync_dir, path, site)

    def close(self) -> None:
        """See `Syncs.close`."""
        self._thread.shutdown(wait=True)


class KernelSyncs:
    """Files by the kernel, in the background; directories by `others`."""

    def __init__(self, calls: KernelCalls, others: Syncs) -> None:
        """Both are closed with it."""
        self._calls = calls
        self._others = others
        self._loop: asyncio.AbstractEventLoop | None = None
        self._under_way: asyncio.Future[None] | None = None

    def file(self, path: Path, site: str, descriptor: int) -> Awaitable[None]:
        """See `Syncs.file`."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            loop.add_reader(self._calls.eventfd, self._ended)
            self._loop = loop
        self._calls.begin(descriptor)
        self._under_way = loop.create_future()
        return self._under_way

    def directory(self, path: Path, site: str) -> Awaitable[None]:
        """See `Syncs.directory`."""
        return self._others.directory(path, site)

    def close(self) -> None:
        """See `Syncs.close`. In the event loop's thread, or when it runs no more."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._calls.eventfd)
        self._calls.close()
        self._others.close()

    def _ended(self) -> None:
        problem = self._calls.result()
        waiting, self._under_way = self._under_way, None
        if waiting is None or waiting.done():
            return
        if problem:
            waiting.set_exception(OSError(problem, os.strerror(problem)))
        else:
            waiting.set_result(None)


class KernelCalls:
    """One request at a time to the kernel to make a file durable. Raises `OSError` where it takes none."""

    def __init__(self) -> None:
        numbers = _NUMBERS.get(platform.machine()) if sys.platform == "linux" else None
        if numbers is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        self._numbers = numbers
        self._syscall = ctypes.CDLL(None, use_errno=True).syscall
        self._syscall.argtypes = [ctypes.c_long] * 6
        self._syscall.restype = ctypes.c_long
        self._request = ctypes.create_string_buffer(_REQUEST.size)
        self._requests = (ctypes.c_void_p * 1)(ctypes.addressof(self._request))
        self._event = ctypes.create_string_buffer(_EVENT.size)
        context = ctypes.c_long()
        self._call(numbers.setup, 1, ctypes.addressof(context))
        self._context = context.value
        self.eventfd = os.eventfd(0, os.EFD_CLOEXEC)

    def begin(self, descriptor: int) -> None:
        """Ask for the file; `eventfd` can be read when `result` is there."""
        values = (0, 0, 0, _FDSYNC, 0, descriptor, 0, 0, 0, 0, _TELL_BY_EVENTFD, self.eventfd)
        _REQUEST.pack_into(self._request, 0, *values)
        self._call(self._numbers.submit, self._context, 1, ctypes.addressof(self._requests))

    def result(self) -> int:
        """How the request ended: 0, or an error's number. Waits for it."""
        os.eventfd_read(self.eventfd)
        self._call(self._numbers.getevents, self._context, 1, 1, ctypes.addressof(self._event))
        _, _, result, _ = _EVENT.unpack(self._event)
        return max(0, -int(result))

    def close(self) -> None:
        """Let go; waits for a request under way."""
        self._call(self._numbers.destroy, self._context)
        os.close(self.eventfd)

    def _call(self, number: int, *arguments: int) -> None:
        padded = (*arguments, 0, 0, 0, 0, 0)[:5]
        if self._syscall(number, *padded) < 0:
            problem = ctypes.get_errno()
            raise OSError(problem, os.strerror(problem))


def thread_syncs(disk: Disk, descriptor: int) -> Syncs:
    """Those of every system, for files of every kind."""
    return ThreadSyncs(disk)


def best_syncs(disk: Disk, descriptor: int) -> Syncs:
    """The cheapest syncs that the system has for such files as the open one, which is synced once to find out.

    `disk` makes directories durable, and files where the kernel does not: other systems and machines, and containers
    that forbid these calls or know only some of them.
    """
    others = ThreadSyncs(disk)
    try:
        calls = KernelCalls()
    except OSError:
        return others
    if _takes(calls, descriptor):
        return KernelSyncs(calls, others)
    calls.close()
    return others


def _takes(calls: KernelCalls, descriptor: int) -> bool:
    try:
        calls.begin(descriptor)
    except OSError:
        return False
    return calls.result() == 0
