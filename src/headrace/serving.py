"""HTTP servers in our own event loop: TLS on the public port, plain HTTP on unix sockets inside."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Generator
from pathlib import Path
from typing import Any, Literal

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from headrace import sockets
from headrace.errors import ProblemError
from headrace.ingest.connection import IngestConnection, Surroundings
from headrace.ingest.intake import Intake
from headrace.process import ProcessConfig
from headrace.tls import check_pair, server_context
from headrace.wire.asgi import Headers
from headrace.wire.heads import (
    MOST_HEAD_BYTES,
    MOST_HEADERS,
    MOST_TARGET_BYTES,
    head_too_large,
    malformed,
    names_host,
    no_host,
    no_upgrade,
    refusal,
    target_too_long,
)
from headrace.wire.problems import HttpError

_HEADER_SECONDS = 30
_BACKLOG = 1024
_READ_BYTES = 256 * 1024
_STOP_SECONDS = 20.0
_CLOSE_SECONDS = 0.3
"""Between two looks, at a stop, at connections that are closing."""
_RENEW_SECONDS = 2.0
_VERSIONS = ("1.0", "1.1")
_log = logging.getLogger(__name__)
_FAULTS = _log.getChild("requests")
_FAULTS.setLevel(logging.ERROR)


MakesProtocol = Callable[..., asyncio.BaseProtocol]
"""By which uvicorn makes a connection's protocol."""


@contextlib.asynccontextmanager
async def serving_tls(app: ASGIApp, protocol: MakesProtocol, config: ProcessConfig) -> AsyncIterator[None]:
    """Serve on the public port, shared with other gateways, inside the block; in-flight requests finish.

    `protocol` makes what takes a connection: it answers what it can itself, and `app` all else.
    """
    host = config.settings.server.host
    own = _plain_config(
        app,
        ssl_certfile=config.certificate,
        ssl_keyfile=config.key,
        backlog=_BACKLOG,
        headers=_security_headers(config),
    )
    own.host, own.port = host, config.port
    own.load()
    own.ssl = server_context(config.certificate, config.key, config.client_cas)
    own.http_protocol_class = protocol  # type: ignore[assignment]
    renewing = asyncio.create_task(_renew(own.ssl, config.certificate, config.key))
    try:
        async with _serving(own, _shared_listener(host, config.port), _STOP_SECONDS):
            yield
    finally:
        renewing.cancel()


