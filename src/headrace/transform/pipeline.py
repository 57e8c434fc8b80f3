"""The pipeline: from the journals' records to published table files, and back to trimming the journals.

One reader thread takes records from all journals into `lanes`, worker threads run batches through the flows
of their rules (`flows`), and a committer thread asks the tables to commit, keeps the checkpoints and lets the
journals go. Every step may be cut short by a crash: the next start reads each journal from its checkpoint,
and what tables and dead letters already have is skipped.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import duckdb

from headrace.catalog.model import Table
from headrace.clock import Clock
from headrace.disk import Disk, RealDisk, reason
from headrace.journal.model import JournalFormatError, JournalReader, Record
from headrace.kql.sql.session import prepare as prepare_session
from headrace.settings import Settings
from headrace.tables.model import TableBrokenError, TableKey, TablesError
from headrace.transform.batch import Batch, Need
from headrace.transform.checkpoint import Checkpoint, Checkpoints
from headrace.transform.feed import JournalFeed
from headrace.transform.flows import FlowRunner
from headrace.transform.lanes import Lanes
from headrace.transform.model import (
    BrokenTableError,
    Neighbours,
    OvertakenError,
)
from headrace.transform.progress import Counters, JournalProgress, Progress
from headrace.transform.run import Engine, EngineError, Session

_LOG = logging.getLogger(__name__)

POLL_SECONDS = 0.01
IDLE_POLL_SECONDS = 0.1
"""Where nothing comes, the journals are looked at ever more rarely, down to this and to twice in the time that a batch
waits to fill. That time counts from a record's receipt, so its rows show no later for that."""
DISCOVER_SECONDS = 1.0
COMMIT_SECONDS = 0.1
IDLE_COMMIT_SECONDS = 0.5
"""The same where nothing is published that is not durable."""
SETTLE_SECONDS = 1.0
"""All batches that wait for a commit are looked at so often; those of a table that was committed, at once."""
CHECKPOINT_SECONDS = 1.0
REPAIR_SECONDS = 5.0
TOLD_SECONDS = 60.0
_KEPT = "kept"
RETRY_SECONDS = (0.1, 0.5, 2.0, 5.0)
FULL_SHARE = 0.25
"""Share of a journal's bound that may wait for a commit; beyond it every table commits at once."""


