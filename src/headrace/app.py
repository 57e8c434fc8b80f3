"""The composition root: each process's parts, wired. Run as a module it is a child of the supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Coroutine

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headrace.arm.views import CatalogLoader, load_rule_heads
from headrace.clock import SystemClock
from headrace.data_folder import DataFolder
from headrace.disk import RealDisk
from headrace.identity.access import load_access
from headrace.identity.verify import TokenVerifier
from headrace.ingest.proxy import Upstream, two_processes
from headrace.ingest.routes import Gateway
from headrace.ingest.throttle import Throttle
from headrace.journal.files import open_free_journal
from headrace.process import ProcessConfig, Role, RoleMain, run_child
from headrace.query.engine import QueryEngine
from headrace.query.routes import QueryService
from headrace.serving import serving_socket, serving_tls
from headrace.store.database import Database
from headrace.store.feed import FeedClient
from headrace.store.live import LiveView
from headrace.tables.reader import TableReader
from headrace.wire.addresses import Addresses
from headrace.wire.problems import HttpError, handle_http_error, json_response

_log = logging.getLogger(__name__)

_STORE_WAIT_SECONDS = 30.0
_READY_POLL_SECONDS = 0.05


async def run_gateway(config: ProcessConfig, stop: asyncio.Event) -> None:
    """Steps 1 to 4 of a payload's way: take it, check it, make it durable, answer."""
    folder = DataFolder(config.settings.data_dir)
    settings = config.settings
    clock = SystemClock()
    addresses = _addresses(config)
    async with contextlib.AsyncExitStack() as stack:
        database = _read_store(folder, stack)
        access = LiveView(database, load_access, clock=clock)
        rules = LiveView(database, load_rule_heads, clock=clock)
        await stack.enter_async_context(_following(folder, access.refresh, rules.refresh))
        journal = open_free_journal(folder.journals, settings.journal, RealDisk(), clock)
        stack.push_async_callback(journal.close)
        engine = Upstream(folder.socket("engine"), read_seconds=120.0)
        query = Upstream(folder.socket("query"), read_seconds=settings.query.max_wait_seconds + 60.0)
        proxy = two_processes(engine, query)
        stack.push_async_callback(proxy.close)
        ready = asyncio.Event()
        await stack.enter_async_context(_task(_wait_for((engine, query), ready)))
        gateway = Gateway(
            settings=settings,
            verifier=TokenVerifier(access, addresses, clock),
            access=access,
            rules=rules,
            journal=journal,
            proxy=proxy,
            ready=ready.is_set,
            addresses=addresses,
            throttle=Throttle(
                settings.ingest.rule_requests_per_minute,
                settings.ingest.rule_bytes_per_minute,
                clock,
                gateways=settings.server.gateways,
            ),
        )
        async with serving_tls(gateway, config):
            await stop.wait()


async def run_query(config: ProcessConfig, stop: asyncio.Event) -> None:
    """Step 7: answer queries."""
    folder = DataFolder(config.settings.data_dir)
    clock = SystemClock()
    shutil.rmtree(folder.spill, ignore_errors=True)
    async with contextlib.AsyncExitStack() as stack:
        database = _read_store(folder, stack)
        access = LiveView(database, load_access, clock=clock)
        catalog = LiveView(database, CatalogLoader(), clock=clock)
        await stack.enter_async_context(_following(folder, access.refresh, catalog.refresh))
        engine = QueryEngine(
            TableReader(folder.tables), folder.tables, folder.spill, config.settings.query, clock
        )
        stack.callback(engine.close)
        service = QueryService(
            engine,
            TokenVerifier(access, _addresses(config), clock),
            access=lambda: access.current,
            catalog=lambda: catalog.current,
            settings=config.settings.query,
            clock=clock,
        )
        async with serving_socket(_http_app([_ready_route(), *service.routes()]), folder.socket("query")):
            await stop.wait()


def _http_app(routes: list[Route]) -> Starlette:
    return Starlette(routes=routes, exception_handlers={HttpError: handle_http_error})


def _ready_route() -> Route:
    async def ready(_request: Request) -> Response:
        return json_response({"status": "ok"})

    return Route("/readyz", ready)


def _addresses(config: ProcessConfig) -> Addresses:
    return Addresses(config.base_url, frozenset(config.hosts), config.settings.server.public_url)


def _read_store(folder: DataFolder, stack: contextlib.AsyncExitStack) -> Database:
    database = Database.open(folder.store, read_only=True, wait_seconds=_STORE_WAIT_SECONDS)
    stack.callback(database.close)
    return database


@contextlib.asynccontextmanager
async def _following(folder: DataFolder, *refreshes: Callable[[], bool]) -> AsyncIterator[None]:
    """Keep views of the store up to date inside the block."""

    def refresh_all() -> None:
        for refresh in refreshes:
            refresh()

    async with _task(FeedClient(folder.socket("feed"), refresh_all).run()):
        yield


@contextlib.asynccontextmanager
async def _task(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run a coroutine beside the block and end it with the block."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _wait_for(upstreams: tuple[Upstream, ...], ready: asyncio.Event) -> None:
    """Set `ready` once every process behind the gateway has answered that it is."""
    for upstream in upstreams:
        while not await _is_ready(upstream):
            await asyncio.sleep(_READY_POLL_SECONDS)
    ready.set()


async def _is_ready(upstream: Upstream) -> bool:
    try:
        return (await upstream.client.get("http://localhost/readyz")).status_code == 200
    except httpx.TransportError:
        return False


ROLES: dict[Role, RoleMain] = {"gateway": run_gateway, "query": run_query}

if __name__ == "__main__":
    sys.exit(run_child(ROLES))
