"""Clients of the common way in over real sockets, byte by byte."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress

import msgspec
import uvicorn
from uvicorn.server import ServerState

from headrace.serving import ingest_protocol
from tests.ingest_kit import ROW, World

BODY = msgspec.json.encode([ROW, ROW])


class Client:
    """A client's side of a connection."""

    def __init__(self, world: World, stream: socket.socket) -> None:
        self.world = world
        self.stream = stream
        self.loop = asyncio.get_running_loop()
        self._read = b""

    def request(
        self, body: bytes = BODY, *more: str, stream: str = "Custom-MyTable_CL", **changes: str | None
    ) -> bytes:
        """The bytes of a post."""
        headers = self.world.headers(content_length=str(len(body)), **changes)
        lines = [b"POST %b?api-version=2023-01-01 HTTP/1.1" % self.world.path(stream)]
        lines += [b"%b: %b" % header for header in headers] + [line.encode() for line in more]
        return b"\r\n".join([*lines, b"", body])

    async def send(self, data: bytes) -> None:
        """Send bytes."""
        await self.loop.sock_sendall(self.stream, data)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The next answer: status, headers, body. Raises `EOFError` when the connection ended instead."""
        while b"\r\n\r\n" not in self._read:
            await self._more()
        head, _, self._read = self._read.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        length = int(headers.get("content-length", "0"))
        while len(self._read) < length:
            await self._more()
        body, self._read = self._read[:length], self._read[length:]
        return int(first.split()[1]), headers, body

    async def statuses(self, count: int) -> list[int]:
        """The status of each of the next answers."""
        return [(await self.answer())[0] for _ in range(count)]

    async def ended(self) -> bool:
        """Wait for the end of the connection; whether nothing came before it."""
        with suppress(ConnectionResetError):
            while piece := await self.loop.sock_recv(self.stream, 65536):
                self._read += piece
        return not self._read

    async def _more(self) -> None:
        piece = await self.loop.sock_recv(self.stream, 65536)
        if not piece:
            raise EOFError(self._read)
        self._read += piece


Talk = Callable[[Client], Awaitable[None]]


def talk_to(world: World, talk: Talk, state: ServerState | None = None) -> None:
    """Let a client talk to the world's gateway over a socket."""
    world.runner.run(_talk(world, talk, state or ServerState()))


async def _talk(world: World, talk: Talk, state: ServerState) -> None:
    config = uvicorn.Config(world.gateway, ws="none", lifespan="off", log_config=None)
    config.load()
    make = ingest_protocol(world.intake)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: make(config, state, {}), "127.0.0.1", 0)
    with socket.socket() as stream:
        stream.setblocking(False)
        await loop.sock_connect(stream, server.sockets[0].getsockname())
        async with asyncio.timeout(20):
            await talk(Client(world, stream))
    while state.connections:
        await asyncio.sleep(0.001)
    server.close()


def bodies(world: World) -> list[bytes]:
    """What the journal holds."""
    return [record.entry.body for record in world.payloads()]
