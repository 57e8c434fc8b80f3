"""The engine process: steps 5 and 6 of a payload's way, the control plane and identity."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import duckdb
import maxminddb
from sqlalchemy.exc import SQLAlchemyError

from headrace.app.activity import ActivityLog
from headrace.app.auditing import audit_routes, audit_trail, deployments_told, describe_management
from headrace.app.common import (
    addresses_of,
    http_app,
    issuer_keys,
    ready_route,
    running_beside,
    telling_numbers,
    token_verifier,
)
from headrace.app.control import (
    administration,
    arm_deps,
    control_plane_routes,
    published_nowhere,
    receipt_route,
    refreshing,
    sign_in,
)
from headrace.app.deleted import DeletedData
from headrace.app.own_log import OWN_JOURNAL, OwnLog
from headrace.app.rule_versions import RuleVersionPruner
from headrace.arm.classic import ClassicTables
from headrace.arm.kinds.tables import ensure_standard
from headrace.arm.views import CatalogLoader, load_rule
from headrace.catalog.model import Catalog
from headrace.catalog.rules import Rule
from headrace.clock import DAY, HOUR, SECOND, Clock, SystemClock
from headrace.collector.rules import CollectedRules
from headrace.data_folder import DataFolder
from headrace.disk import Disk, RealDisk
from headrace.identity.access import load_access
from headrace.identity.keys import is_rotation_due, rotate_if_due
from headrace.identity.managed import ManagedIdentity, managed_routes
from headrace.identity.routes import identity_routes, token_routes
from headrace.identity.verify import TokenVerifier
from headrace.journal.files import journal_folders, open_free_journal
from headrace.journal.mending import MendingJournal
from headrace.journal.model import JournalReader
from headrace.journal.reader import FileJournalReader
from headrace.kql.sql import session
from headrace.observe.answers import Receipt, make_receipt
from headrace.observe.audit.events import Auditor, NoAudit
from headrace.observe.audit.middleware import Audited
from headrace.observe.exchange import all_numbers
from headrace.observe.metrics import Snapshot
from headrace.observe.receipts import Frame, Receipts
from headrace.observe.rule_metrics import RuleMetrics
from headrace.observe.usage import UsageMeter
from headrace.process import ProcessConfig
from headrace.processors import keep_off
from headrace.serving import serving_http, serving_socket
from headrace.settings import IdentitySettings, Settings
from headrace.store.database import Database, StoreError
from headrace.store.feed import FeedServer
from headrace.store.live import LiveView
from headrace.tables.model import TableKey, TablesError
from headrace.tables.reader import TableReader
from headrace.tables.retention import RetentionOf
from headrace.tables.writer import TableStore
from headrace.transform.checkpoint import Checkpoints
from headrace.transform.dead_letters import DeadLetters
from headrace.transform.model import Neighbours, RuleSource, find_table
from headrace.transform.numbers import pipeline_snapshot
from headrace.transform.own_rule import with_own_rules
from headrace.transform.pipeline import Pipeline
from headrace.transform.seen import SeenCalls
from headrace.transform.undeclared import receipt_notes

_log = logging.getLogger(__name__)

_HOUSEKEEPING_SECONDS = 5.0
_FAILURE_LOOK_SECONDS = 0.5
_NUMBERS_SECONDS = 5.0
_DRAIN_SECONDS = 20.0
"""For what the journals hold at a stop; the supervisor waits somewhat longer for the rest."""
_LAG = SECOND // 2
_BUSY_SHARE = 0.25
"""Of one processor's time: above it compaction is put off."""
_KEY_LOOK_SECONDS = 60.0
_BEHIND = 2 * SECOND // 5
"""From here on, longer than a batch takes to fill and to run, the engine needs the gateways' processors, too."""


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
        database.on_change(refreshing(catalog))
        tables = TableStore(folder.tables, disk, settings.tables, clock)
        stack.callback(tables.close)
        recovered = await asyncio.to_thread(tables.recover)
        letters = DeadLetters(folder.dead_letters, disk, max_bytes=settings.transform.dead_letter_bytes)
        stack.callback(letters.close)
        receipts = Receipts(folder.receipts, disk, clock)
        stack.callback(receipts.close)
        seen = _seen_calls(folder, settings, disk, clock, stack)
        usage = UsageMeter(folder.usage, clock)
        stack.callback(usage.save)
        own_journal = MendingJournal(
            folder.own_journals, lambda: open_free_journal(folder.own_journals, OWN_JOURNAL, disk, clock)
        )
        stack.push_async_callback(own_journal.close)
        await stack.enter_async_context(running_beside(own_journal.mend()))
        make_table = _table_maker(database, clock)
        rules = with_own_rules(_rule_source(database), catalog)
        neighbours = Neighbours(
            rules,
            catalog,
            tables,
            letters,
            materialise=make_table,
            derived=_collected_rules(config, database, catalog, clock),
            seen=seen,
            receipts=receipts,
            usage=usage,
        )
        pipeline = Pipeline(
            _journal_readers(folder, seen),
            neighbours,
            settings,
            clock,
            disk=disk,
            prepare=_session_preparer(settings),
        )
        await asyncio.to_thread(pipeline.start)
        stack.push_async_callback(asyncio.to_thread, pipeline.stop, _DRAIN_SECONDS)
        if config.gateway_processors:
            behind = partial(_waits, pipeline, clock, _BEHIND)
            await stack.enter_async_context(running_beside(keep_off(config.gateway_processors, behind)))
        own = OwnLog(
            own_journal, catalog, usage, clock, make_table, lambda: {key.workspace for key in tables.stored()}
        )
        await own.started(recovered, config.restarts)
        await stack.enter_async_context(
            running_beside(own.run(pipeline.progress, letters, folder.journals, settings.journal.max_bytes))
        )
        # Readers and checkpoints of its own: the pipeline's are for its threads alone.
        versions = RuleVersionPruner(
            database, Checkpoints(folder.checkpoints, disk), _journal_readers(folder, None), clock
        )
        metrics = RuleMetrics(folder.metrics, clock)
        stack.callback(metrics.close)
        await stack.enter_async_context(running_beside(_follow_numbers(folder, metrics)))
        deleted = DeletedData(database, tables, clock)
        await stack.enter_async_context(
            running_beside(
                _keep_house(tables, _Busy(pipeline, clock), _retention(catalog), deleted, versions)
            )
        )

        def numbers() -> Snapshot:
            pipelines = pipeline_snapshot(pipeline.progress(), len(letters), clock, letters.removed)
            return {**pipelines, **deleted.snapshot()}

        await stack.enter_async_context(telling_numbers(folder, config, numbers))
        issuers = issuer_keys(config, clock, stack)
        access = LiveView(database, load_access, clock=clock)
        database.on_change(refreshing(access))
        verifier = token_verifier(config, access, clock, issuers)
        trail = await audit_trail(config, own_journal, database, lambda: catalog.current, make_table, stack)
        auditor: Auditor = trail or NoAudit()
        activity = ActivityLog(trail, lambda: catalog.current, TableReader(folder.tables)) if trail else None
        signing_in = sign_in(config, database, clock, issuers, auditor)
        admin = administration(config, database, feed, access, verifier, clock)
        routes = [
            ready_route(),
            *control_plane_routes(config, admin, metrics.points, activity, deployments_told(auditor)),
            *(audit_routes(admin, trail) if trail else ()),
            receipt_route(admin, _receipt_finder(receipts, catalog, tables, rules)),
            *identity_routes(signing_in),
        ]
        audited = Audited(
            http_app(routes), auditor, describe_management(verifier, lambda: admin.home), clock.now
        )
        await stack.enter_async_context(serving_socket(audited, folder.socket("engine")))
        if config.http_authority_port is not None:
            authority = http_app(token_routes(replace(signing_in, behind_gateway=False)))
            await stack.enter_async_context(serving_http(authority, "127.0.0.1", config.http_authority_port))
        if config.managed_identity_port is not None:
            identity = ManagedIdentity(signing_in.endpoint, clock, config.managed_identity_header, auditor)
            local = http_app(managed_routes(identity))
            await stack.enter_async_context(serving_http(local, "127.0.0.1", config.managed_identity_port))
        await stack.enter_async_context(running_beside(_renew_keys(database, settings.identity, clock)))
        await stack.enter_async_context(running_beside(_stop_on_failure(pipeline, stop)))
        await stop.wait()


