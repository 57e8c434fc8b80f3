"""The common way in, over real sockets: pipelines, slow and half-open clients, and what is handed over."""

from __future__ import annotations

import asyncio
import resource
import socket
import tracemalloc
import uuid
from contextlib import ExitStack, suppress
from pathlib import Path

import msgspec
import pytest
from tests.ingest_client import BODY, Client, bodies, talk_to
from tests.ingest_kit import Tenant, World
from uvicorn.server import ServerState

from headrace.ingest import connection
from headrace.journal.model import Entry, JournalBrokenError, Pending, Record


def test_posts_are_answered_and_kept(world: World) -> None:
    async def talk(client: Client) -> None:
        for number in range(3):
            wanted = f"{number:08d}-0000-4000-8000-000000000000"
            await client.send(
                client.request(x_ms_client_request_id=wanted, x_ms_return_client_request_id="true")
            )
            status, headers, body = await client.answer()
            assert (status, body, "content-length" in headers) == (204, b"", False)
            assert headers["x-ms-client-request-id"] == wanted
            assert uuid.UUID(headers["x-ms-request-id"]).version == 4

    talk_to(world, talk)
    assert bodies(world) == [BODY] * 3
    assert [record.entry.client_request_id[:8] for record in world.records()] == [
        "00000000",
        "00000001",
        "00000002",
    ]
    assert world.notes.answers == [(world.rule.immutable_id, "Custom-MyTable_CL")] * 3


def test_pipelined_requests_are_answered_in_order(world: World) -> None:
    async def talk(client: Client) -> None:
        await client.send(
            client.request(b'[{"a":1}]')
            + client.request(b"{")
            + client.request(b'[{"a":2}]')
            + client.request(b'[{"a":3}]', authorization=None)
            + client.request(b"[]")
            + client.request(b'[{"a":4}]')
        )
        assert await client.statuses(6) == [204, 400, 204, 401, 204, 204]

    talk_to(world, talk)
    assert bodies(world) == [b'[{"a":1}]', b'[{"a":2}]', b'[{"a":4}]']
    assert [row.InputStreamId for row in world.error_rows()] == ["Custom-MyTable_CL"]
    refused = {(refusal.status, refusal.address) for refusal in world.notes.refusals}
    assert refused == {(400, "127.0.0.1"), (401, "127.0.0.1")}


def test_far_more_pipelined_requests_than_may_be_under_way(world: World) -> None:
    sent = [b'[{"a":%d}]' % number for number in range(200)]

    async def talk(client: Client) -> None:
        await client.send(b"".join(map(client.request, sent)))
        assert await client.statuses(len(sent)) == [204] * len(sent)

    talk_to(world, talk)
    assert bodies(world) == sent


def test_bytes_that_come_one_by_one(world: World) -> None:
    async def talk(client: Client) -> None:
        client.stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        request = client.request()
        for place in range(len(request)):
            await client.send(request[place : place + 1])
            await asyncio.sleep(0)
        assert await client.statuses(1) == [204]

    talk_to(world, talk)
    assert bodies(world) == [BODY]


def test_other_requests_are_handed_over_behind_the_answers_that_are_due(world: World) -> None:
    other = b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"

    async def talk(client: Client) -> None:
        await client.send(client.request(b'[{"a":1}]') + client.request(b'[{"a":2}]') + other)
        await client.send(client.request(b'[{"a":3}]') + other)
        assert await client.statuses(5) == [204, 204, 200, 204, 200]

    talk_to(world, talk)
    assert bodies(world) == [b'[{"a":1}]', b'[{"a":2}]', b'[{"a":3}]']


@pytest.mark.parametrize(
    "line",
    [
        "Expect: 100-continue",
        "Connection: close",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA",
    ],
)
def test_uncommon_requests_are_taken_too(world: World, line: str) -> None:
    async def talk(client: Client) -> None:
        await client.send(client.request(BODY, line))
        status, *_ = await client.answer()
        assert (await client.answer() if status == 100 else (status,))[0] == 204

    talk_to(world, talk)
    assert bodies(world) == [BODY]


def test_a_client_that_waits_for_100_need_not_send_what_is_refused(world: World) -> None:
    async def talk(client: Client) -> None:
        body = b" " * 100_000
        head = client.request(body, "Expect: 100-continue", authorization=None).removesuffix(body)
        await client.send(head)
        status, headers, _ = await client.answer()
        assert (status, headers["connection"]) == (401, "close")
        assert await client.ended()

    talk_to(world, talk)
    assert [refusal.status for refusal in world.notes.refusals] == [401]


