"""What the processes share when they are put together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from headrace.clock import Clock
from headrace.data_folder import DataFolder
from headrace.identity.access import Access
from headrace.identity.issuers import IssuerKeys, Source
from headrace.identity.outside import OutsideIssuers, TrustedIssuer
from headrace.identity.verify import TokenVerifier
from headrace.observe.exchange import giving_numbers, numbers_socket
from headrace.observe.metrics import Snapshot, process_snapshot
from headrace.process import ProcessConfig
from headrace.store.database import Database
from headrace.store.feed import FeedClient
from headrace.store.live import LiveView
from headrace.wire.addresses import Addresses
from headrace.wire.compression import Compressed
from headrace.wire.headers import ContentPolicy
from headrace.wire.problems import (
    HttpError,
    handle_http_error,
    handle_unexpected,
    handle_unrouted,
    json_response,
)

_STORE_WAIT_SECONDS = 30.0
_log = logging.getLogger(__name__)


def http_app(routes: Sequence[BaseRoute]) -> ASGIApp:
    """An ASGI application of these routes, in which every failure has the one error shape; long answers in gzip."""
    handlers: Mapping[Any, Any] = {
        HttpError: handle_http_error,
        HTTPException: handle_unrouted,
        Exception: handle_unexpected,
    }
    return Compressed(ContentPolicy(Starlette(routes=routes, exception_handlers=handlers)))


def ready_route() -> Route:
    """`/readyz` of a process behind the gateway: it answers as soon as the process serves."""

    async def ready(_request: Request) -> Response:
        return json_response({"status": "ok"})

    return Route("/readyz", ready)


def addresses_of(config: ProcessConfig) -> Addresses:
    """How this server is reached."""
    return Addresses(config.base_url, frozenset(config.hosts), config.settings.server.public_url)


def issuer_keys(config: ProcessConfig, clock: Clock, stack: contextlib.AsyncExitStack) -> IssuerKeys:
    """The keys of the trusted outside issuers, kept up to date until the stack ends."""
    own = config.settings.identity
    keys = IssuerKeys(
        clock,
        sources=[Source(one.issuer, one.jwks_uri, one.keys_file) for one in own.trusted_issuers],
        folder=DataFolder(config.settings.data_dir).issuers,
        ca=own.issuer_ca,
        refresh_seconds=own.issuer_refresh_seconds,
        keep_seconds=own.issuer_keep_seconds,
    )
    if own.trusted_issuers:
        keys.start()
        stack.push_async_callback(asyncio.to_thread, keys.close)
    return keys


def token_verifier(
    config: ProcessConfig, access: LiveView[Access], clock: Clock, keys: IssuerKeys
) -> TokenVerifier:
    """The check of tokens, those of trusted outside issuers too."""
    addresses = addresses_of(config)
    trusted = [
        TrustedIssuer(
            one.issuer,
            one.audiences,
            one.principal_claim,
            one.principals,
            one.groups_claim,
            one.users,
            one.object_ids == "own",
        )
        for one in config.settings.identity.trusted_issuers
    ]
    outside = OutsideIssuers(trusted, keys, addresses) if trusted else None
    return TokenVerifier(access, addresses, clock, outside=outside)


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
) -> AsyncIterator[Callable[[], Snapshot]]:
    """Give this process's numbers, and `own`, to the gateway that is asked for the metrics, and to the block."""
    started = time.time()

    def snapshot() -> Snapshot:
        return {**own(), **process_snapshot(config.name, started, config.restarts)}

    async with giving_numbers(numbers_socket(folder.sockets, config.name), snapshot):
        yield snapshot


@contextlib.asynccontextmanager
async def running_beside(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run a coroutine beside the block and end it with the block.

    When it fails the block is cancelled and its error raised: the process ends, to be started again, instead of
    going on without what the coroutine does.
    """
    block = asyncio.current_task()
    assert block is not None
    task = asyncio.create_task(work)

    def ended(done: asyncio.Task[None]) -> None:
        error = None if done.cancelled() else done.exception()
        if error is not None:
            _log.critical("%s failed: %s", getattr(work, "__qualname__", "a task"), type(error).__name__)
            block.cancel()

    task.add_done_callback(ended)
    try:
        yield
    finally:
        task.remove_done_callback(ended)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