def _journal_readers(folder: DataFolder, seen: SeenCalls | None) -> Callable[[], Mapping[str, JournalReader]]:
    """The journals of the moment; a reader is made once and keeps its place.

    Only between gateways' journals may a call be repeated: `seen` is told how many there are.
    """
    known: dict[str, JournalReader] = {}

    def readers() -> Mapping[str, JournalReader]:
        gateways = [*journal_folders(folder.journals)]
        if seen is not None:
            seen.among(len(gateways))
        own = (*journal_folders(folder.own_journals), *journal_folders(folder.query_journals))
        for path in (*gateways, *own):
            if path.name not in known:
                known[path.name] = FileJournalReader(path)
        return known

    return readers


def _seen_calls(
    folder: DataFolder, settings: Settings, disk: Disk, clock: Clock, stack: contextlib.AsyncExitStack
) -> SeenCalls | None:
    """What tells repeated calls; None where they are to be stored again."""
    window = settings.ingest.repeat_window_seconds
    if not window:
        return None
    seen = SeenCalls(folder.seen, disk, clock, window)
    stack.callback(seen.close)
    return seen


def _rule_source(database: Database) -> Callable[[str, int], Rule]:
    def load(immutable_id: str, version: int) -> Rule:
        with database.read() as connection:
            return load_rule(connection, immutable_id, version)

    return load


