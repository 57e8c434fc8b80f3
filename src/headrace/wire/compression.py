"""Answers in gzip, for clients that take it (RFC 9110, 12.5.3)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headrace.wire import gzip

LEAST_BYTES = 4 * 1024
"""Shorter answers are sent as they are: they would hardly come sooner."""

_GZIP = frozenset({"gzip", "x-gzip"})


class Compressed:
    """An ASGI application around another: what it answers in one piece, and long, is sent in gzip to who takes it.

    Another thread packs it, which lets others come to turn meanwhile. Answers that come in several pieces and those
    that have a Content-Encoding already are left alone.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        wanted = takes_gzip(Headers(scope=scope).getlist("accept-encoding"))
        start: Message | None = None

        async def packed(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            if start is not None:
                head, start = start, None
                message = await _packed(head, message, wanted=wanted)
                await send(head)
            await send(message)

        await self._app(scope, receive, packed)


async def _packed(head: Message, message: Message, *, wanted: bool) -> Message:
    """The first message of a body as it is to be sent; the headers in `head` are made to fit."""
    headers = MutableHeaders(scope=head)
    body: bytes = message.get("body", b"")
    if len(body) < LEAST_BYTES or message.get("more_body", False) or "content-encoding" in headers:
        return message
    headers.add_vary_header("Accept-Encoding")
    if not wanted:
        return message
    body = await asyncio.to_thread(gzip.deflate, body)
    headers["Content-Encoding"] = "gzip"
    headers["Content-Length"] = str(len(body))
    return {**message, "body": body}


def takes_gzip(headers: Iterable[str]) -> bool:
    """Whether the values of the headers Accept-Encoding allow gzip; without one, nobody asked for it."""
    weights: dict[str, float] = {}
    for part in ",".join(headers).split(","):
        coding, _, weight = part.partition(";")
        weights[coding.strip().lower()] = _weight(weight)
    named = [weight for coding, weight in weights.items() if coding in _GZIP]
    return max(named, default=weights.get("*", 0.0)) > 0


def _weight(text: str) -> float:
    name, _, value = text.partition("=")
    if name.strip().lower() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0
