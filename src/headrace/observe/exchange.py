"""Numbers between processes: each gives its own over a unix socket, and a gateway asks all of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec

from headrace.observe.metrics import Snapshot, decode, encode
from headrace.store import sockets

_PREFIX = "numbers-"
_SUFFIX = ".sock"
_SECONDS = 2.0
_MOST_BYTES = 64 * 1024 * 1024


def numbers_socket(folder: Path, process: str) -> Path:
    """Where a process gives its numbers; `folder` is the one of the sockets."""
    return folder / f"{_PREFIX}{process}{_SUFFIX}"


@contextlib.asynccontextmanager
async def giving_numbers(path: Path, snapshot: Callable[[], Snapshot]) -> AsyncIterator[None]:
    """Answer each connection to `path` with a snapshot inside the block. Raises `OSError`."""

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


async def all_numbers(folder: Path) -> list[Snapshot]:
    """The snapshots of all processes. One that does not answer is told as `headrace_process_up` 0."""
    paths = sorted(folder.glob(f"{_PREFIX}*{_SUFFIX}"))
    return list(await asyncio.gather(*(_ask(path) for path in paths)))


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