def _table_maker(database: Database, clock: Clock) -> Callable[[str, str], None]:
    """Stores a standard table before the first rows that no rule asked for go into it."""
    made: set[tuple[str, str]] = set()

    def make(customer_id: str, name: str) -> None:
        if (customer_id, name) in made:
            return
        try:
            with database.write() as connection:
                ensure_standard(connection, customer_id, name, clock.now())
        except StoreError as error:
            # Its columns are today's either way; the next rows try again.
            _log.warning("table %s is not stored yet: %s", name, error)
            return
        made.add((customer_id, name))

    return make


def _collected_rules(
    config: ProcessConfig, database: Database, catalog: LiveView[Catalog], clock: Clock
) -> CollectedRules | None:
    """The rules of what comes by the Data Collector API."""
    if not config.settings.collector.enabled:
        return None
    access = LiveView(database, load_access, clock=clock)
    addresses = addresses_of(config)
    verifier = TokenVerifier(access, addresses, clock)
    deps = arm_deps(config.settings, database, access, addresses, clock, published_nowhere, verifier)
    return CollectedRules(catalog, ClassicTables(deps), create=config.settings.collector.create_tables)


def _receipt_finder(
    receipts: Receipts, catalog: LiveView[Catalog], tables: TableStore, rules: RuleSource
) -> Callable[[str], Receipt | None]:
    """Looks a call up; a table's own position says whether its rows are there."""

    def published(frame: Frame, offset: int) -> bool | None:
        table = find_table(catalog.current, frame.workspace, frame.table)
        if table is None or table.incarnation != frame.incarnation:
            return None
        try:
            return tables.position(table, frame.app_id) >= offset
        except TablesError:
            return False

    def notes(frame: Frame, names: Sequence[str]) -> Sequence[str]:
        try:
            stream = rules(frame.rule, frame.rule_version).streams[frame.stream]
        except LookupError:
            return ()
        return receipt_notes(stream, names)

    def find(request_id: str) -> Receipt | None:
        return make_receipt(request_id, receipts.find(request_id), published, notes)

    return find


