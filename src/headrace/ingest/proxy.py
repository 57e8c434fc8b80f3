"""The reverse proxy: what the gateway does not answer itself goes on to the engine or the query process.

Both are reached over unix sockets. Bodies stream through in both directions, nothing is gathered in memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

import httpx
from starlette.types import Message, Receive, Scope, Send

from headrace.ingest.body import ClientGoneError, drain_body
from headrace.settings import MIB
from headrace.wire import correlation
from headrace.wire.asgi import answer_error
from headrace.wire.problems import HttpError, http_error
from headrace.wire.targets import path_segments

MAX_BODY_BYTES = 64 * MIB
_CONNECTIONS = 256
_IDLE_CONNECTIONS = 32
_IDLE_SECONDS = 2.0
"""Shorter than the upstream's own, so that it does not hang up just when a connection is used again."""
_RETRY_SECONDS = 1
_PIECE_SECONDS = 60.0
_DRAIN_SECONDS = 30.0
_WATCH_SECONDS = 1.0
_log = logging.getLogger(__name__)

_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_OURS = frozenset({b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"expect"})

_SAID_BY_US = frozenset({b"date"})
"""Headers of an answer that the gateway's own server puts on it."""

_GRAPH = ("providers", "microsoft.resourcegraph", "resources")
_WORKSPACES = ("providers", "microsoft.operationalinsights", "workspaces")

Header = tuple[bytes, bytes]


class Upstream:
    """A process behind the gateway, reached over the unix socket at `path`.

    `read_seconds` is how long it may be silent; it must be longer than its own time limits.
    """

    def __init__(self, path: Path, *, read_seconds: float) -> None:
        self.path = path
        transport = httpx.AsyncHTTPTransport(
            uds=str(path),
            # No TLS in here: not even a look at which certificates are to be trusted, which may name a lost file.
            verify=False,
            trust_env=False,
            limits=httpx.Limits(
                max_connections=_CONNECTIONS,
                max_keepalive_connections=_IDLE_CONNECTIONS,
                keepalive_expiry=_IDLE_SECONDS,
            ),
        )
        self.timeout = httpx.Timeout(read_seconds, connect=5.0, write=60.0, pool=5.0)
        self.client = httpx.AsyncClient(transport=transport, follow_redirects=False, trust_env=False)


class Proxy:
    """An ASGI application that hands each request on.

    `choose` picks the upstream by the lower-case segments of the path. What cannot be reached is answered
    503 with `Retry-After`; a client that hangs up ends its request upstream, too.
    """

    def __init__(self, choose: Callable[[tuple[str, ...]], Upstream], upstreams: Iterable[Upstream]) -> None:
        self._choose = choose
        self._upstreams = tuple(upstreams)

    async def close(self) -> None:
        """Let go of all connections."""
        for upstream in self._upstreams:
            await upstream.client.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand one HTTP request on, and its answer back."""
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        upstream = self._choose(tuple(segment.lower() for segment in path_segments(raw)))
        exchange = _Exchange(scope, receive, send)
        try:
            await exchange.run(upstream, raw)
        except HttpError as error:
            await _refuse(exchange, receive, send, error)
        except ClientGoneError:
            return


async def _refuse(exchange: _Exchange, receive: Receive, send: Send, error: HttpError) -> None:
    """Let the client finish sending, then answer: one that still writes would see a reset instead."""
    if not exchange.body_taken and error.status != 408:
        try:
            await drain_body(receive, _DRAIN_SECONDS)
        except ClientGoneError:
            return
    request_id = (correlation.REQUEST_ID, correlation.new_request_id().encode())
    await answer_error(send, error, [request_id])


def two_processes(engine: Upstream, query: Upstream) -> Proxy:
    """The gateway's proxy: queries to the query process, all else to the engine."""

    def choose(segments: tuple[str, ...]) -> Upstream:
        return query if _is_query(segments) else engine

    return Proxy(choose, (engine, query))


def _is_query(segments: tuple[str, ...]) -> bool:
    """`/v1/...`, Kusto's `/v2/...`, and management's addresses by which logs or the resource graph are asked."""
    if segments[:1] in (("v1",), ("v2",)) or segments == _GRAPH:
        return True
    if segments[:1] != ("subscriptions",):
        return False
    if segments[-3:] == ("providers", "microsoft.insights", "logs"):
        return True
    workspace = segments[-6:-1] if segments[-2:] == ("api", "query") else segments[-5:]
    return segments[-1:] == ("query",) and workspace[:3] == _WORKSPACES


