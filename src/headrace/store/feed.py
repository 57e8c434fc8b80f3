"""The feed of changes: the engine tells the other processes at once that the store has changed.

Both directions carry nothing but change numbers, eight bytes each, most significant first: the engine sends
the newest one, the peer answers with it once it has looked at the store. Numbers that a slow peer has not
taken yet are left out in favour of the newest. The feed only saves time: a peer looks at the store by itself
several times a second, so that a change reaches it also when the engine is dead.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from headrace import sockets
from headrace.store.database import Database, StoreError

POLL_SECONDS = 0.25
MOST_PEERS = 256
_NUMBER = struct.Struct(">Q")
_log = logging.getLogger(__name__)


class _Peer:
    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.acknowledged = -1
        self.wake = asyncio.Event()


class FeedServer:
    """The engine's end: pushes each change number to every connected peer."""

    def __init__(self, path: Path, database: Database) -> None:
        self._path = path
        self._database = database
        self._peers: set[_Peer] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._moved = asyncio.Condition()
        self._newest = 0
        self._server: asyncio.Server | None = None
        self._remove: Callable[[], None] | None = None

    @property
    def peers(self) -> int:
        """How many peers are connected."""
        return len(self._peers)

    async def start(self) -> None:
        """Listen. Raises `OSError` when the socket cannot be made."""
        loop = asyncio.get_running_loop()
        listener = sockets.bind(self._path)

        def changed(number: int) -> None:
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._push, number)

        self._remove = self._database.on_change(changed)
        self._newest = max(self._newest, self._database.change())
        self._server = await asyncio.start_unix_server(self._serve, sock=listener)

    async def close(self) -> None:
        """Stop listening and let every peer go."""
        if self._remove is not None:
            self._remove()
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()
            sockets.remove(self._path)
        self._server = None

    async def wait_for_peers(self, change: int, timeout: float = 2.0) -> bool:
        """Wait until every connected peer has looked at the store at `change` or later.

        False when `timeout` seconds passed first. A peer that goes away meanwhile is not waited for.
        """

        def reached() -> bool:
            return all(peer.acknowledged >= change for peer in self._peers)

        try:
            async with asyncio.timeout(timeout), self._moved:
                await self._moved.wait_for(reached)
        except TimeoutError:
            return False
        return True

    def _push(self, number: int) -> None:
        self._newest = max(self._newest, number)
        for peer in self._peers:
            peer.wake.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._peers) >= MOST_PEERS:
            writer.close()
            return
        peer = _Peer(writer)
        self._peers.add(peer)
        self._tasks.add(task)
        sending = asyncio.create_task(self._send(peer))
        try:
            while True:
                (peer.acknowledged,) = _NUMBER.unpack(await reader.readexactly(_NUMBER.size))
                async with self._moved:
                    self._moved.notify_all()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            sending.cancel()
            self._peers.discard(peer)
            self._tasks.discard(task)
            writer.close()
            async with self._moved:
                self._moved.notify_all()

    async def _send(self, peer: _Peer) -> None:
        sent = -1
        while True:
            if self._newest > sent:
                sent = self._newest
                peer.writer.write(_NUMBER.pack(sent))
                with suppress(OSError):
                    await peer.writer.drain()
            await peer.wake.wait()
            peer.wake.clear()


class FeedClient:
    """The end of a gateway or of the query process.

    `on_change` is what to do when the store may have changed, usually the `refresh` of a `LiveView` or of
    several. It runs in a worker thread, never twice at once, at each number that arrives and in any case
    every quarter of a second.
    """

    def __init__(
        self, path: Path, on_change: Callable[[], object], *, poll_seconds: float = POLL_SECONDS
    ) -> None:
        self._path = path
        self._on_change = on_change
        self._poll_seconds = poll_seconds
        self._looking = asyncio.Lock()
        self._connected = False

    @property
    def connected(self) -> bool:
        """Whether the engine's feed is being heard; without it changes arrive by looking only."""
        return self._connected

    async def run(self) -> None:
        """Follow the feed and look at the store, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._poll())
            group.create_task(self._follow())

    async def _poll(self) -> None:
        while True:
            await self._look()
            await asyncio.sleep(self._poll_seconds)

    async def _look(self) -> bool:
        async with self._looking:
            try:
                await asyncio.to_thread(self._on_change)
            except (SQLAlchemyError, StoreError) as error:
                _log.warning("the resource store cannot be read: %s", type(error).__name__)
                return False
            return True

    async def _follow(self) -> None:
        while True:
            try:
                stream = await asyncio.to_thread(sockets.connect, self._path)
                reader, writer = await asyncio.open_unix_connection(sock=stream)
            except OSError:
                await asyncio.sleep(self._poll_seconds)
                continue
            self._connected = True
            try:
                while True:
                    number = await reader.readexactly(_NUMBER.size)
                    if await self._look():
                        writer.write(number)
                        await writer.drain()
            except (asyncio.IncompleteReadError, OSError):
                pass
            finally:
                self._connected = False
                writer.close()
            await asyncio.sleep(self._poll_seconds)