def _session_preparer(settings: Settings) -> Callable[[duckdb.DuckDBPyConnection], None]:
    path = settings.transform.geo_database
    return partial(session.prepare, geo=maxminddb.open_database(path) if path is not None else None)


async def _stop_on_failure(pipeline: Pipeline, stop: asyncio.Event) -> None:
    """End the process when the pipeline cannot go on: the next one replays what this one did not finish."""
    while pipeline.progress().failure is None:
        await asyncio.sleep(_FAILURE_LOOK_SECONDS)
    _log.critical(
        "the pipeline failed (%s); the process ends to be started again", pipeline.progress().failure
    )
    stop.set()


class _Busy:
    """Tells whether the pipeline has much to do, since it was asked last."""

    def __init__(self, pipeline: Pipeline, clock: Clock) -> None:
        self._pipeline = pipeline
        self._clock = clock
        self._asked = clock.monotonic()
        self._worked = 0.0

    def __call__(self) -> bool:
        """Whether batches ran for a large part of the time, or payloads wait longer than a batch takes."""
        progress = self._pipeline.progress()
        now = self._clock.monotonic()
        worked, passed = progress.worked - self._worked, now - self._asked
        self._worked, self._asked = progress.worked, now
        return _waits(self._pipeline, self._clock, _LAG) or worked > _BUSY_SHARE * passed


def _waits(pipeline: Pipeline, clock: Clock, longer: int) -> bool:
    """Whether some payload waits for its flows for longer than so many microseconds."""
    oldest = pipeline.oldest()
    return oldest is not None and clock.now() - oldest > longer


def _retention(catalog: LiveView[Catalog]) -> RetentionOf:
    def days(key: TableKey) -> int | None:
        workspace = catalog.current.workspaces.get(key.workspace)
        table = workspace.tables.get(key.name) if workspace is not None else None
        known = table is not None and table.incarnation == key.incarnation
        return table.total_retention_days if table is not None and known else None

    return days


async def _follow_numbers(folder: DataFolder, metrics: RuleMetrics) -> None:
    """Keep the rules' metrics by the minute."""
    while True:
        await asyncio.sleep(_NUMBERS_SECONDS)
        snapshots = await all_numbers(folder.sockets)
        await asyncio.to_thread(metrics.look, snapshots)


async def _keep_house(
    tables: TableStore,
    busy: Callable[[], bool],
    retention: RetentionOf,
    deleted: DeletedData,
    versions: RuleVersionPruner,
) -> None:
    """Remove old days, compact, vacuum, drop what deleted tables left, forget old versions of rules, now and then."""
    while True:
        await asyncio.sleep(_HOUSEKEEPING_SECONDS)
        await asyncio.to_thread(tables.maintain, busy=busy(), retention=retention)
        try:
            await asyncio.to_thread(deleted.look)
            await asyncio.to_thread(versions.look)
        except (SQLAlchemyError, StoreError, OSError) as error:
            # A full disk, say, passes: the next round tries again.
            _log.warning("deleted tables and old rules stay for now: %s", type(error).__name__)


async def _renew_keys(database: Database, settings: IdentitySettings, clock: Clock) -> None:
    """Let a new signing key take over by age, and drop old ones once no token of theirs is alive."""
    longest, overlap = int(settings.key_days * DAY), int(settings.key_overlap_hours * HOUR)

    def renew() -> None:
        with database.read() as connection:
            if not is_rotation_due(connection, clock.now(), longest=longest, overlap=overlap):
                return
        with database.write() as connection:
            rotate_if_due(connection, clock.now(), longest=longest, overlap=overlap)

    while True:
        try:
            await asyncio.to_thread(renew)
        except (SQLAlchemyError, StoreError) as error:
            _log.warning("signing keys were not looked at: %s", type(error).__name__)
        await asyncio.sleep(_KEY_LOOK_SECONDS)
