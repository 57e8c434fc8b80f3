from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from sqlalchemy import Connection

from headrace import sockets
from headrace.store.database import Database
from headrace.store.feed import FeedClient, FeedServer
from headrace.store.live import LiveView


def load(_connection: Connection, change: int) -> int:
    return change


@pytest.fixture
def reader(tmp_path: Path, database: Database) -> Iterator[Database]:
    opened = Database.open(tmp_path / "store.db", read_only=True)
    yield opened
    opened.close()


@asynccontextmanager
async def running(client: FeedClient) -> AsyncIterator[None]:
    task = asyncio.create_task(client.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


def write(database: Database) -> int:
    with database.write():
        pass
    return database.change()


def test_a_write_is_known_to_the_peer_when_the_wait_ends(
    tmp_path: Path, database: Database, reader: Database
) -> None:
    async def scenario() -> None:
        view = LiveView(reader, load)
        server = FeedServer(tmp_path / "feed.sock", database)
        await server.start()
        # A poll that never comes: only the feed can bring the change.
        client = FeedClient(tmp_path / "feed.sock", view.refresh, poll_seconds=3600)
        async with running(client):
            await until(lambda: server.peers == 1)
            for _ in range(20):
                number = await asyncio.to_thread(write, database)
                assert await server.wait_for_peers(number, timeout=20)
                assert view.change >= number
        await server.close()
        assert not (tmp_path / "feed.sock").exists()

    asyncio.run(scenario())


def test_without_an_engine_the_peer_finds_changes_by_looking(
    tmp_path: Path, database: Database, reader: Database
) -> None:
    async def scenario() -> None:
        view = LiveView(reader, load)
        client = FeedClient(tmp_path / "nobody.sock", view.refresh, poll_seconds=0.01)
        async with running(client):
            number = write(database)
            await until(lambda: view.change == number)
            assert not client.connected

    asyncio.run(scenario())


def test_the_peer_comes_back_after_the_engine_was_restarted(
    tmp_path: Path, database: Database, reader: Database
) -> None:
    async def scenario() -> None:
        view = LiveView(reader, load)
        client = FeedClient(tmp_path / "feed.sock", view.refresh, poll_seconds=0.01)
        async with running(client):
            for _ in range(3):
                server = FeedServer(tmp_path / "feed.sock", database)
                await server.start()
                await until(lambda: client.connected)
                number = await asyncio.to_thread(write, database)
                assert await server.wait_for_peers(number, timeout=20)
                await server.close()
                await until(lambda: not client.connected)

    asyncio.run(scenario())


def test_a_peer_that_does_not_answer_bounds_the_wait_and_one_that_left_is_not_waited_for(
    tmp_path: Path, database: Database
) -> None:
    async def scenario() -> None:
        server = FeedServer(tmp_path / "feed.sock", database)
        await server.start()
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "feed.sock"))
        assert int.from_bytes(await reader.readexactly(8), "big") == database.change()
        number = await asyncio.to_thread(write, database)
        assert not await server.wait_for_peers(number, timeout=0.05)
        waiting = asyncio.create_task(server.wait_for_peers(number, timeout=60))
        await asyncio.sleep(0)
        writer.close()
        assert await waiting
        await server.close()

    asyncio.run(scenario())


def test_a_peer_that_sends_nonsense_does_not_disturb_the_others(
    tmp_path: Path, database: Database, reader: Database
) -> None:
    async def scenario() -> None:
        view = LiveView(reader, load)
        server = FeedServer(tmp_path / "feed.sock", database)
        await server.start()
        async with running(FeedClient(tmp_path / "feed.sock", view.refresh, poll_seconds=3600)):
            await until(lambda: server.peers == 1)
            _, writer = await asyncio.open_unix_connection(str(tmp_path / "feed.sock"))
            writer.write(b"\xff" * 1003)
            writer.write_eof()
            await until(lambda: server.peers == 1)
            number = await asyncio.to_thread(write, database)
            assert await server.wait_for_peers(number, timeout=20)
            assert view.change >= number
            writer.close()
        await server.close()

    asyncio.run(scenario())


def test_a_store_that_cannot_be_read_is_looked_at_again(tmp_path: Path, database: Database) -> None:
    from sqlalchemy.exc import OperationalError

    async def scenario() -> None:
        looks = 0

        def look() -> None:
            nonlocal looks
            looks += 1
            if looks < 3:
                raise OperationalError("SELECT", {}, Exception("disk I/O error"))

        async with running(FeedClient(tmp_path / "nobody.sock", look, poll_seconds=0.001)):
            await until(lambda: looks > 5)

    asyncio.run(scenario())


def test_sockets_may_lie_in_folders_of_any_depth() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "d" * 90, "e" * 90)
        folder.mkdir(parents=True)
        listener = sockets.bind(folder / "engine.sock")
        again = sockets.bind(folder / "engine.sock")  # one left behind is replaced
        listener.close()
        assert (folder / "engine.sock").stat().st_mode & 0o777 == 0o600
        stream = sockets.connect(folder / "engine.sock")
        accepted, _ = again.accept()
        stream.send(b"x")
        accepted.setblocking(True)
        assert accepted.recv(1) == b"x"
        for opened in (stream, accepted, again):
            opened.close()


def test_something_else_in_the_place_of_a_socket_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "engine.sock").write_text("precious")
    with pytest.raises(FileExistsError, match="no socket"):
        sockets.bind(tmp_path / "engine.sock")
    assert (tmp_path / "engine.sock").read_text() == "precious"
