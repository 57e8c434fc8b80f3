"""Numbers between processes: each gives its own over a unix socket, and a gateway asks all of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec

from headrace import sockets
from headrace.observe.metrics import Snapshot, decode, encode

_PREFIX = "numbers-"
_SUFFIX = ".sock"
_SECONDS = 2.0
_PAUSE_SECONDS = 5.0
_MOST_BYTES = 64 * 1024 * 1024
_NONE: Mapping[str, Callable[[], Snapshot]] = MappingProxyType({})
_log = logging.getLogger(__name__)


def numbers_socket(folder: Path, process: str) -> Path:
    """Where a process gives its numbers; `folder` is the one of the sockets."""
    return folder / f"{_PREFIX}{process}{_SUFFIX}"


@contextlib.asynccontextmanager
async def giving_numbers(path: Path, snapshot: Callable[[], Snapshot]) -> AsyncIterator[None]:
    """Answer each connection to `path` with a snapshot inside the block; if the disk takes no socket, once it does."""
    async with contextlib.AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(_serving(path, snapshot))
        except OSError as error:
            _log.warning("numbers are not told yet: %s: %s", path, error.strerror or error)
            later = asyncio.create_task(_serve_later(path, snapshot))
            stack.push_async_callback(asyncio.wait, (later,))
            stack.callback(later.cancel)
        yield


async def _serve_later(path: Path, snapshot: Callable[[], Snapshot]) -> None:
    while True:
        await asyncio.sleep(_PAUSE_SECONDS)
        with contextlib.suppress(OSError):
            async with _serving(path, snapshot):
                await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def _serving(path: Path, snapshot: Callable[[], Snapshot]) -> AsyncIterator[None]:
    """Raises `OSError`."""

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            writer.write(encode(snapshot()))
            await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(serve, sock=sockets.bind(path))
    try:
        yield
    finally:
        server.close()
        await server.wait_closed()
        sockets.remove(path)


async def all_numbers(folder: Path, own: Mapping[str, Callable[[], Snapshot]] = _NONE) -> list[Snapshot]:
    """The snapshots of all processes. One that does not answer is told as `headrace_process_up` 0.

    `own` are those, by the process, that are at hand; on a read-only disk they may have no socket.
    """
    known = {numbers_socket(folder, process) for process in own}
    paths = sorted(path for path in folder.glob(f"{_PREFIX}*{_SUFFIX}") if path not in known)
    return [*(give() for give in own.values()), *await asyncio.gather(*(_ask(path) for path in paths))]


async def _ask(path: Path) -> Snapshot:
    try:
        async with asyncio.timeout(_SECONDS):
            stream = sockets.connect(path)
            reader, writer = await asyncio.open_unix_connection(sock=stream)
            try:
                text = bytearray()
                while len(text) <= _MOST_BYTES and (part := await reader.read(1 << 20)):
                    text += part
            finally:
                writer.close()
        return decode(bytes(text))
    except (OSError, TimeoutError, msgspec.MsgspecError):
        process = path.name.removeprefix(_PREFIX).removesuffix(_SUFFIX)
        return {"headrace_process_up": [((process,), 0)]}
