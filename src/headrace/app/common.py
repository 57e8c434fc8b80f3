"""What the processes share when they are put together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from headrace.data_folder import DataFolder
from headrace.observe.exchange import giving_numbers, numbers_socket
from headrace.observe.metrics import Snapshot, now_seconds, process_snapshot
from headrace.process import ProcessConfig
from headrace.store.database import Database
from headrace.store.feed import FeedClient
from headrace.wire.addresses import Addresses
from headrace.wire.problems import (
    HttpError,
    handle_http_error,
    handle_unexpected,
    handle_unrouted,
    json_response,
)

_STORE_WAIT_SECONDS = 30.0


def http_app(routes: Sequence[BaseRoute]) -> Starlette:
    """An ASGI application of these routes, in which every failure has the one error shape."""
    handlers: Mapping[Any, Any] = {
        HttpError: handle_http_error,
        HTTPException: handle_unrouted,
        Exception: handle_unexpected,
    }
    return Starlette(routes=routes, exception_handlers=handlers)


def ready_route() -> Route:
    """`/readyz` of a process behind the gateway: it answers as soon as the process serves."""

    async def ready(_request: Request) -> Response:
        return json_response({"status": "ok"})

    return Route("/readyz", ready)


def addresses_of(config: ProcessConfig) -> Addresses:
    """How this server is reached."""
    return Addresses(config.base_url, frozenset(config.hosts), config.settings.server.public_url)


def read_store(folder: DataFolder, stack: contextlib.AsyncExitStack) -> Database:
    """The store, for reading alone; closed with the stack. Waits for the first migration."""
    database = Database.open(folder.store, read_only=True, wait_seconds=_STORE_WAIT_SECONDS)
    stack.callback(database.close)
    return database


@contextlib.asynccontextmanager
async def following(folder: DataFolder, *refreshes: Callable[[], bool]) -> AsyncIterator[None]:
    """Keep views of the store up to date inside the block."""

    def refresh_all() -> None:
        for refresh in refreshes:
            refresh()

    async with running_beside(FeedClient(folder.socket("feed"), refresh_all).run()):
        yield


@contextlib.asynccontextmanager
async def telling_numbers(
    folder: DataFolder, config: ProcessConfig, own: Callable[[], Snapshot] = dict
) -> AsyncIterator[None]:
    """Give this process's numbers, and `own`, to the gateway that is asked for the metrics."""
    started = now_seconds()

    def snapshot() -> Snapshot:
        return {**own(), **process_snapshot(config.name, started, config.restarts)}

    async with giving_numbers(numbers_socket(folder.sockets, config.name), snapshot):
        yield


@contextlib.asynccontextmanager
async def running_beside(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run a coroutine beside the block and end it with the block."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
