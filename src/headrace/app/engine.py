"""The engine process: steps 5 and 6 of a payload's way, the control plane and identity."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import duckdb
import maxminddb
from sqlalchemy.exc import SQLAlchemyError

from headrace.app.common import addresses_of, running_beside, telling_numbers
from headrace.app.control import arm_deps, unwatched
from headrace.app.deleted import DeletedData
from headrace.app.ground import Ground, open_ground
from headrace.app.own_log import OWN_JOURNAL, OwnLog
from headrace.app.rule_versions import RuleVersionPruner
from headrace.app.surfaces import Shown, serve_surfaces
from headrace.arm.classic import ClassicTables
from headrace.catalog.model import Catalog
from headrace.clock import SECOND, Clock
from headrace.collector.rules import CollectedRules
from headrace.data_folder import DataFolder
from headrace.disk import Disk
from headrace.journal.files import journal_folders, open_free_journal
from headrace.journal.mending import MendingJournal
from headrace.journal.model import JournalReader
from headrace.journal.reader import FileJournalReader
from headrace.kql.sql import session
from headrace.observe.exchange import all_numbers
from headrace.observe.metrics import Snapshot
from headrace.observe.receipts import Receipts
from headrace.observe.rule_metrics import RuleMetrics
from headrace.observe.usage import UsageMeter
from headrace.process import ProcessConfig, rest_the_collector
from headrace.processors import keep_off
from headrace.settings import Settings
from headrace.store.database import StoreError
from headrace.store.live import LiveView
from headrace.tables.model import TableKey
from headrace.tables.recovery import Recovered
from headrace.tables.retention import RetentionOf
from headrace.tables.writer import TableStore
from headrace.transform.checkpoint import Checkpoints
from headrace.transform.dead_letters import DeadLetters
from headrace.transform.model import Neighbours
from headrace.transform.numbers import pipeline_snapshot
from headrace.transform.pipeline import Pipeline
from headrace.transform.seen import SeenCalls

_log = logging.getLogger(__name__)

_HOUSEKEEPING_SECONDS = 5.0
_FAILURE_LOOK_SECONDS = 0.5
_NUMBERS_SECONDS = 5.0
_DRAIN_SECONDS = 20.0
"""For what the journals hold at a stop; the supervisor waits somewhat longer for the rest."""
_LAG = SECOND // 2
_BUSY_SHARE = 0.25
"""Of one processor's time: above it compaction is put off."""
_BEHIND = 2 * SECOND // 5
"""From here on, longer than a batch takes to fill and to run, the engine needs the gateways' processors, too."""


@dataclass(frozen=True, slots=True)
class _Way:
    """The data's way from the journals to the tables, running."""

    tables: TableStore
    recovered: tuple[Recovered, ...]
    letters: DeadLetters
    receipts: Receipts
    usage: UsageMeter
    own_journal: MendingJournal
    pipeline: Pipeline


async def run_engine(config: ProcessConfig, stop: asyncio.Event) -> None:
    """Steps 5 and 6, the control plane and identity: the one process that writes the store and the tables."""
    async with contextlib.AsyncExitStack() as stack:
        ground = await open_ground(config, stack)
        way = await _run_way(ground, stack)
        await _tell_of_itself(ground, way, stack)
        metrics = await _keep(ground, way, stack)
        await serve_surfaces(ground, Shown(way.tables, way.receipts, metrics, way.own_journal), stack)
        await stack.enter_async_context(running_beside(_stop_on_failure(way.pipeline, stop)))
        rest_the_collector()
        await stop.wait()


