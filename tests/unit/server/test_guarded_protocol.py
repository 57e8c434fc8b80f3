"""A request's head is bound in time and size, over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import msgspec
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from tests.servers import free_port
from uvicorn.server import ServerState

from headrace import serving
from headrace.serving import GuardedProtocol


async def _hello(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bytes]]


async def _talk(talk: Talk) -> bytes:
    config = uvicorn.Config(_hello, ws="none", lifespan="off", log_config=None)
    config.load()
    server = await asyncio.get_running_loop().create_server(
        lambda: GuardedProtocol(config, ServerState(), {}), "127.0.0.1", 0
    )
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(20):
            return await talk(reader, writer)
    finally:
        writer.close()
        server.close()


async def _read_to_end(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


def test_a_request_after_another_is_answered() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        answers = b""
        for _ in range(2):
            writer.write(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nok")
            answers += await reader.readuntil(b"\r\n\r\n")
        return answers

    assert asyncio.run(_talk(talk)).count(b"204") == 2


def test_a_body_larger_than_a_head_may_be_is_taken() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n" + bytes(1_000_000))
        return await reader.readuntil(b"\r\n\r\n")

    assert b"204" in asyncio.run(_talk(talk))


async def _send_slowly(writer: asyncio.StreamWriter, piece: bytes) -> None:
    """Send a piece again and again until the server closes."""
    with suppress(ConnectionError):
        for _ in range(1000):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)


_CHUNKED = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (b"POST / HTTP/1.1\r\nHost: h\r\n", b"x: " + b"y" * 1000 + b"\r\n"),
        (b"POST / HTTP/1.1\r\nHost: h\r\nx: ", b"y" * 1000),
        (b"POST /", b"y" * 1000),
        (_CHUNKED + b"2;x=", b"y" * 1000),
        (_CHUNKED + b"0\r\nx: ", b"y" * 1000),
        (_CHUNKED + b"0\r\n", b"x: y\r\n"),
    ],
)
def test_what_never_ends_ends_the_connection(start: bytes, piece: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(start)
        await _send_slowly(writer, piece)
        return await _read_to_end(reader)

    assert b" 204 " not in asyncio.run(_talk(talk))


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: h\r\nx: " + b"y" * 60_000, 204),
        (b"GET / HTTP/1.1\r\nHost: h\r\nx: " + b"y" * 65_536, 431),
        (b"GET / HTTP/1.1\r\nHost: h" + b"\r\nx: y" * 99, 204),
        (b"GET / HTTP/1.1\r\nHost: h" + b"\r\nx: y" * 100, 431),
        (b"GET /" + b"y" * 32_767 + b" HTTP/1.1\r\nHost: h", 204),
        (b"GET /" + b"y" * 32_768 + b" HTTP/1.1\r\nHost: h", 414),
        (b"GET / HTTP/1.1\r\nno header", 400),
        (b"GET / HTTP/2.0\r\nHost: h", 400),
        (b"GET / HTTP/1.1", 400),
        (b"GET / HTTP/1.1\r\nHost: h\r\nx: y\r\nhost: h", 400),
        (b"GET / HTTP/1.1\r\nHost: h, i", 400),
        (b"GET / HTTP/1.1\r\nHost: h/a", 400),
        (b"GET / HTTP/1.1\r\nHost: [::1]:8443 ", 204),
        (b"GET / HTTP/1.1\r\nHost: ", 204),
        (b"GET / HTTP/1.0\r\nHost: h\r\nHost: h", 400),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nConnection: upgrade\r\nUpgrade: h2c", 501),
    ],
)
def test_a_head_that_comes_whole_is_bound(head: bytes, status: int) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(head + b"\r\n\r\n")
        answer = await reader.readuntil(b"\r\n\r\n")
        return answer if status == 204 else answer + await reader.read()

    first, _, body = asyncio.run(_talk(talk)).partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 %d " % status)
    assert (b"connection: close" in first) == (status != 204)
    assert status == 204 or set(msgspec.json.decode(body)["error"]) == {"code", "message"}


@pytest.mark.parametrize("method", [b"GET", b"CONNECT"])
def test_the_connection_of_a_client_that_wants_another_protocol_is_closed(method: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(method + b" /a HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        return await reader.read()

    answer = asyncio.run(_talk(talk))
    assert answer.startswith(b"HTTP/1.1 204 ")
    assert b"connection: close" in answer


def test_strangers_write_nothing_into_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(b"nonsense\r\n\r\n")
        return await reader.read()

    assert asyncio.run(_talk(talk)).startswith(b"HTTP/1.1 400 ")
    assert caplog.records == []


def test_only_http_1_0_may_leave_out_the_host() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        return await reader.read()

    assert asyncio.run(_talk(talk)).startswith(b"HTTP/1.1 204 ")


def test_requests_before_a_head_that_is_refused_are_answered() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n" * 3 + b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 200)
        return await _read_to_end(reader)

    answers = asyncio.run(_talk(talk))
    assert (answers.count(b"HTTP/1.1 204 "), answers.count(b"HTTP/1.1 ")) == (3, 3)


def test_the_end_of_a_long_body_is_no_part_of_the_next_head() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(
            b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n\r\n" + bytes(200_000) + b"GET / HT"
        )
        answers = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"TP/1.1\r\nHost: h\r\n\r\n")
        return answers + await reader.readuntil(b"\r\n\r\n")

    assert asyncio.run(_talk(talk)).count(b" 204 ") == 2


@pytest.mark.parametrize("start", [b"", b"POST / HTTP/1.1\r\nHo"])
def test_a_head_that_never_ends_is_given_up(start: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "_HEADER_SECONDS", 0.05)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(start)
        return await _read_to_end(reader)

    assert asyncio.run(_talk(talk)) == b""


def test_the_next_head_is_bound_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "_HEADER_SECONDS", 0.05)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"GET / HTTP/1.1\r\nHo")
        return await _read_to_end(reader)

    assert asyncio.run(_talk(talk)) == b""


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: h", 204),
        (b"GET / HTTP/1.1\r\nHost: h\r\nx: " + b"y" * 65_536, 431),
        (b"GET /" + b"y" * 32_768 + b" HTTP/1.1\r\nHost: h", 414),
        (b"GET / HTTP/1.1", 400),
    ],
)
def test_plain_http_on_loopback_has_the_same_bounds(head: bytes, status: int) -> None:
    async def ask() -> bytes:
        port = free_port()
        async with serving.serving_http(_hello, "127.0.0.1", port), asyncio.timeout(20):
            reader, writer = await _connected(port)
            writer.write(head + b"\r\n\r\n")
            answer = await reader.readuntil(b"\r\n\r\n")
            writer.close()
            return answer

    assert asyncio.run(ask()).startswith(b"HTTP/1.1 %d " % status)


async def _connected(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """The server begins to listen a moment later."""
    while True:
        with suppress(ConnectionRefusedError):
            return await asyncio.open_connection("127.0.0.1", port)
        await asyncio.sleep(0.01)