def test_spellings_of_the_address(world: World) -> None:
    """Clients percent-encode, change the case, and put a slash at the end; proxies send the whole address."""
    path = world.path().decode()
    odd = "".join(f"%{ord(char):02x}" for char in "Custom-MyTable_CL")
    targets = [
        f"{path.upper()}?API-VERSION=2023-01-01",
        f"{path}/?api%2Dversion=2023-01-01",
        f"/{path}?x=1&api-version=2023-01-01&api-version=again",
        f"/dataCollectionRules/{world.rule.immutable_id}/streams/{odd}?api-version=2023-01-01",
        f"https://localhost:8443{path}?api-version=2023-01-01",
    ]

    async def talk(client: Client) -> None:
        for target in targets:
            line = b"POST %b HTTP/1.1" % target.encode()
            await client.send(line + client.request()[client.request().index(b"\r\n") :])
            assert (await client.answer())[0] == 204, target

    talk_to(world, talk)
    assert bodies(world) == [BODY] * len(targets)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"])
def test_other_methods_are_no_operation(world: World, method: str) -> None:
    async def talk(client: Client) -> None:
        await client.send(client.request(b"").replace(b"POST", method.encode(), 1))
        await client.send(client.request())
        seen = b""
        while b" 204 No Content" not in seen:
            seen += await client.loop.sock_recv(client.stream, 65536)
        assert seen.startswith(b"HTTP/1.1 404 ")
        assert (b'{"error":' in seen) == (method != "HEAD")

    talk_to(world, talk)
    assert bodies(world) == [BODY]


def test_http_1_0(world: World) -> None:
    async def talk(client: Client) -> None:
        await client.send(client.request().replace(b"HTTP/1.1", b"HTTP/1.0", 1))
        status, headers, _ = await client.answer()
        assert (status, headers["connection"]) == (204, "close")
        assert await client.ended()

    talk_to(world, talk)
    assert bodies(world) == [BODY]


def test_a_chunked_body(world: World) -> None:
    async def talk(client: Client) -> None:
        head = client.request(b"").replace(b"content-length: 0", b"transfer-encoding: chunked")
        await client.send(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY) + client.request())
        assert await client.statuses(2) == [204, 204]

    talk_to(world, talk)
    assert bodies(world) == [BODY] * 2


def test_a_body_over_the_limit_is_drained_before_413(tmp_path: Path, tenant: Tenant) -> None:
    with World(tmp_path, tenant, ingest={"max_wire_bytes": 2048}) as world:

        async def talk(client: Client) -> None:
            await client.send(client.request(b" " * 3_000_000) + client.request())
            assert await client.statuses(2) == [413, 204]

        talk_to(world, talk)


@pytest.mark.parametrize("hosts", [[], ["Host: localhost", "host: localhost"], ["Host: localhost/a"]])
def test_a_post_says_once_which_host_it_is_for(world: World, hosts: list[str]) -> None:
    async def talk(client: Client) -> None:
        await client.send(client.request() + client.request(BODY, *hosts, host=None))
        assert await client.statuses(2) == [204, 400]
        assert await client.ended()

    talk_to(world, talk)
    assert bodies(world) == [BODY]


@pytest.mark.parametrize(
    "raw",
    [
        b"POST /dataCollectionRules/a/streams/b HTTP/1.1\nHost: h\nContent-Length: 4\n\nok\r\n\r\n",
        b"POST /dataCollectionRules/a/streams/b HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\nGET / HTTP/1.1\r\n\r\n",
        b"POST /dataCollectionRules/a/streams/b HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST /dataCollectionRules/a/streams/b HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /dataCollectionRules/a/streams/b HTTP/1.1\r\nA b: c\r\n\r\n",
        b"POST /dataCollectionRules/" + b"a" * 200_000,
        b"\x00\r\n\r\n",
    ],
)
def test_what_is_no_http_ends_the_connection(world: World, raw: bytes) -> None:
    async def talk(client: Client) -> None:
        with suppress(ConnectionError):
            await client.send(raw)
        with suppress(EOFError, ConnectionError):
            assert (await client.answer())[0] in (400, 414)
        await client.ended()

    talk_to(world, talk)
    assert world.records() == []


def test_a_client_that_begins_nothing_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.05)

    async def talk(client: Client) -> None:
        assert await client.ended()

    talk_to(world, talk)


