"""Ways into a table: one run of a flow takes the payloads of one batch, or of several that share it, to their table.

All ways of a run have the same compiled flow and table; rule, application id and journal positions are each way's
own, and so are its counts, its dead letters and its receipts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from headrace.catalog import system
from headrace.journal.model import Record
from headrace.observe.own_rows import workspace_of
from headrace.observe.usage import UsageMeter
from headrace.tables.model import PositionError
from headrace.transform.batch import Payload, Way
from headrace.transform.bisect import find_bad, without
from headrace.transform.bodies import without_rows
from headrace.transform.compile import LiveFlow
from headrace.transform.lettering import Lettering
from headrace.transform.model import Tables
from headrace.transform.progress import Counters
from headrace.transform.receipting import Receipting
from headrace.transform.run import Body, EngineError, RowsError, Session, Written, batch_table

MAX_ATTEMPTS = 3
"""Tries of a batch that fails for no cause that passes (a full disk does); then it goes to the letters."""


class WayRunner:
    """Runs ways; shared by all workers. `step` is told before each step that a crash may fall between."""

    def __init__(
        self,
        tables: Tables,
        lettering: Lettering,
        receipting: Receipting,
        counters: Counters,
        usage: UsageMeter | None,
        step: Callable[[str], None],
    ) -> None:
        self._tables = tables
        self._lettering = lettering
        self._receipting = receipting
        self._counters = counters
        self._usage = usage
        self._step = step

    def run(
        self, ways: Sequence[Way], live: LiveFlow, session: Session, before_publishing: Callable[[], None]
    ) -> None:
        """Publish the rows of `ways`, which is noted in them. Raises as `FlowRunner.run`, and `TableDroppedError`."""
        for way in ways:
            way.position = self._tables.position(way.table, way.app_id)
            way.due = [one for payload in way.payloads if (one := self._due(way, payload)) is not None]
        ways = [way for way in ways if way.due]
        if not ways:
            return
        try:
            path, written = self._rows(ways, live, session)
        except EngineError as error:
            attempt = max(way.batch.attempt for way in ways)
            if error.fault not in ("lost", "other") or attempt < MAX_ATTEMPTS:
                raise
            for way in ways:
                message = "The transform fails on this payload."
                self._lettering.give_up(way.records, way.flow.index, error.reason, message)
            return
        try:
            before_publishing()
            self._publish(ways, live, path, written)
        except BaseException:
            self._tables.discard(ways[0].table, path)
            raise
        if written.rows:
            self._step("published")
        else:
            self._tables.discard(ways[0].table, path)

    def _due(self, way: Way, payload: Payload) -> Payload | None:
        """What of the payload the table does not have and was not given up."""
        if payload.record.offset <= way.position:
            return None
        decided = self._lettering.decided(payload.record, way.flow.index)
        if decided.whole:
            return None
        body = without_rows(payload.body, decided.rows) if decided.rows else payload.body
        return Payload(payload.record, replace(body, source=way.app_id), payload.undeclared)

    def _rows(self, ways: Sequence[Way], live: LiveFlow, session: Session) -> tuple[Path, Written]:
        """Run the flow; rows that it cannot be run on become letters."""
        due = [one.body for way in ways for one in way.due]
        try:
            return self._try(ways, live, due, session)
        except RowsError as error:
            return self._rescue(ways, live, due, error.reason, session)
        except EngineError as error:
            if error.fault == "memory" and ways[0].batch.attempt > 0:
                return self._rescue(ways, live, due, error.reason, session)
            raise

    def _try(
        self, ways: Sequence[Way], live: LiveFlow, bodies: Sequence[Body], session: Session
    ) -> tuple[Path, Written]:
        table = ways[0].table
        path = self._tables.new_file(table)
        try:
            batch = batch_table(bodies)
            self._step("transform")
            began = time.perf_counter()
            written = session.run(live, batch, path)
            self._tell_time(ways, time.perf_counter() - began)
            return path, written
        except BaseException:
            self._tables.discard(table, path)
            raise

    def _tell_time(self, ways: Sequence[Way], seconds: float) -> None:
        """A run's time is that of its rules, by the bytes that each had in it."""
        sizes = [sum(one.record.entry.length for one in way.due) for way in ways]
        for way, size in zip(ways, sizes, strict=True):
            share = size / sum(sizes) if any(sizes) else 1 / len(ways)
            self._counters.ran(way.rule.immutable_id, way.flow.streams[0], seconds * share)

    def _rescue(
        self, ways: Sequence[Way], live: LiveFlow, due: Sequence[Body], reason: str, session: Session
    ) -> tuple[Path, Written]:
        """Find the rows that fail, keep them as letters, and run the rest."""
        table, flow = ways[0].table, ways[0].flow

        def probe(bodies: Sequence[Body]) -> None:
            path, _ = self._try(ways, live, bodies, session)
            self._tables.discard(table, path)

        bad = find_bad(due, probe, reason)
        self._lettering.keep([record for way in ways for record in way.records], due, flow.index, bad)
        try:
            return self._try(ways, live, without(due, bad), session)
        except RowsError as error:
            # Each half succeeded alone and the rest does not: only what all of it shares can be the cause.
            raise EngineError(error.reason) from error

    def _publish(self, ways: Sequence[Way], live: LiveFlow, path: Path, written: Written) -> None:
        """Write the receipts, publish the file, count; what is raised here is raised before the file is visible."""
        left = {record.offset: self._left(way, record) for way in ways for record in way.records}
        stored = left if written.rows == sum(left.values()) else _rows_by_offset(path, written)
        places = [self._receipting.before_publishing(way, stored, nothing=not written.rows) for way in ways]
        if written.rows:
            positions = {way.app_id: way.batch.last for way in ways}
            self._step("publish")
            try:
                self._tables.publish(ways[0].table, written.data_file(path, live.schema_version, positions))
            except PositionError as error:
                if len(ways) > 1:
                    # Of some of them the table has the rows: alone, each finds out.
                    raise EngineError("RowsKnown", "interrupted") from error
                self._tables.discard(ways[0].table, path)
                ways[0].published = True
                return
        # Only now: a batch that has to be tried again is counted once.
        for way, place in zip(ways, places, strict=True):
            way.published = bool(written.rows)
            self._count(way, left, stored)
            if written.rows:
                self._receipting.published(place)

    def _left(self, way: Way, record: Record) -> int:
        """Rows of a payload that is due, as the gateway counted them, less those given up."""
        decided = self._lettering.decided(record, way.flow.index)
        return 0 if decided.whole else record.entry.rows - len(decided.rows)

    def _count(self, way: Way, left: Mapping[int, int], stored: Mapping[int, int]) -> None:
        new = {*self._counters.first_time(way.app_id, way.workspace, [one.offset for one in way.records])}
        records = [record for record in way.records if record.offset in new]
        rows = sum(left[record.offset] for record in records)
        kept = sum(stored.get(record.offset, 0) for record in records)
        self._counters.add(
            way.rule.immutable_id,
            way.flow.streams[0],
            way.flow.index,
            received=rows,
            stored=kept,
            filtered=rows - kept,
            undeclared=sum(one.record.offset in new and bool(one.undeclared) for one in way.due),
        )
        if kept and self._usage is not None and workspace_of(way.rule.immutable_id) is None:
            # The stored share of the calls' JSON is the table's usage.
            size = sum(record.entry.length for record in records)
            received = sum(record.entry.rows for record in records)
            self._usage.stored(way.table.workspace, way.table.name, kept, size * kept // max(received, 1))


def _rows_by_offset(path: Path, written: Written) -> Mapping[int, int]:
    """How many rows of a written file each payload gave."""
    if not written.rows:
        return {}
    with pa.OSFile(str(path)) as file, pq.ParquetFile(file) as opened:
        # One small column: another thread costs more than it saves.
        column = opened.read(columns=[system.OFFSET.physical], use_threads=False).column(0)
    counts = pc.value_counts(column)
    return dict(zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True))
