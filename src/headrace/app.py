"""The composition root: each process's parts, wired. Run as a module it is a child of the supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import TypeVar

import duckdb
import httpx
import maxminddb
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from headrace.arm.bootstrap import bootstrap_sample
from headrace.arm.model import ArmDeps, Published
from headrace.arm.routes import arm_routes
from headrace.arm.store import deleted_tables
from headrace.arm.views import CatalogLoader, load_rule, load_rule_heads
from headrace.catalog.rules import Rule
from headrace.clock import Clock, SystemClock
from headrace.data_folder import DataFolder
from headrace.disk import RealDisk
from headrace.env_file import Sample
from headrace.identity.access import Access, load_access
from headrace.identity.admin import AppAdmin, admin_routes
from headrace.identity.bootstrap import bootstrap
from headrace.identity.endpoint import TokenEndpoint, load_authority
from headrace.identity.routes import SignIn, identity_routes, token_routes
from headrace.identity.verify import TokenVerifier
from headrace.ids import new_guid
from headrace.ingest.proxy import Upstream, two_processes
from headrace.ingest.routes import Gateway
from headrace.ingest.throttle import Throttle
from headrace.journal.files import journal_folders, open_free_journal
from headrace.journal.model import JournalReader
from headrace.journal.reader import FileJournalReader
from headrace.kql.sql import session
from headrace.process import ProcessConfig, Role, RoleMain, run_child
from headrace.query.engine import QueryEngine
from headrace.query.routes import QueryService
from headrace.serving import serving_http, serving_socket, serving_tls
from headrace.settings import Settings
from headrace.store.database import Database
from headrace.store.feed import FeedClient, FeedServer
from headrace.store.live import LiveView
from headrace.tables.reader import TableReader
from headrace.tables.writer import TableStore
from headrace.transform.dead_letters import DeadLetters
from headrace.transform.pipeline import Pipeline
from headrace.transform.validate import validate_rule
from headrace.wire.addresses import Addresses
from headrace.wire.problems import HttpError, handle_http_error, json_response

T = TypeVar("T")
_log = logging.getLogger(__name__)

_STORE_WAIT_SECONDS = 30.0
_READY_POLL_SECONDS = 0.05
_PUBLISH_SECONDS = 2.0
_HOUSEKEEPING_SECONDS = 5.0


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


async def run_engine(config: ProcessConfig, stop: asyncio.Event) -> None:
    """Steps 5 and 6, the control plane and identity: the one process that writes the store and the tables."""
    folder = DataFolder(config.settings.data_dir)
    settings = config.settings
    clock = SystemClock()
    disk = RealDisk()
    async with contextlib.AsyncExitStack() as stack:
        database = Database.open(folder.store)
        stack.callback(database.close)
        feed = FeedServer(folder.socket("feed"), database)
        await feed.start()
        stack.push_async_callback(feed.close)
        catalog = LiveView(database, CatalogLoader(), clock=clock)
        database.on_change(_refreshing(catalog))
        tables = TableStore(folder.tables, disk, settings.tables, clock)
        stack.callback(tables.close)
        await asyncio.to_thread(tables.recover)
        letters = DeadLetters(folder.dead_letters, disk)
        stack.callback(letters.close)
        pipeline = Pipeline(
            _journal_readers(folder),
            _rule_source(database),
            catalog,
            tables,
            letters,
            settings,
            clock,
            disk=disk,
            prepare=_session_preparer(settings),
        )
        await asyncio.to_thread(pipeline.start)
        stack.push_async_callback(asyncio.to_thread, pipeline.stop)
        await stack.enter_async_context(_task(_keep_house(tables, database)))
        sign_in = _sign_in(config, database, clock)
        routes = [_ready_route(), *_control_plane(config, database, feed, clock), *identity_routes(sign_in)]
        await stack.enter_async_context(serving_socket(_http_app(routes), folder.socket("engine")))
        if config.http_authority_port is not None:
            authority = _http_app(token_routes(sign_in))
            await stack.enter_async_context(serving_http(authority, "127.0.0.1", config.http_authority_port))
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


def prepare_store(folder: DataFolder, settings: Settings, known: Sample | None) -> Sample:
    """Bring the store up to date and make sure of the sample. Runs before the processes start."""
    clock = SystemClock()
    database = Database.open(folder.store)
    try:
        database.migrate()
        subscription = known.subscription_id if known else new_guid()
        with database.write() as connection:
            first = bootstrap(connection, subscription, clock.now(), reset=known is None)
        access = LiveView(database, load_access, clock=clock)
        addresses = Addresses("https://localhost")
        deps = _arm_deps(settings, database, access, addresses, clock, _published_nowhere)
        made = bootstrap_sample(
            deps,
            subscription=subscription,
            principal_id=first.principal_id,
            app_id=first.app_id,
            tenant=first.tenant_id,
        )
    finally:
        database.close()
    secret = first.secret or (known.client_secret if known else "")
    return Sample(
        tenant_id=first.tenant_id,
        client_id=first.app_id,
        client_secret=secret,
        principal_id=first.principal_id,
        subscription_id=made.subscription,
        resource_group=made.resource_group,
        location=made.location,
        workspace_name=made.workspace_name,
        workspace_id=made.workspace_id,
        dcr_immutable_id=made.dcr_immutable_id,
        dcr_stream=made.stream,
        table=made.table,
    )


async def _published_nowhere(_change: int) -> None:
    """No gateway runs yet."""


def _control_plane(
    config: ProcessConfig, database: Database, feed: FeedServer, clock: Clock
) -> list[BaseRoute]:
    addresses = _addresses(config)
    access = LiveView(database, load_access, clock=clock)
    database.on_change(_refreshing(access))

    async def published(change: int) -> None:
        if not await feed.wait_for_peers(change, _PUBLISH_SECONDS):
            _log.warning("a process has not taken change %d in time; it will within a second", change)

    deps = _arm_deps(config.settings, database, access, addresses, clock, published)
    verifier = TokenVerifier(access, addresses, clock)
    admin = AppAdmin(database, access, verifier, addresses, clock, published)
    return [*admin_routes(admin), *arm_routes(deps)]


def _arm_deps(
    settings: Settings,
    database: Database,
    access: LiveView[Access],
    addresses: Addresses,
    clock: Clock,
    published: Published,
) -> ArmDeps:
    return ArmDeps(
        database=database,
        verifier=TokenVerifier(access, addresses, clock),
        access=access,
        addresses=addresses,
        clock=clock,
        validate=partial(validate_rule, settings=settings.transform),
        published=published,
        endpoint_template=settings.ingest.endpoint_template,
    )


def _sign_in(config: ProcessConfig, database: Database, clock: Clock) -> SignIn:
    addresses = _addresses(config)
    authority = LiveView(database, load_authority, clock=clock)
    return SignIn(TokenEndpoint(authority, addresses, clock), addresses, clock)


def _journal_readers(folder: DataFolder) -> Callable[[], Mapping[str, JournalReader]]:
    """The journals of the moment; a reader is made once and keeps its place."""
    known: dict[str, JournalReader] = {}

    def readers() -> Mapping[str, JournalReader]:
        for path in journal_folders(folder.journals):
            if path.name not in known:
                known[path.name] = FileJournalReader(path)
        return known

    return readers


def _refreshing(view: LiveView[T]) -> Callable[[int], None]:
    def refresh(_change: int) -> None:
        view.refresh()

    return refresh


def _rule_source(database: Database) -> Callable[[str, int], Rule]:
    def load(immutable_id: str, version: int) -> Rule:
        with database.read() as connection:
            return load_rule(connection, immutable_id, version)

    return load


def _session_preparer(settings: Settings) -> Callable[[duckdb.DuckDBPyConnection], None]:
    path = settings.transform.geo_database
    return partial(session.prepare, geo=maxminddb.open_database(path) if path is not None else None)


async def _keep_house(tables: TableStore, database: Database) -> None:
    """Compact, vacuum and drop what deleted tables left, now and then."""
    while True:
        await asyncio.sleep(_HOUSEKEEPING_SECONDS)
        await asyncio.to_thread(tables.maintain)
        await asyncio.to_thread(_drop_deleted_tables, tables, database)


def _drop_deleted_tables(tables: TableStore, database: Database) -> None:
    with database.read() as connection:
        deleted = set(deleted_tables(connection))
    for key in tables.stored():
        if (key.workspace, key.name, key.incarnation) in deleted:
            tables.drop(key)


def _http_app(routes: Sequence[BaseRoute]) -> Starlette:
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


ROLES: dict[Role, RoleMain] = {"gateway": run_gateway, "engine": run_engine, "query": run_query}

if __name__ == "__main__":
    sys.exit(run_child(ROLES))