async def _renew(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Take a certificate that was changed on disk for connections that begin from then on."""
    seen = _written(certificate, key)
    while True:
        await asyncio.sleep(_RENEW_SECONDS)
        found = await asyncio.to_thread(_written, certificate, key)
        if found == seen:
            continue
        try:
            # First on the side: half a change must not leave the server without a certificate.
            await asyncio.to_thread(check_pair, certificate, key)
            context.load_cert_chain(certificate, key)
        except (ProblemError, OSError) as error:
            _log.warning("the changed certificate is not taken yet: %s", error)
        else:
            seen = found
            _log.info("the certificate was changed and is in use")


def _written(*paths: Path) -> list[tuple[int, int]]:
    """When files were last written; 0 for one that is not there."""
    found = []
    for path in paths:
        try:
            state = path.stat()
            found.append((state.st_mtime_ns, state.st_ino))
        except OSError:
            found.append((0, 0))
    return found


@contextlib.asynccontextmanager
async def serving_socket(app: ASGIApp, path: Path) -> AsyncIterator[None]:
    """Serve on a unix socket that only this user can reach, inside the block."""
    try:
        async with _serving(_plain_config(app), sockets.bind(path)):
            yield
    finally:
        sockets.remove(path)


@contextlib.asynccontextmanager
async def serving_http(app: ASGIApp, host: str, port: int) -> AsyncIterator[None]:
    """Serve plain HTTP inside the block, to the same bounds of heads; only ever on loopback."""
    config = _plain_config(app, http=GuardedProtocol)
    config.host, config.port = host, port
    async with _serving(config, _shared_listener(host, port)):
        yield


@contextlib.asynccontextmanager
async def _serving(
    config: uvicorn.Config, listener: socket.socket, stop_seconds: float | None = None
) -> AsyncIterator[None]:
    """Serve on `listener` inside the block; at its end wait for what is under way, at most `stop_seconds`."""
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield
    finally:
        server.should_exit = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(task, stop_seconds)


def _shared_listener(host: str, port: int) -> socket.socket:
    """The supervisor holds the port bound; sharing is how we listen on it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((host, port))
    return listener


def ingest_protocol(intake: Intake) -> MakesProtocol:
    """The common way in, by which `intake` takes requests of the ingestion API, and behind it `GuardedProtocol`."""
    scratch = memoryview(bytearray(_READ_BYTES))

    def make(
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> asyncio.BufferedProtocol:
        surroundings = Surroundings(
            intake=intake,
            scratch=scratch,
            general=lambda: GuardedProtocol(config, server_state, app_state, _loop),
            connections=server_state.connections,
            headers=lambda: server_state.default_headers,
        )
        return IngestConnection(surroundings, _loop or asyncio.get_running_loop())

    return make


class GuardedProtocol(HttpToolsProtocol):
    """HTTP/1.1 for clients that nobody knows: a request's head is bound in time, size and number of headers.

    A connection on which another protocol was asked for is closed behind the answer.
    """

    _head_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    """Of what the parser has told of the head."""
    _untold = 0
    """Bytes since the parser told something: it may hold that much of one line."""
    _told = False
    _refusal: HttpError | None = None

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        # What strangers send is nothing to warn of: each request of theirs would be a line in the log.
        self.logger = _FAULTS

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._forget_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._refusal is not None:
            return
        self._told = False
        super().data_received(data)
        self._untold = 0 if self._told else self._untold + len(data)
        if self._untold > MOST_HEAD_BYTES:
            self._refuse(head_too_large())

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._told = True
        self._head_bytes = 0
        self._await_head()

    def on_url(self, url: bytes) -> None:
        """A part of the target. Raises `HttpError`."""
        super().on_url(url)
        self._told = True
        if len(self.url) > MOST_TARGET_BYTES:
            self._refusal = target_too_long()
            raise self._refusal

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, of the head or behind a chunked body. Raises `HttpError`."""
        super().on_header(name, value)
        self._told = True
        self._head_bytes += len(name) + len(value)
        if len(self.headers) > MOST_HEADERS or self._head_bytes > MOST_HEAD_BYTES:
            self._refusal = head_too_large()
            raise self._refusal

    def on_headers_complete(self) -> None:
        """A request's head is there. Raises `HttpError`."""
        self._told = True
        self._forget_head()
        asked = self.parser.should_upgrade()
        if asked and _has_body(self.headers):
            self._refusal = no_upgrade()
        elif self.parser.get_http_version() not in _VERSIONS:
            self._refusal = malformed()
        elif not names_host(_hosts(self.headers), self.parser.get_http_version()):
            self._refusal = no_host()
        if self._refusal is not None:
            raise self._refusal
        super().on_headers_complete()
        if asked:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        self._told = True
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        """The parser gave up: answer with the cause."""
        self._refuse(self._refusal or malformed())

    def _refuse(self, error: HttpError) -> None:
        """Take no more, and tell why, unless the client would take that for the answer to an earlier request."""
        self._refusal = error
        under_way = self.cycle is not None and not self.cycle.response_complete
        if under_way and not self.cycle.more_body:
            # Those before have come whole: they are answered.
            self.cycle.keep_alive = False
            return
        if not under_way or not (self.cycle.response_started or self.pipeline):
            self.transport.write(
                refusal(error, [*self.server_state.default_headers, (b"connection", b"close")])
            )
        self.transport.close()

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(_HEADER_SECONDS, self.transport.close)

    def _forget_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def _has_body(headers: Headers) -> bool:
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0"))
        for name, value in headers
    )


def _hosts(headers: Headers) -> list[bytes]:
    return [value for name, value in headers if name == b"host"]


def _security_headers(config: ProcessConfig) -> list[tuple[str, str]]:
    """What every answer says to browsers."""
    headers = [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
    ]
    if config.settings.server.public_url:
        # Not by default: a browser would hold it against everything else on localhost.
        headers.append(("strict-transport-security", "max-age=31536000"))
    return headers


class _Server(uvicorn.Server):
    """Leaves signals to the process's own frame."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """See `uvicorn.Server`."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See `uvicorn.Server`. Clients that do not end their side of a connection that is done are not waited for."""
        leaving = asyncio.create_task(self._leave_what_is_done())
        try:
            await super().shutdown(sockets)
        finally:
            leaving.cancel()

    async def _leave_what_is_done(self) -> None:
        """End connections whose answers are out: with TLS, closing one waits for the client, which may be idle."""
        while True:
            await asyncio.sleep(_CLOSE_SECONDS)
            for connection in list(self.server_state.connections):
                transport: asyncio.Transport | None = connection.transport
                if transport is not None and transport.is_closing() and not transport.get_write_buffer_size():
                    transport.abort()


def _plain_config(
    app: ASGIApp, http: type[asyncio.Protocol] | Literal["httptools"] = "httptools", **more: Any
) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=http,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=10,
        **more,
    )
