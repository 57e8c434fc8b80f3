"""The query process: step 7 of a payload's way."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys

from headrace.app.auditing import describe_queries, remote_auditor
from headrace.app.common import (
    addresses_of,
    following,
    http_app,
    issuer_keys,
    read_store,
    ready_route,
    running_beside,
    telling_numbers,
    token_verifier,
)
from headrace.app.own_log import OWN_JOURNAL
from headrace.app.query_log import QueryLogWriter
from headrace.app.resource_graph import load_described
from headrace.arm.views import CatalogLoader
from headrace.clock import SystemClock
from headrace.data_folder import DataFolder
from headrace.disk import RealDisk
from headrace.identity.access import load_access
from headrace.journal.files import open_free_journal
from headrace.observe.audit.middleware import Audited
from headrace.process import ProcessConfig, rest_the_collector
from headrace.query.engine import QueryEngine
from headrace.query.graph import ResourceGraph
from headrace.query.kusto.routes import KustoService
from headrace.query.log import QueryLog
from headrace.query.readers import Readers
from headrace.query.routes import QueryService
from headrace.serving import serving_socket
from headrace.store.live import LiveView
from headrace.tables.reader import TableReader


async def run_query(config: ProcessConfig, stop: asyncio.Event) -> None:
    """Step 7: answer queries."""
    _stand_back(config.settings.query.niceness)
    folder = DataFolder(config.settings.data_dir)
    clock = SystemClock()
    shutil.rmtree(folder.spill, ignore_errors=True)
    async with contextlib.AsyncExitStack() as stack:
        database = read_store(folder, stack)
        access = LiveView(database, load_access, clock=clock)
        catalog = LiveView(database, CatalogLoader(), clock=clock)
        described = LiveView(database, load_described, clock=clock)
        await stack.enter_async_context(following(folder, access.refresh, catalog.refresh, described.refresh))
        engine = QueryEngine(
            TableReader(folder.tables), folder.tables, folder.spill, config.settings.query, clock
        )
        stack.callback(engine.close)
        readers = Readers(
            token_verifier(config, access, clock, issuer_keys(config, clock, stack)),
            addresses_of(config),
            access=lambda: access.current,
            catalog=lambda: catalog.current,
        )
        settings = config.settings.query
        auditor = remote_auditor(folder, config.settings)
        writer = QueryLogWriter(
            lambda: open_free_journal(folder.query_journals, OWN_JOURNAL, RealDisk(), clock),
            lambda: catalog.current,
            auditor,
        )
        await stack.enter_async_context(running_beside(writer.run()))
        log = QueryLog(clock, writer.tell)
        service = QueryService(engine, readers, settings, clock, log)
        kusto = KustoService(
            engine, readers, settings, addresses_of(config), lambda: access.current.tenant, clock, log
        )
        graph = ResourceGraph(engine, readers, settings, lambda: described.current)
        await stack.enter_async_context(telling_numbers(folder, config))
        app = Audited(
            http_app([ready_route(), *graph.routes(), *kusto.routes(), *service.routes()]),
            auditor,
            describe_queries(readers.verifier),
            clock.now,
        )
        async with serving_socket(app, folder.socket("query")):
            rest_the_collector()
            await stop.wait()


def _stand_back(niceness: int) -> None:
    """Let ingestion go first where processors are short: first of all, because threads take it over when they start."""
    if sys.platform != "win32":
        os.nice(niceness)