async def _run_way(ground: Ground, stack: contextlib.AsyncExitStack) -> _Way:
    """Recover the tables, and start the pipeline with all that it writes to."""
    settings, folder, disk, clock = ground.settings, ground.folder, ground.disk, ground.clock
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
    neighbours = Neighbours(
        ground.rules,
        ground.catalog,
        tables,
        letters,
        materialise=ground.make_table,
        derived=_collected_rules(ground),
        seen=seen,
        receipts=receipts,
        usage=usage,
        passing=(StoreError, SQLAlchemyError),
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
    if ground.config.gateway_processors:
        behind = partial(_waits, pipeline, clock, _BEHIND)
        await stack.enter_async_context(running_beside(keep_off(ground.config.gateway_processors, behind)))
    return _Way(tables, recovered, letters, receipts, usage, own_journal, pipeline)


async def _tell_of_itself(ground: Ground, way: _Way, stack: contextlib.AsyncExitStack) -> None:
    """Write `Usage` and `Operation`."""
    own = OwnLog(
        way.own_journal,
        ground.catalog,
        way.usage,
        ground.clock,
        ground.make_table,
        lambda: {key.workspace for key in way.tables.stored()},
    )
    await own.started(way.recovered, ground.config.restarts)
    journals, most = ground.folder.journals, ground.settings.journal.max_bytes
    await stack.enter_async_context(
        running_beside(own.run(way.pipeline.progress, way.letters, journals, most))
    )


async def _keep(ground: Ground, way: _Way, stack: contextlib.AsyncExitStack) -> RuleMetrics:
    """Keep the rules' metrics, which are returned, and house; tell the numbers of both and of the way."""
    folder, clock = ground.folder, ground.clock
    # Readers and checkpoints of its own: the pipeline's are for its threads alone.
    versions = RuleVersionPruner(
        ground.database, Checkpoints(folder.checkpoints, ground.disk), _journal_readers(folder, None), clock
    )
    metrics = RuleMetrics(folder.metrics, clock)
    stack.callback(metrics.close)
    await stack.enter_async_context(running_beside(_follow_numbers(folder, metrics)))
    deleted = DeletedData(ground.database, way.tables, clock)
    busy, retention = _Busy(way.pipeline, clock), _retention(ground.catalog)
    await stack.enter_async_context(
        running_beside(_keep_house(way.tables, busy, retention, deleted, versions))
    )

    def numbers() -> Snapshot:
        letters = way.letters
        pipelines = pipeline_snapshot(way.pipeline.progress(), len(letters), clock, letters.removed)
        return {**pipelines, **deleted.snapshot()}

    await stack.enter_async_context(telling_numbers(folder, ground.config, numbers))
    return metrics


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


def _collected_rules(ground: Ground) -> CollectedRules | None:
    """The rules of what comes by the Data Collector API."""
    settings = ground.settings
    if not settings.collector.enabled:
        return None
    deps = arm_deps(settings, unwatched(ground.database, addresses_of(ground.config), ground.clock))
    return CollectedRules(ground.catalog, ClassicTables(deps), create=settings.collector.create_tables)


def _session_preparer(settings: Settings) -> Callable[[duckdb.DuckDBPyConnection], None]:
    path = settings.transform.geo_database
    return partial(session.prepare, geo=maxminddb.open_database(path) if path is not None else None)


async def _stop_on_failure(pipeline: Pipeline, stop: asyncio.Event) -> None:
    """End the process when the pipeline cannot go on: the next one replays what this one did not finish."""
    while (failure := pipeline.failure()) is None:
        await asyncio.sleep(_FAILURE_LOOK_SECONDS)
    _log.critical("the pipeline failed (%s); the process ends to be started again", failure)
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
    failing: set[TableKey] = set()
    while True:
        await asyncio.sleep(_HOUSEKEEPING_SECONDS)
        done = await asyncio.to_thread(tables.maintain, busy=busy(), retention=retention)
        for failure in done.failures:
            if failure.key not in failing:
                _log.warning(
                    "the upkeep of table %s does not go on: %s; it is tried again and again",
                    failure.key.name,
                    failure.error,
                )
        failing = {failure.key for failure in done.failures}
        try:
            await asyncio.to_thread(deleted.look)
            await asyncio.to_thread(versions.look)
        except (SQLAlchemyError, StoreError, OSError) as error:
            # A full disk, say, passes: the next round tries again.
            _log.warning("deleted tables and old rules stay for now: %s", type(error).__name__)