def test_a_head_that_never_ends_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(client: Client) -> None:
        await client.send(client.request())
        assert await client.statuses(1) == [204]
        monkeypatch.setattr(connection, "HEAD_SECONDS", 0.05)
        await client.send(client.request()[:100])
        assert await client.ended()

    talk_to(world, talk)
    assert bodies(world) == [BODY]


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["x-long: " + "y" * 60_000], 204),
        (["x-long: " + "y" * 66_000], 431),
        (["x-many: y"] * 96, 204),
        (["x-many: y"] * 97, 431),
    ],
)
def test_a_head_that_comes_whole_is_bound(world: World, lines: list[str], status: int) -> None:
    async def talk(client: Client) -> None:
        await client.send(client.request() + client.request(BODY, *lines))
        assert await client.statuses(2) == [204, status]

    talk_to(world, talk)
    assert bodies(world) == [BODY] * (2 if status == 204 else 1)


def test_an_address_that_is_too_long_is_refused(world: World) -> None:
    async def talk(client: Client) -> None:
        await client.send(client.request(stream="x" * 33_000))
        status, headers, body = await client.answer()
        assert (status, headers["connection"]) == (414, "close")
        assert msgspec.json.decode(body)["error"]["code"] == "UriTooLong"
        assert await client.ended()

    talk_to(world, talk)


def test_an_idle_connection_is_closed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "IDLE_SECONDS", 0.05)

    async def talk(client: Client) -> None:
        await client.send(client.request())
        assert await client.statuses(1) == [204]
        assert await client.ended()

    talk_to(world, talk)


@pytest.mark.parametrize(("token", "status"), [(True, 408), (False, 401)])
def test_a_body_that_never_ends_is_answered_and_the_connection_closed(
    tmp_path: Path, tenant: Tenant, token: bool, status: int
) -> None:
    with World(tmp_path, tenant, ingest={"body_timeout_seconds": 0.05}) as world:

        async def talk(client: Client) -> None:
            second = client.request() if token else client.request(authorization=None)
            await client.send(client.request() + second[:-10])
            assert await client.statuses(1) == [204]
            found, headers, _ = await client.answer()
            assert (found, headers["connection"]) == (status, "close")
            assert await client.ended()

        budget = world.intake.budget.left
        talk_to(world, talk)
        assert world.intake.budget.left == budget
        assert bodies(world) == [BODY]


@pytest.mark.parametrize("half", [socket.SHUT_WR, socket.SHUT_RDWR])
def test_a_client_that_is_gone_in_the_middle_stores_nothing(world: World, half: int) -> None:
    async def talk(client: Client) -> None:
        await client.send(client.request()[:-5])
        await asyncio.sleep(0.01)
        client.stream.shutdown(half)
        if half == socket.SHUT_WR:
            assert await client.ended()

    budget = world.intake.budget.left
    talk_to(world, talk)
    assert world.intake.budget.left == budget
    assert world.records() == []


def test_a_client_that_does_not_take_its_answers_is_not_read_from(world: World) -> None:
    async def talk(client: Client) -> None:
        client.stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        batch = client.request(b"[]") * 20
        sent = 0
        with suppress(TimeoutError):
            while sent < 100_000:
                async with asyncio.timeout(0.2):
                    await client.send(batch)
                sent += 20
        assert 0 < sent < 100_000
        assert await client.statuses(sent) == [204] * sent

    talk_to(world, talk)


def test_a_client_that_does_not_take_its_answers_is_handed_over_only_when_it_does(world: World) -> None:
    """Whoever takes over is told by the transport of the next change only."""

    class Transport(asyncio.Transport):
        def pause_reading(self) -> None:
            """See `asyncio.ReadTransport`."""

        def resume_reading(self) -> None:
            """See `asyncio.ReadTransport`."""

        def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
            """See `asyncio.BaseTransport`."""

        def is_closing(self) -> bool:
            """See `asyncio.BaseTransport`."""
            return False

    class General(asyncio.Protocol):
        def __init__(self) -> None:
            made.append(self)
            self.data = b""

        def data_received(self, data: bytes) -> None:
            """See `asyncio.Protocol`."""
            self.data += data

    made: list[General] = []
    sent = b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"

    async def talk() -> None:
        scratch = memoryview(bytearray(1024))
        around = connection.Surroundings(world.intake, scratch, General, set(), list)
        ours = connection.IngestConnection(around, asyncio.get_running_loop())
        ours.connection_made(Transport())
        ours.pause_writing()
        ours.get_buffer(-1)[: len(sent)] = sent
        ours.buffer_updated(len(sent))
        assert made == []
        ours.resume_writing()
        assert [one.data for one in made] == [sent]

    world.runner.run(talk())


def test_a_length_of_thousands_of_digits(world: World) -> None:
    async def talk(client: Client) -> None:
        length = f"content-length: {len(BODY)}".encode()
        assert client.request().count(length) == 1
        zeros = length.replace(b" ", b" " + b"0" * 5000)
        await client.send(client.request().replace(length, zeros) + client.request())
        assert await client.statuses(2) == [204, 204]

    talk_to(world, talk)
    assert bodies(world) == [BODY, BODY]


