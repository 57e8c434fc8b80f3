"""A request's head is bound in time and size, over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
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


def test_an_endless_head_ends_the_connection() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(b"POST / HTTP/1.1\r\nHost: h\r\n")
        try:
            for number in range(1000):
                writer.write(b"x-%d: " % number + b"y" * 1000 + b"\r\n")
                await writer.drain()
                await asyncio.sleep(0)
        except ConnectionError:
            return b""
        return await _read_to_end(reader)

    assert asyncio.run(_talk(talk)) == b""


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
