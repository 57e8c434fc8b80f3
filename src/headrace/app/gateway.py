"""The gateway process: steps 1 to 4 of a payload's way."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import httpx
from starlette.types import ASGIApp

from headrace.app.auditing import remote_auditor
from headrace.app.common import (
    addresses_of,
    following,
    issuer_keys,
    read_store,
    running_beside,
    telling_numbers,
    token_verifier,
)
from headrace.arm.views import RuleHeadLoader, load_shared_keys
from headrace.clock import SystemClock
from headrace.collector.routes import Collector
from headrace.data_folder import DataFolder
from headrace.disk import RealDisk
from headrace.identity.access import load_access
from headrace.ingest.intake import Intake
from headrace.ingest.observer import AuditingObserver, CountingObserver
from headrace.ingest.proxy import Proxy, Upstream, two_processes
from headrace.ingest.routes import Gateway
from headrace.ingest.throttle import Throttle
from headrace.journal.files import open_free_journal
from headrace.journal.mending import MendingJournal
from headrace.journal.syncs import best_syncs
from headrace.observe.metrics import CallCounters, Snapshot
from headrace.observe.routes import MetricsPage
from headrace.process import ProcessConfig, rest_the_collector
from headrace.processors import stay_on
from headrace.serving import MakesProtocol, ingest_protocol, serving_tls
from headrace.store.live import LiveView
from headrace.testing.faultbook import FaultBook
from headrace.testing.switches import CuttableProtocol, FaultyGateway
from headrace.wire.crossorigin import open_to

_READY_POLL_SECONDS = 0.05
_MOST_FILES = 65_536
_log = logging.getLogger(__name__)


async def run_gateway(config: ProcessConfig, stop: asyncio.Event) -> None:
    """Steps 1 to 4 of a payload's way: take it, check it, make it durable, answer."""
    _allow_connections()
    stay_on(config.gateway_processors[config.index : config.index + 1])
    folder = DataFolder(config.settings.data_dir)
    settings = config.settings
    clock = SystemClock()
    addresses = addresses_of(config)
    async with contextlib.AsyncExitStack() as stack:
        database = read_store(folder, stack)
        access = LiveView(database, load_access, clock=clock)
        rules = LiveView(database, RuleHeadLoader(), clock=clock)
        keys = LiveView(database, load_shared_keys, clock=clock)
        await stack.enter_async_context(following(folder, access.refresh, rules.refresh, keys.refresh))
        journal = MendingJournal(
            folder.journals,
            lambda: open_free_journal(folder.journals, settings.journal, RealDisk(), clock, best_syncs),
        )
        stack.push_async_callback(journal.close)
        await stack.enter_async_context(running_beside(journal.mend()))
        proxy, ready = await _reach_others(folder, config, stack)
        counters = CallCounters(config.index)
        numbers = partial(_numbers, config.index, counters, journal)
        snapshot = await stack.enter_async_context(telling_numbers(folder, config, numbers))
        reach = settings.server.metrics
        observer = AuditingObserver(CountingObserver(counters), remote_auditor(folder, settings), clock.now)
        intake = Intake(
            settings=settings,
            verifier=token_verifier(config, access, clock, issuer_keys(config, clock, stack)),
            access=access,
            rules=rules,
            journal=journal,
            addresses=addresses,
            observer=observer,
            clock=clock,
            throttle=Throttle(
                settings.ingest.rule_requests_per_minute,
                settings.ingest.rule_bytes_per_minute,
                clock,
                gateways=settings.server.gateways,
            ),
        )
        checker = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="collector"))
        collector = Collector(settings, keys, journal, observer, clock, checker)
        gateway = Gateway(
            intake=intake,
            proxy=proxy,
            ready=ready.is_set,
            collector=collector if settings.collector.enabled else None,
            metrics=MetricsPage(folder.sockets, reach, {config.name: snapshot}) if reach != "off" else None,
        )

        def authority(host: str | None) -> str:
            return addresses.authority(host, access.current.tenant)

        app, protocol = _ways_in(gateway, intake, config, folder, authority)
        rest_the_collector()
        async with serving_tls(open_to(app, settings.server.allowed_origins), protocol, config):
            await stop.wait()


async def _reach_others(
    folder: DataFolder, config: ProcessConfig, stack: contextlib.AsyncExitStack
) -> tuple[Proxy, asyncio.Event]:
    """The way to the engine and the query process, and what is set once both have answered that they are ready."""
    engine = Upstream(folder.socket("engine"), read_seconds=120.0)
    longest = config.settings.query.max_wait_seconds
    query = Upstream(folder.socket("query"), read_seconds=longest + 60.0)
    proxy = two_processes(engine, query)
    stack.push_async_callback(proxy.close)
    ready = asyncio.Event()
    await stack.enter_async_context(running_beside(_wait_for((engine, query), ready)))
    return proxy, ready


def _numbers(index: int, counters: CallCounters, journal: MendingJournal) -> Snapshot:
    """What this gateway tells of itself: its calls and its journal."""
    own = (str(index), journal.journal_id)
    return {
        **counters.snapshot(),
        "headrace_journal_bytes": [(own, float(journal.backlog()))],
        "headrace_journal_broken": [(own, float(journal.broken is not None))],
        "headrace_journal_ahead_seconds": [(own, journal.ahead_seconds())],
    }


def _ways_in(
    gateway: Gateway,
    intake: Intake,
    config: ProcessConfig,
    folder: DataFolder,
    authority: Callable[[str | None], str],
) -> tuple[ASGIApp, MakesProtocol]:
    """What answers, and what takes connections: the common way in, or where tests may ask for faults theirs.

    `authority` is the address that tokens come from, by the Host that a client named.
    """
    settings = config.settings
    if not settings.faults.enabled:
        return gateway, ingest_protocol(intake)
    _log.warning("faults.enabled is set: calls may be answered with faults that tests ask for")
    book = FaultBook(folder.faults)
    return FaultyGateway(gateway, book, authority, settings.ingest.body_timeout_seconds), CuttableProtocol


def _allow_connections() -> None:
    """Each connection takes a file: as many as the machine allows, where shells give 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


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
