"""HTTP servers in our own event loop: TLS on the public port, plain HTTP on unix sockets inside."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Generator
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from headrace.process import ProcessConfig
from headrace.store import sockets

_HEADER_SECONDS = 30
_HEADER_BYTES = 128 * 1024
_BACKLOG = 1024
_STOP_SECONDS = 20.0


@contextlib.asynccontextmanager
async def serving_tls(app: ASGIApp, config: ProcessConfig) -> AsyncIterator[None]:
    """Serve on the public port, shared with other gateways, inside the block; in-flight requests finish."""
    host = config.settings.server.host
    own = _plain_config(app, ssl_certfile=config.certificate, ssl_keyfile=config.key, backlog=_BACKLOG)
    own.host, own.port = host, config.port
    own.load()
    own.http_protocol_class = GuardedProtocol
    async with _serving(own, _shared_listener(host, config.port), _STOP_SECONDS):
        yield


@contextlib.asynccontextmanager
async def serving_socket(app: ASGIApp, path: Path) -> AsyncIterator[None]:
    """Serve on a unix socket that only this user can reach, inside the block."""
    try:
        async with _serving(_plain_config(app), sockets.bind(path)):
            yield
    finally:
        path.unlink(missing_ok=True)


@contextlib.asynccontextmanager
async def serving_http(app: ASGIApp, host: str, port: int) -> AsyncIterator[None]:
    """Serve plain HTTP inside the block; only ever on loopback."""
    config = _plain_config(app)
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


class GuardedProtocol(HttpToolsProtocol):
    """HTTP/1.1 for clients that nobody knows: a request's head is bound in time and size."""

    _head_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0

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
        super().data_received(data)
        if self._head_timer is not None:
            self._head_bytes += len(data)
            if self._head_bytes > _HEADER_BYTES:
                self.transport.close()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._await_head()

    def on_headers_complete(self) -> None:
        """A request's head is there."""
        self._forget_head()
        super().on_headers_complete()

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(_HEADER_SECONDS, self.transport.close)

    def _forget_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
            self._head_bytes = 0


class _Server(uvicorn.Server):
    """Leaves signals to the process's own frame."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """See `uvicorn.Server`."""
        yield


def _plain_config(app: ASGIApp, **more: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="httptools",
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