class Pipeline:
    """Runs from `start` to `stop`; one per data folder.

    `readers` tells the journals of the moment by id; it is asked again every second, and each reader is
    used by one thread only. `prepare` registers what compiled SQL calls on each connection. `step` is told each
    point between which a crash may fall, for tests.
    """

    def __init__(
        self,
        readers: Callable[[], Mapping[str, JournalReader]],
        neighbours: Neighbours,
        settings: Settings,
        clock: Clock,
        *,
        disk: Disk | None = None,
        prepare: Callable[[duckdb.DuckDBPyConnection], None] = prepare_session,
        step: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._readers = readers
        self._catalog = neighbours.catalog
        self._tables = neighbours.tables
        self._letters = neighbours.letters
        self._receipts = neighbours.receipts
        self._seen = neighbours.seen
        self._passing: tuple[type[Exception], ...] = (EngineError, OSError, TablesError, *neighbours.passing)
        self._settings = settings
        self._clock = clock
        self._prepare = prepare
        self._step = step
        self._checkpoints = Checkpoints(settings.data_dir / "checkpoints", disk or RealDisk())
        self._counters = Counters()
        self._flows = FlowRunner(neighbours, settings, self._counters, step)
        own = settings.transform
        self._idle_poll = max(POLL_SECONDS, min(IDLE_POLL_SECONDS, own.batch_seconds / 2))
        self._lanes = Lanes(
            own.batch_bytes,
            own.batch_seconds,
            own.queue_bytes,
            clock,
            self._flows.shares,
            unread_seconds=self._idle_poll,
        )
        self._journals: dict[str, JournalFeed] = {}
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._sessions: set[Session] = set()
        self._stopping = threading.Event()
        self._look = threading.Event()
        """Someone waits for the reader to look at the journals."""
        self._ended = threading.Event()
        self._read_out = threading.Event()
        self._reset = threading.Event()
        self._broken: dict[TableKey, Table] = {}
        self._mended: dict[TableKey, Table] = {}
        self._uncommitted: set[TableKey] = set()
        self._retries = 0
        self._told: dict[str, float] = {}
        self._waits = False
        self._hidden = False
        self._settled = -math.inf
        self._worked = 0.0
        self._looks = 0
        self._failure: str | None = None
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin: read each journal from its checkpoint. Raises `OSError` when one cannot be read."""
        self._engine = self._new_engine()
        self._discover()
        workers = range(self._settings.transform.threads)
        loops = {
            "reader": self._read_loop,
            **{f"worker-{number}": self._work_loop for number in workers},
            "committer": self._commit_loop,
        }
        self._threads = [
            threading.Thread(target=self._guard, args=(loop,), name=f"pipeline-{name}")
            for name, loop in loops.items()
        ]
        for thread in self._threads:
            thread.start()

    def stop(self, timeout: float = 30.0) -> bool:
        """Finish what the journals hold now, commit, and end; whether all was done within `timeout` seconds.

        What was not done stays in the journals for the next start.
        """
        deadline = self._clock.monotonic() + timeout
        self._stopping.set()
        self._look.set()
        self._lanes.drain()
        done = self._wait_until(lambda: self._read_out.is_set() and self._lanes.is_idle(), deadline)
        self._lanes.close()
        self._ended.set()
        if not done:
            with self._lock:
                running = tuple(self._sessions)
            for session in running:
                session.interrupt()
        for thread in self._threads:
            thread.join()
        for journal in self._journals.values():
            journal.close()
        try:
            if self._failure is None:
                self._settled = -math.inf
                self._commit(everything=True)
                self._checkpoint()
                self._trim()
        finally:
            if self._engine is not None:
                self._engine.close()
        return done and self._failure is None

    def idle(self) -> bool:
        """Whether every record that the journals held when this was called has been published.

        Waits for the reader to look at the journals, some milliseconds.
        """
        seen = self._looks
        limit = self._clock.monotonic() + DISCOVER_SECONDS
        if not self._wait_until(lambda: self._looked_since(seen), limit):
            return False
        with self._lock:
            journals = tuple(self._journals.values())
        # In this order: a record leaves the first condition only once the second has it.
        read = all(one.place() >= one.end for one in journals) and self._lanes.is_idle()
        return read and not (self._broken or self._mended or self._reset.is_set())

    def _looked_since(self, looks: int) -> bool:
        """Whether the reader has begun a look at the journals, and ended it, since it had ended so many."""
        self._look.set()
        return self._looks >= looks + 2

    def failure(self) -> str | None:
        """`Progress.failure` alone, which costs nothing."""
        return self._failure

    def oldest(self) -> int | None:
        """`Progress.oldest` alone, which costs little."""
        return self._lanes.oldest_received()

    def progress(self) -> Progress:
        """Counts of rows by rule and flow since the start, and how far each journal is."""
        with self._lock:
            journals = dict(self._journals)
        runs, errors = self._counters.transforms()
        return Progress(
            streams=self._counters.snapshot(),
            runs=runs,
            errors=errors,
            oldest=self.oldest(),
            journals={
                key: JournalProgress(
                    watermark=self._lanes.watermark(key, one.place()),
                    next=one.place(),
                    end=one.end,
                    unsettled_bytes=self._lanes.unsettled_bytes(key),
                    damaged=one.damaged,
                    waiting_bytes=one.waiting_bytes(),
                )
                for key, one in journals.items()
            },
            worked=self._worked,
            retries=self._retries,
            failure=self._failure,
        )

    def _new_engine(self) -> Engine:
        own = self._settings.transform
        return Engine(self._settings.data_dir / "tables", own.memory_limit, self._prepare)

    def _wait_until(self, done: Callable[[], bool], deadline: float) -> bool:
        pause = threading.Event()
        while self._failure is None:
            if done():
                return True
            if self._clock.monotonic() >= deadline:
                return False
            pause.wait(POLL_SECONDS)
        return False

    def _guard(self, target: Callable[[], None]) -> None:
        """A thread that ends by itself ends the pipeline: the next start replays what it left."""
        try:
            target()
        except Exception as error:  # noqa: BLE001 - the border of a thread: nothing may end it silently
            why = f": {error}" if isinstance(error, JournalFormatError | OSError) else ""
            _LOG.error("pipeline stopped: %s%s", type(error).__name__, why)
            self._failure = type(error).__name__
            self._lanes.close()
            self._ended.set()
            self._stopping.set()

    # -- reading ------------------------------------------------------------------------------------

    def _discover(self) -> None:
        for key, reader in self._readers().items():
            if key in self._journals:
                continue
            checkpoint = self._checkpoints.load(key)
            self._letters.forget(key, checkpoint.watermark)
            first = max(reader.start(), checkpoint.watermark)
            journal = JournalFeed(key, reader, self._lanes, checkpoint, first, first, saved=checkpoint)
            with self._lock:
                self._journals[key] = journal

    def _discover_more(self) -> None:
        try:
            self._discover()
        except OSError as error:
            if not self._hidden:
                _LOG.error(
                    "new journals cannot be looked for: %s; it is tried again and again", reason(error)
                )
            self._hidden = True
        else:
            self._hidden = False

    def _read_loop(self) -> None:
        looked = self._clock.monotonic()
        nap = POLL_SECONDS
        ends: dict[str, int] | None = None
        while self._failure is None:
            if self._stopping.is_set():
                if ends is None:
                    ends = {key: one.reader.end() for key, one in self._journals.items()}
                again = self._reset.is_set()
                if not again and all(self._journals[key].place() >= end for key, end in ends.items()):
                    self._read_out.set()
                    return
            elif self._clock.monotonic() - looked >= DISCOVER_SECONDS:
                looked = self._clock.monotonic()
                self._discover_more()
            if self._seen is not None and self._seen.lost():
                self._reset.set()
            if self._reset.is_set():
                self._rewind()
            moved = (
                []
                if self._reset.is_set()
                else [
                    self._try(one, "read", partial(one.read, self._note))
                    for one in [*self._journals.values()]
                ]
            )
            self._trim()
            self._looks += 1
            if self._lanes.is_closed():
                return
            nap = POLL_SECONDS if any(moved) or not self._lanes.is_idle() else min(nap * 1.2, self._idle_poll)
            if not any(moved):
                self._look.wait(nap)
                self._look.clear()

    def _note(self, key: str, records: Sequence[Record]) -> bool:
        """Tell repeated calls; whether that was possible."""
        if self._seen is not None:
            try:
                self._seen.note(records)
            except OSError as error:
                if not self._waits:
                    _LOG.warning("journals wait: calls of %s cannot be noted: %s", key, reason(error))
                self._waits = True
                return False
            self._waits = False
        return True

    def _trim(self) -> None:
        for journal in self._journals.values():
            if journal.trim_to > journal.trimmed:
                self._step("trim")
                self._try(journal, "trimmed", partial(_trim, journal))

    def _try(self, journal: JournalFeed, what: str, act: Callable[[], bool]) -> bool:
        """What `act` gives; false when the disk refuses it, which is told once, and then for a while."""
        now = self._clock.monotonic()
        if now < journal.refused.get(what, now):
            return False
        try:
            done = act()
        except OSError as error:
            if what not in journal.refused:
                _LOG.error(
                    "journal %s cannot be %s: %s; it is tried again and again",
                    journal.key,
                    what,
                    reason(error),
                )
            journal.refused[what] = now + REPAIR_SECONDS
            return False
        if journal.refused.pop(what, None) is not None:
            _LOG.warning("journal %s is %s again", journal.key, what)
        return done

    def _rewind(self) -> None:
        """Begin again from the watermarks, after a table's positions may have gone back."""
        # First the places, then the lanes: a checkpoint taken in between must not run ahead.
        for key, journal in self._journals.items():
            journal.rewind(self._lanes.watermark(key, journal.place()))
        if self._lanes.reset():
            self._reset.clear()
            # Now nobody is left who would publish by a mended table's positions of before.
            with self._lock:
                mended, self._mended = self._mended, {}
            for table in mended.values():
                self._tables.resume(table)
            if self._seen is not None:
                self._seen.reopen()

    # -- working ------------------------------------------------------------------------------------

    def _work_loop(self) -> None:
        engine = self._engine
        if engine is None:
            return
        session = self._open_session(engine)
        try:
            while (batches := self._lanes.take()) is not None:
                if engine is not self._engine and self._engine is not None:
                    self._close_session(session)
                    engine = self._engine
                    session = self._open_session(engine)
                began = self._clock.monotonic()
                self._work(batches, session, engine)
                with self._lock:
                    self._worked += self._clock.monotonic() - began
        finally:
            self._close_session(session)

    def _work(self, batches: Sequence[Batch], session: Session, engine: Engine) -> None:
        try:
            needs = self._flows.run(batches, session, self._lanes.turn)
        except OvertakenError:
            for batch in batches:
                self._lanes.overtaken(batch)
        except BrokenTableError as error:
            _LOG.error("table %s is broken: the disk refused it", error.table.name)
            with self._lock:
                self._broken[TableKey.of(error.table)] = error.table
            for batch in batches:
                self._lanes.abandon(batch)
        except self._passing as error:
            why = error.reason if isinstance(error, EngineError) else type(error).__name__
            if isinstance(error, EngineError) and error.fault == "lost":
                self._reopen(engine)
            self._retries += 1
            self._tell_retry(batches[0], why)
            for batch in batches:
                self._lanes.retry(batch, RETRY_SECONDS[min(batch.attempt, len(RETRY_SECONDS) - 1)])
        else:
            for batch, needed in zip(batches, needs, strict=True):
                self._lanes.finish(batch, needed)

    def _tell_retry(self, batch: Batch, why: str) -> None:
        """Say it of the first batch; of the many that a full disk, say, holds up for the same reason one a minute."""
        now = self._clock.monotonic()
        if now - self._told.get(why, -math.inf) >= TOLD_SECONDS:
            self._told[why] = now
            text = "batch of rule %s at offset %d will be tried again, as others may be: %s"
            _LOG.warning(text, batch.key[1], batch.first, why)

    def _open_session(self, engine: Engine) -> Session:
        session = engine.session()
        with self._lock:
            self._sessions.add(session)
        return session

    def _close_session(self, session: Session) -> None:
        with self._lock:
            self._sessions.discard(session)
        session.close()

    def _reopen(self, lost: Engine) -> None:
        with self._lock:
            if self._engine is lost:
                self._engine = self._new_engine()

    # -- committing ---------------------------------------------------------------------------------

    def _commit_loop(self) -> None:
        saved = repaired = self._clock.monotonic()
        while not self._lanes.is_closed():
            self._ended.wait(IDLE_COMMIT_SECONDS if self._lanes.is_settled() else COMMIT_SECONDS)
            bound = FULL_SHARE * self._settings.journal.max_bytes
            with self._lock:
                keys = list(self._journals)
            self._commit(everything=any(self._lanes.unsettled_bytes(key) > bound for key in keys))
            if self._broken and self._clock.monotonic() - repaired >= REPAIR_SECONDS:
                repaired = self._clock.monotonic()
                self._repair()
            if self._clock.monotonic() - saved >= CHECKPOINT_SECONDS:
                saved = self._clock.monotonic()
                self._checkpoint()

    def _commit(self, *, everything: bool) -> None:
        self._step("commit")
        done = self._tables.commit_due(everything=everything)
        committed = frozenset(done.done)
        for key in self._uncommitted & committed:
            _LOG.info("table %s is committed again", key.name)
        self._uncommitted -= committed
        for failure in done.failures:
            if failure.key not in self._uncommitted:
                self._uncommitted.add(failure.key)
                _LOG.warning(
                    "table %s is not committed: %s; it is tried again and again",
                    failure.key.name,
                    failure.error,
                )
            if isinstance(failure.error, TableBrokenError):
                self._note_broken(failure.key)
        now = self._clock.monotonic()
        if now - self._settled >= SETTLE_SECONDS:
            self._settled = now
            self._lanes.settle(self._is_durable)
        elif committed:
            self._lanes.settle(self._is_durable, committed)

    def _note_broken(self, key: TableKey) -> None:
        for need in self._lanes.needed():
            if TableKey.of(need.table) == key:
                with self._lock:
                    self._broken[key] = need.table
                return

    def _repair(self) -> None:
        """Mend what the disk broke; then everything since the watermarks is read again."""
        with self._lock:
            broken = dict(self._broken)
        for key, table in broken.items():
            if not self._tables.repair(table).failed:
                with self._lock:
                    self._broken.pop(key, None)
                    self._mended[key] = table
                self._reset.set()

    def _is_durable(self, need: Need) -> bool:
        try:
            if self._tables.durable(need.table, need.app_id) >= need.offset:
                return True
        except (TablesError, OSError):
            return False
        catalog = self._catalog.current
        if need.table.workspace in catalog.recoverable:
            return False
        workspace = catalog.workspaces.get(need.table.workspace)
        table = workspace.tables.get(need.table.name) if workspace is not None else None
        # A table that was deleted for good takes its rows with it: the journal need not keep them.
        return table is None or table.incarnation != need.table.incarnation

    def _checkpoint(self) -> None:
        with self._lock:
            journals = dict(self._journals)
        for key, journal in journals.items():
            watermark = max(self._lanes.watermark(key, journal.place()), journal.saved.watermark)
            checkpoint = Checkpoint(watermark, self._lanes.settled_above(key, watermark))
            if checkpoint == journal.saved:
                continue
            if self._receipts is not None:
                # What the journal lets go is not replayed: its receipts must be safe before.
                self._receipts.sync()
            self._step("checkpoint")
            try:
                if self._seen is not None:
                    self._seen.sync()
                self._checkpoints.save(key, checkpoint)
            except OSError as error:
                if _KEPT not in journal.refused:
                    text = "checkpoints of journal %s are not kept: %s; it is tried again and again"
                    _LOG.warning(text, key, reason(error))
                journal.refused[_KEPT] = 0.0
                continue
            journal.refused.pop(_KEPT, None)
            journal.saved = checkpoint
            journal.trim_to = watermark
            self._letters.forget(key, watermark)
            if self._seen is not None:
                self._seen.settled(key, watermark)


def _trim(journal: JournalFeed) -> bool:
    wanted = journal.trim_to
    journal.reader.trim(wanted)
    journal.trimmed = wanted
    return True
