"""HTTP servers in our own event loop: TLS on the public port, plain HTTP on unix sockets inside."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Generator
from pathlib import Path

import uvicorn
from granian.constants import Interfaces, SSLProtocols
from granian.http import HTTP1Settings
from granian.server.embed import Server as TlsServer
from starlette.types import ASGIApp

from headrace.process import ProcessConfig
from headrace.store import sockets

_HEADER_SECONDS = 30
_BACKLOG = 1024
_STOP_SECONDS = 20.0


@contextlib.asynccontextmanager
async def serving_tls(app: ASGIApp, config: ProcessConfig) -> AsyncIterator[None]:
    """Serve on the public port, shared with other gateways, inside the block; in-flight requests finish."""
    # Its logger warns at each start that this way of running is new; errors still show.
    logging.getLogger("_granian").setLevel(logging.ERROR)
    server = TlsServer(
        app,
        address=config.settings.server.host,
        port=config.port,
        interface=Interfaces.ASGINL,
        websockets=False,
        backlog=_BACKLOG,
        log_enabled=False,
        ssl_cert=config.certificate,
        ssl_key=config.key,
        ssl_protocol_min=SSLProtocols.tls12,
        http1_settings=HTTP1Settings(header_read_timeout=_HEADER_SECONDS * 1000),
    )
    task = asyncio.create_task(server.serve())
    try:
        yield
    finally:
        server.stop()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(task, _STOP_SECONDS)


@contextlib.asynccontextmanager
async def serving_socket(app: ASGIApp, path: Path) -> AsyncIterator[None]:
    """Serve on a unix socket that only this user can reach, inside the block."""
    listener = sockets.bind(path)
    server = _Server(_plain_config(app))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield
    finally:
        server.should_exit = True
        await task
        path.unlink(missing_ok=True)


@contextlib.asynccontextmanager
async def serving_http(app: ASGIApp, host: str, port: int) -> AsyncIterator[None]:
    """Serve plain HTTP inside the block; only ever on loopback."""
    config = _plain_config(app)
    config.host, config.port = host, port
    server = _Server(config)
    listener = _shared_listener(host, port)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield
    finally:
        server.should_exit = True
        await task


def _shared_listener(host: str, port: int) -> socket.socket:
    """The supervisor holds the port bound; sharing is how we listen on it."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((host, port))
    return listener


class _Server(uvicorn.Server):
    """Leaves signals to the process's own frame."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """See `uvicorn.Server`."""
        yield


def _plain_config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=10,
        h11_max_incomplete_event_size=64 * 1024,
    )