def test_bodies_under_way_are_bounded(tmp_path: Path, tenant: Tenant) -> None:
    mib = 1024 * 1024
    with World(tmp_path, tenant, ingest={"max_pending_bytes": 2 * mib}) as world:

        async def talk(client: Client) -> None:
            large = b"[" + b" " * (2 * mib) + b"]"
            await client.send(client.request(large) + client.request())
            assert await client.statuses(2) == [429, 204]

        talk_to(world, talk)
        assert world.intake.budget.left == 2 * mib


class Held:
    """A journal that answers when the test says so."""

    journal_id = str(uuid.uuid4())

    def __init__(self) -> None:
        self.pending: list[tuple[Entry, Pending]] = []

    def submit(self, entry: Entry, inflated: bytes | None = None) -> Pending:
        """Wait for `keep`."""
        self.pending.append((entry, asyncio.get_running_loop().create_future()))
        return self.pending[-1][1]

    def keep(self, place: int) -> None:
        """What was submitted at this place is durable."""
        entry, pending = self.pending[place]
        pending.set_result(Record(self.journal_id, place, 0, entry))

    def backlog(self) -> int:
        """Nothing."""
        return 0

    async def close(self) -> None:
        """Nothing to do."""

    async def has(self, count: int) -> None:
        """Wait until so many are submitted."""
        while len(self.pending) < count:
            await asyncio.sleep(0.001)


def test_answers_keep_their_order_whichever_is_durable_first(tmp_path: Path, tenant: Tenant) -> None:
    held = Held()
    with World(tmp_path, tenant, journal=held) as world:

        async def talk(client: Client) -> None:
            await client.send(client.request() + client.request(b"{") + client.request())
            # The second of three is the row that tells of the refusal.
            await held.has(3)
            for place in (2, 1):
                held.keep(place)
                await asyncio.sleep(0.01)
                with pytest.raises(BlockingIOError):
                    client.stream.recv(1)
            held.keep(0)
            assert await client.statuses(3) == [204, 400, 204]

        talk_to(world, talk)


def test_what_the_journal_refuses_later(tmp_path: Path, tenant: Tenant) -> None:
    held = Held()
    with World(tmp_path, tenant, journal=held) as world:

        async def talk(client: Client) -> None:
            await client.send(client.request())
            await held.has(1)
            held.pending[0][1].set_exception(JournalBrokenError("EIO on /secret/path"))
            status, headers, body = await client.answer()
            assert (status, headers["retry-after"]) == (503, "5")
            assert b"secret" not in body

        talk_to(world, talk)
        assert world.notes.records == []


def test_a_stop_answers_what_is_under_way_and_closes(tmp_path: Path, tenant: Tenant) -> None:
    held = Held()
    state = ServerState()
    with World(tmp_path, tenant, journal=held) as world:

        async def talk(client: Client) -> None:
            request = client.request()
            await client.send(request + request[:-4])
            await held.has(1)
            for open_connection in list(state.connections):
                open_connection.shutdown()
            held.keep(0)
            status, headers, _ = await client.answer()
            assert (status, headers["connection"]) == (204, "close")
            await client.send(request[-4:] + request)
            await held.has(2)
            held.keep(1)
            assert await client.statuses(1) == [204]
            assert await client.ended()

        talk_to(world, talk, state)
        assert len(held.pending) == 2


def test_a_stop_closes_an_idle_connection(world: World) -> None:
    state = ServerState()

    async def talk(client: Client) -> None:
        await client.send(client.request())
        assert await client.statuses(1) == [204]
        for open_connection in list(state.connections):
            open_connection.shutdown()
        assert await client.ended()

    talk_to(world, talk, state)


def test_thousands_of_idle_connections(world: World) -> None:
    """They cost little, and a request beside them is answered."""
    state = ServerState()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    count = min(5000, most // 2 - 200)

    async def talk(client: Client) -> None:
        loop = asyncio.get_running_loop()
        address = client.stream.getpeername()
        with ExitStack() as stack:
            for _ in range(count):
                stream = stack.enter_context(socket.socket())
                stream.setblocking(False)
                await loop.sock_connect(stream, address)
            while len(state.connections) < count + 1:
                await asyncio.sleep(0.001)
            await client.send(client.request())
            assert await client.statuses(1) == [204]
            last = Client(world, stream)
            await last.send(last.request())
            assert await last.statuses(1) == [204]

    tracemalloc.start()
    try:
        talk_to(world, talk, state)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert bodies(world) == [BODY] * 2
    assert peak < count * 16 * 1024