class _Exchange:
    """One request on its way through."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._taken = asyncio.Event()
        self._problem: HttpError | ClientGoneError | None = None

    @property
    def body_taken(self) -> bool:
        """Whether the request's body has come to its end."""
        return self._taken.is_set()

    async def run(self, upstream: Upstream, raw_path: bytes) -> None:
        """Raises `HttpError` when there is no answer to hand back, `ClientGoneError` when nobody waits."""
        forward = asyncio.ensure_future(self._forward(upstream, raw_path))
        watch = asyncio.ensure_future(self._until_gone())
        try:
            await asyncio.wait((forward, watch), return_when=asyncio.FIRST_COMPLETED)
            if not forward.done():
                raise ClientGoneError
            forward.result()
        finally:
            for task in (forward, watch):
                task.cancel()
            await asyncio.gather(forward, watch, return_exceptions=True)

    async def _forward(self, upstream: Upstream, raw_path: bytes) -> None:
        first = await self._next()
        request = self._request(upstream, raw_path, first)
        try:
            response = await upstream.client.send(request, stream=True)
        except httpx.TransportError as error:
            raise self._problem or _no_answer(error) from error
        try:
            await self._answer(response)
        finally:
            await response.aclose()

    def _request(self, upstream: Upstream, raw_path: bytes, first: Message) -> httpx.Request:
        query: bytes = self._scope.get("query_string", b"")
        target = raw_path + (b"?" + query if query else b"")
        headers = _passed_on(self._scope["headers"], _OURS)
        client = self._scope.get("client")
        if client:
            headers.append((b"x-forwarded-for", str(client[0]).encode("latin-1", "replace")))
        headers.append((b"x-forwarded-proto", self._scope.get("scheme", "https").encode()))
        # HTTP/2 bodies need no header that announces them: only the first message tells.
        has_body = bool(first.get("body")) or first.get("more_body", False)
        # Not the client's build_request: it would add headers of its own, such as Accept-Encoding.
        return httpx.Request(
            self._scope["method"],
            "http://upstream/",
            headers=headers,
            content=self._body(first) if has_body else None,
            extensions={"target": target, "timeout": upstream.timeout.as_dict()},
        )

    async def _body(self, message: Message) -> AsyncIterator[bytes]:
        size = 0
        while True:
            piece: bytes = message.get("body", b"")
            size += len(piece)
            if size > MAX_BODY_BYTES:
                self._problem = _too_large(size)
                raise httpx.WriteError("the body is too large")
            if piece:
                yield piece
            if not message.get("more_body", False):
                return
            try:
                message = await self._next()
            except (HttpError, ClientGoneError) as error:
                self._problem = error
                raise httpx.WriteError("the body did not come to its end") from error

    async def _next(self) -> Message:
        """The next piece of the request's body. Raises `ClientGoneError`, `HttpError` 408."""
        try:
            async with asyncio.timeout(_PIECE_SECONDS):
                message = await self._receive()
        except TimeoutError as error:
            raise http_error(
                408, "TimeoutExpired", f"Nothing of the request's body came for {_PIECE_SECONDS:g} seconds."
            ) from error
        if message["type"] != "http.request":
            raise ClientGoneError
        if not message.get("more_body", False):
            self._taken.set()
        return message

    async def _answer(self, response: httpx.Response) -> None:
        headers = _passed_on(response.headers.raw, _SAID_BY_US)
        start = {"type": "http.response.start", "status": response.status_code, "headers": headers}
        await self._send(start)
        try:
            async for piece in response.aiter_raw():
                await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        except httpx.TransportError:
            # The answer has begun: all that is left is to break it off, so that nobody takes it for whole.
            _log.warning("an answer was broken off behind the gateway")
            return
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _until_gone(self) -> None:
        """Return when the client has hung up; behind a body there is no other message."""
        await self._taken.wait()
        while (await self._receive())["type"] == "http.request":
            await asyncio.sleep(_WATCH_SECONDS)


def _passed_on(headers: Iterable[Header], left_out: frozenset[bytes]) -> list[Header]:
    """End-to-end headers, names in lower case, in their order."""
    lowered = [(name.lower(), value) for name, value in headers]
    named = {
        token.strip().lower()
        for name, value in lowered
        if name == b"connection"
        for token in value.split(b",")
    }
    return [
        (name, value)
        for name, value in lowered
        if name not in _HOP_BY_HOP and name not in left_out and name not in named
    ]


def _no_answer(error: httpx.TransportError) -> HttpError:
    if isinstance(error, httpx.ReadTimeout):
        return http_error(504, "GatewayTimeout", "The server did not answer in time.")
    return http_error(
        503,
        "ServiceUnavailable",
        "This part of the server is starting or busy. Try again in a moment.",
        headers={"Retry-After": str(_RETRY_SECONDS)},
    )


def _too_large(size: int) -> HttpError:
    return http_error(
        413,
        "RequestContentTooLarge",
        f"The request's body has more than {MAX_BODY_BYTES} bytes; at least {size} were sent.",
    )
