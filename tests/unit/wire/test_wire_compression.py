"""Answers in gzip: who gets them, which of them, and that they hold the same."""

from __future__ import annotations

import asyncio
import gzip

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from headrace.wire.compression import LEAST_BYTES, Compressed, takes_gzip

LONG = b'{"a": "%b"}' % (b"abcdefgh" * LEAST_BYTES)


async def _answer(request: Request) -> Response:
    kind = request.path_params["kind"]
    if kind == "stream":
        return StreamingResponse(iter([LONG, LONG]))
    if kind == "encoded":
        return Response(LONG, headers={"Content-Encoding": "br", "Vary": "Origin"})
    return Response({"long": LONG, "short": b"{}", "none": b""}[kind], 200, {"Vary": "Origin"})


def _ask(kind: str, accept: str | None) -> tuple[httpx.Headers, bytes]:
    app = Compressed(Starlette(routes=[Route("/{kind}", _answer)]))

    async def ask() -> tuple[httpx.Headers, bytes]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://h") as client:
            client.headers.pop("accept-encoding")
            headers = {} if accept is None else {"Accept-Encoding": accept}
            async with client.stream("GET", f"/{kind}", headers=headers) as response:
                return response.headers, b"".join([piece async for piece in response.aiter_raw()])

    return asyncio.run(ask())


def test_a_long_answer_is_packed_for_who_takes_it() -> None:
    headers, body = _ask("long", "gzip, deflate")
    assert headers["content-encoding"] == "gzip"
    assert headers["content-length"] == str(len(body))
    assert headers["vary"] == "Origin, Accept-Encoding"
    assert gzip.decompress(body) == LONG
    assert len(body) < len(LONG) / 10


@pytest.mark.parametrize("accept", [None, "", "identity", "br", "gzip;q=0", "gzip; q=0.0, *", "gzip;q=x"])
def test_others_get_it_as_it_is(accept: str | None) -> None:
    headers, body = _ask("long", accept)
    assert "content-encoding" not in headers
    assert headers["vary"] == "Origin, Accept-Encoding"
    assert body == LONG


@pytest.mark.parametrize(
    ("kind", "body"), [("short", b"{}"), ("none", b""), ("stream", LONG * 2), ("encoded", LONG)]
)
def test_what_is_left_alone(kind: str, body: bytes) -> None:
    headers, found = _ask(kind, "gzip")
    assert headers.get("content-encoding") != "gzip"
    assert found == body


@pytest.mark.parametrize(
    "accept", ["gzip", "GZIP;q=0.1", "x-gzip", "*", "br;q=1.0, *;q=0.5", "deflate , gzip ; q=1"]
)
def test_ways_to_ask_for_it(accept: str) -> None:
    assert takes_gzip([accept])
    assert takes_gzip(["br", accept])


@given(st.lists(st.text("gzip*;q=01., x-", max_size=20), max_size=3))
def test_any_header_is_read(values: list[str]) -> None:
    assert takes_gzip(values) in (True, False)
