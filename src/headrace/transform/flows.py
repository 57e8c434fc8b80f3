"""One batch through the data flows of its rule: files published, bad rows to the dead letters."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from headrace.catalog.model import Table
from headrace.catalog.rules import DataFlow, Rule
from headrace.errors import Problem, ProblemError
from headrace.journal.model import Record
from headrace.observe.log_errors import STREAM as LOG_ERRORS
from headrace.observe.receipts import Receipts
from headrace.observe.usage import UsageMeter
from headrace.settings import Settings
from headrace.tables.model import DataFile, PositionError, TableBrokenError, TableDroppedError
from headrace.transform.bisect import Bad, find_bad, without
from headrace.transform.bodies import BodyError, inflate, members, objects_only, without_rows
from headrace.transform.compile import LiveFlow, compile_flow
from headrace.transform.dead_letters import WHOLE, DeadLetter, DeadLetters, Decided
from headrace.transform.error_rows import ErrorRows, Materialise
from headrace.transform.lanes import Batch, Need
from headrace.transform.model import (
    BrokenTableError,
    CatalogView,
    DerivedRules,
    RuleSource,
    Tables,
    find_table,
)
from headrace.transform.own_rule import is_own
from headrace.transform.progress import Counters
from headrace.transform.receipting import Receipting
from headrace.transform.run import Body, EngineError, RowsError, Session, Written, batch_table
from headrace.transform.seen import SeenCalls

MAX_COMPILED = 4096
MAX_ATTEMPTS = 3
"""Tries of a batch that fails for no cause that passes (a full disk does); then it goes to the letters."""


@dataclass(frozen=True, slots=True)
class _Payload:
    record: Record
    body: Body


@dataclass(frozen=True, slots=True)
class _Way:
    """One flow of a batch into one table."""

    batch: Batch
    rule: Rule
    flow: DataFlow
    workspace: str
    table: Table
    app_id: str


class FlowRunner:
    """Runs batches; shared by all workers. `step` is told before each step that a crash may fall between."""

    def __init__(
        self,
        rules: RuleSource,
        catalog: CatalogView,
        tables: Tables,
        letters: DeadLetters,
        settings: Settings,
        counters: Counters,
        step: Callable[[str], None],
        materialise: Materialise,
        receipts: Receipts | None = None,
        seen: SeenCalls | None = None,
        derived: DerivedRules | None = None,
        usage: UsageMeter | None = None,
    ) -> None:
        self._rules = rules
        self._derived = derived
        self._catalog = catalog
        self._tables = tables
        self._letters = letters
        self._settings = settings
        self._counters = counters
        self._step = step
        self._seen = seen
        self._usage = usage
        self._errors = ErrorRows(catalog, tables, letters, settings.transform, step, materialise)
        self._receipting = Receipting(receipts, letters)
        self._lock = threading.Lock()
        self._compiled: OrderedDict[tuple[str, int, int, str, int], LiveFlow | ProblemError] = OrderedDict()
        self._known_rules: OrderedDict[tuple[str, int], Rule] = OrderedDict()

    def run(self, batch: Batch, session: Session) -> list[Need]:
        """Take a batch to its tables; what must be durable before the journal may forget it.

        Raises `EngineError`, `OSError`, `TablesError` or `BrokenTableError` when it must be tried again: whatever was
        published or kept until then is known and not done twice.
        """
        self._step("batch")
        try:
            rule = self._rule_of(batch, session)
        except ProblemError as error:
            problem = error.problems[0]
            self._give_up(batch.records, WHOLE, problem.code, problem.message)
            self._receipting.given_up(batch, None)
            return []
        repeats = self._repeats(batch)
        payloads = self._read(
            [
                record
                for record in batch.records
                if record.entry.stream != LOG_ERRORS and record.offset not in repeats
            ]
        )
        lost = [one.record for one in payloads if not rule.flows_of(one.record.entry.stream)]
        if lost:
            message = "No data flow of the rule takes the stream."
            self._give_up(lost, WHOLE, "NoDataFlow", message)
        needs: list[Need] = []
        for flow in rule.flows:
            mine = [one for one in payloads if one.record.entry.stream in flow.streams]
            for workspace in flow.workspaces if mine else ():
                need = self._flow(batch, rule, flow, workspace, mine, session)
                if need is not None:
                    needs.append(need)
        self._receipting.given_up(batch, rule)
        needs += self._errors.write(batch, rule, session)
        self._tell_repeats(batch, rule, repeats)
        return needs

    def _rule_of(self, batch: Batch, session: Session) -> Rule:
        """The rule that the batch goes through. Raises `ProblemError` when there is none any more."""
        entry = batch.records[0].entry
        try:
            if self._derived is not None and self._derived.takes(entry.rule):
                return self._derived.rule(entry.rule, _bodies(batch.records), session)
            return self._rule(entry.rule, entry.rule_version)
        except LookupError:
            message = f"Version {entry.rule_version} of the rule is not kept any more."
            raise ProblemError(Problem("RuleNotFound", message)) from None
        except RowsError as error:
            message = "The engine cannot read the payloads."
            raise ProblemError(Problem(error.reason, message)) from None

    def _repeats(self, batch: Batch) -> dict[int, str]:
        """Calls of the batch that repeat an earlier one, by offset: the request id of that one."""
        if self._seen is None:
            return {}
        self._seen.before_publishing()
        asked = {record.offset: self._seen.original(batch.key[0], record.offset) for record in batch.records}
        return {offset: original for offset, original in asked.items() if original is not None}

    def _tell_repeats(self, batch: Batch, rule: Rule, repeats: Mapping[int, str]) -> None:
        """Count and note them, at the end of a run: a batch that has to be tried again is counted once."""
        for record in batch.records:
            if record.offset in repeats:
                entry = record.entry
                for index in _ways(rule, entry.stream):
                    self._counters.add(
                        entry.rule, entry.stream, index, received=entry.rows, duplicate=entry.rows
                    )
                self._receipting.repeated(record, repeats[record.offset])

    def _read(self, records: Sequence[Record]) -> list[_Payload]:
        payloads: list[_Payload] = []
        for record in records:
            try:
                body = inflate(record)
                if self._settings.mode == "compatible":
                    body = objects_only(body)
                payloads.append(_Payload(record, body))
            except BodyError as error:
                self._give_up([record], WHOLE, error.reason, error.message)
        return payloads

    def _flow(
        self,
        batch: Batch,
        rule: Rule,
        flow: DataFlow,
        workspace: str,
        payloads: Sequence[_Payload],
        session: Session,
    ) -> Need | None:
        table = self._table(workspace, flow.table)
        if table is None:
            self._vanished(flow, payloads)
            return None
        way = _Way(batch, rule, flow, workspace, table, f"{batch.key[0]}/{rule.immutable_id}/{flow.index}")
        live = self._live(rule, flow, table)
        if isinstance(live, ProblemError):
            records = [one.record for one in payloads]
            self._give_up(records, flow.index, live.problems[0].code, live.problems[0].message)
            return None
        try:
            position = self._tables.position(table, way.app_id)
            due = self._due(way, payloads, position)
            written = self._write(way, live, due, session) if due else None
        except TableDroppedError:
            self._vanished(flow, payloads)
            return None
        except TableBrokenError as error:
            raise BrokenTableError(table) from error
        if written is None and position < batch.first:
            return None
        return Need(table, way.app_id, batch.last if written is not None else min(position, batch.last))

    def _due(self, way: _Way, payloads: Sequence[_Payload], position: int) -> list[Body]:
        """The bodies whose rows the table does not have and that were not given up."""
        due: list[Body] = []
        for payload in payloads:
            body = payload.body
            if body.offset <= position:
                continue
            decided = self._decided(way, body.offset)
            if decided.whole:
                continue
            if decided.rows:
                body = without_rows(body, decided.rows)
            due.append(replace(body, source=way.app_id))
        return due

    def _decided(self, way: _Way, offset: int) -> Decided:
        return self._letters.decided(way.batch.key[0], offset, way.flow.index)

    def _write(self, way: _Way, live: LiveFlow, due: Sequence[Body], session: Session) -> DataFile | None:
        """Run the flow and publish its rows; None when none are left."""
        dead = 0
        rows = self._rows(way, due)
        try:
            path, written = self._try(way, live, due, session)
        except RowsError as error:
            path, written, dead = self._rescue(way, live, due, error.reason, session)
        except EngineError as error:
            if error.fault == "memory" and way.batch.attempt > 0:
                path, written, dead = self._rescue(way, live, due, error.reason, session)
            elif error.fault in ("lost", "other") and way.batch.attempt >= MAX_ATTEMPTS:
                offsets = {body.offset for body in due}
                records = [record for record in way.batch.records if record.offset in offsets]
                self._give_up(records, way.flow.index, error.reason, "The transform fails on this payload.")
                return None
            else:
                raise
        rows -= dead
        offsets = {body.offset for body in due}
        place = self._receipting.before_publishing(
            way.rule,
            way.flow,
            way.workspace,
            way.table,
            way.app_id,
            [record for record in way.batch.records if record.offset in offsets],
            path,
            written.rows,
        )
        if not written.rows:
            self._tables.discard(way.table, path)
            self._count(way, rows, 0)
            return None
        file = written.data_file(path, live.schema_version, {way.app_id: way.batch.last})
        self._step("publish")
        try:
            self._tables.publish(way.table, file)
            # Only now: a batch that has to be tried again is counted once.
            self._count(way, rows, written.rows)
            self._measure(way, [record for record in way.batch.records if record.offset in offsets], written)
            self._receipting.published(place)
        except PositionError:
            self._tables.discard(way.table, path)
        except BaseException:
            self._tables.discard(way.table, path)
            raise
        self._step("published")
        return file

    def _count(self, way: _Way, rows: int, stored: int) -> None:
        stream = way.flow.streams[0]
        self._counters.add(
            way.rule.immutable_id,
            stream,
            way.flow.index,
            received=rows,
            stored=stored,
            filtered=rows - stored,
        )

    def _measure(self, way: _Way, records: Sequence[Record], written: Written) -> None:
        """The stored share of the calls' JSON is the table's usage."""
        if self._usage is not None and not is_own(way.rule.immutable_id):
            rows = sum(record.entry.rows for record in records)
            size = sum(record.entry.length for record in records) * written.rows // max(rows, 1)
            self._usage.stored(way.table.workspace, way.table.name, written.rows, size)

    def _try(
        self, way: _Way, live: LiveFlow, bodies: Sequence[Body], session: Session
    ) -> tuple[Path, Written]:
        path = self._tables.new_file(way.table)
        try:
            batch = batch_table(bodies)
            self._step("transform")
            began = time.perf_counter()
            written = session.run(live, batch, path)
            self._counters.ran(way.rule.immutable_id, way.flow.streams[0], time.perf_counter() - began)
            return path, written
        except BaseException:
            self._tables.discard(way.table, path)
            raise

    def _rescue(
        self, way: _Way, live: LiveFlow, due: Sequence[Body], reason: str, session: Session
    ) -> tuple[Path, Written, int]:
        """Find the rows that fail, keep them as letters (how many is told), and run the rest."""

        def probe(bodies: Sequence[Body]) -> None:
            path, _ = self._try(way, live, bodies, session)
            self._tables.discard(way.table, path)

        bad = find_bad(due, probe, reason)
        dead = self._keep(way, due, bad)
        rest = without(due, bad)
        try:
            return *self._try(way, live, rest, session), dead
        except RowsError as error:
            # Each half succeeded alone and the rest does not: only what all of it shares can be the cause.
            raise EngineError(error.reason) from error

    def _rows(self, way: _Way, due: Sequence[Body]) -> int:
        """Rows of the bodies that are due, as the gateway counted them, less those given up before."""
        offsets = {body.offset for body in due}
        rows = 0
        for record in way.batch.records:
            if record.offset in offsets:
                decided = self._decided(way, record.offset)
                rows += record.entry.rows - len(decided.rows)
        return rows

    def _keep(self, way: _Way, due: Sequence[Body], bad: Sequence[Bad]) -> int:
        bodies = {body.offset: body for body in due}
        records = {record.offset: record for record in way.batch.records}
        message = "The transform cannot be run on these rows."
        letters = []
        for one in bad:
            record = records[one.offset]
            if one.row is None:
                letters.append(_letter(record, way.flow.index, WHOLE, one.reason, message))
            else:
                text = members(bodies[one.offset])[one.row]
                letters.append(_letter(record, way.flow.index, one.row, one.reason, message, text))
        self._add(letters)
        return sum(letter.rows for letter in letters)

    def _vanished(self, flow: DataFlow, payloads: Sequence[_Payload]) -> None:
        records = [one.record for one in payloads]
        message = f"Table '{flow.table}' of the data flow does not exist any more."
        self._give_up(records, flow.index, "TableNotFound", message)

    def _give_up(self, records: Sequence[Record], flow: int, reason: str, message: str) -> None:
        self._add([_letter(record, flow, WHOLE, reason, message) for record in records])

    def _add(self, letters: Sequence[DeadLetter]) -> None:
        self._step("letters")
        for letter in self._letters.add(letters):
            self._counters.add(
                letter.rule, letter.stream, letter.flow, received=letter.rows, dead=letter.rows
            )
            self._counters.failed(letter.rule, letter.stream, letter.reason, letter.rows)
        self._step("lettered")

    def _rule(self, rule: str, version: int) -> Rule:
        key = (rule, version)
        with self._lock:
            known = self._known_rules.get(key)
        if known is None:
            known = self._rules(rule, version)
            with self._lock:
                self._known_rules[key] = known
                while len(self._known_rules) > MAX_COMPILED:
                    self._known_rules.popitem(last=False)
        return known

    def _table(self, workspace: str, name: str) -> Table | None:
        found = find_table(self._catalog.current, workspace, name)
        if found is None and self._catalog.refresh():
            found = find_table(self._catalog.current, workspace, name)
        return found

    def _live(self, rule: Rule, flow: DataFlow, table: Table) -> LiveFlow | ProblemError:
        key = (rule.immutable_id, rule.version, flow.index, table.incarnation, table.schema.version)
        with self._lock:
            live = self._compiled.get(key)
        if live is None:
            try:
                live = compile_flow(rule, flow, table, self._settings.transform)
            except ProblemError as error:
                live = error
            with self._lock:
                self._compiled[key] = live
                while len(self._compiled) > MAX_COMPILED:
                    self._compiled.popitem(last=False)
        return live


def _bodies(records: Sequence[Record]) -> list[Body]:
    """What can be read of the records' payloads, without what the gateway told."""
    bodies: list[Body] = []
    for record in records:
        if record.entry.stream != LOG_ERRORS:
            with suppress(BodyError):
                bodies.append(inflate(record))
    return bodies


def _ways(rule: Rule, stream: str) -> Sequence[int]:
    """The flows that a stream's rows count in, each as often as it has workspaces; -1 where there are none."""
    return [flow.index for flow in rule.flows_of(stream) for _ in flow.workspaces] or [WHOLE]


def _letter(
    record: Record, flow: int, row: int, reason: str, message: str, text: bytes | None = None
) -> DeadLetter:
    entry = record.entry
    return DeadLetter(
        journal=record.journal,
        offset=record.offset,
        flow=flow,
        row=row,
        received=record.received,
        rule=entry.rule,
        rule_version=entry.rule_version,
        stream=entry.stream,
        request_id=entry.request_id,
        client_request_id=entry.client_request_id,
        reason=reason,
        message=message,
        encoding="" if text is not None else entry.encoding,
        rows=1 if text is not None else entry.rows,
        body=text if text is not None else entry.body,
    )
