"""Batches through the data flows of their rules: files published, bad rows to the dead letters."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count

from headrace.catalog.model import Table
from headrace.catalog.rules import DataFlow, Rule
from headrace.catalog.standard import is_standard
from headrace.errors import Problem, ProblemError
from headrace.journal.model import Record
from headrace.observe.log_errors import STREAM as LOG_ERRORS
from headrace.settings import Settings
from headrace.tables.model import TableBrokenError, TableDroppedError
from headrace.transform.batch import Batch, Need, Payload, Way
from headrace.transform.bodies import BodyError, inflate, objects_only
from headrace.transform.compile import LiveFlow, compile_flow
from headrace.transform.dead_letters import WHOLE
from headrace.transform.error_rows import ErrorRows
from headrace.transform.lettering import Lettering
from headrace.transform.model import (
    BrokenTableError,
    Neighbours,
    OvertakenError,
    find_table,
)
from headrace.transform.progress import Counters
from headrace.transform.receipting import Receipting
from headrace.transform.run import Body, RowsError, Session
from headrace.transform.undeclared import undeclared
from headrace.transform.ways import WayRunner

MAX_COMPILED = 4096


@dataclass(frozen=True, slots=True)
class _Ready:
    """A batch whose payloads are read. `repeats`: offsets of calls that repeat an earlier one, with its request id."""

    batch: Batch
    rule: Rule
    payloads: Sequence[Payload]
    repeats: Mapping[int, str]
    needs: list[Need]


class FlowRunner:
    """Runs batches; shared by all workers. `step` is told before each step that a crash may fall between."""

    def __init__(
        self, neighbours: Neighbours, settings: Settings, counters: Counters, step: Callable[[str], None]
    ) -> None:
        tables, letters = neighbours.tables, neighbours.letters
        self._rules = neighbours.rules
        self._derived = neighbours.derived
        self._catalog = neighbours.catalog
        self._seen = neighbours.seen
        self._unanswered: tuple[type[Exception], ...] = (LookupError, *neighbours.passing)
        self._settings = settings
        self._counters = counters
        self._step = step
        self._errors = ErrorRows(neighbours, settings.transform, step)
        self._receipting = Receipting(neighbours.receipts, letters)
        self._lettering = Lettering(letters, counters, step)
        self._ways = WayRunner(tables, self._lettering, self._receipting, counters, neighbours.usage, step)
        self._lock = threading.Lock()
        self._compiled: OrderedDict[Hashable, LiveFlow | ProblemError] = OrderedDict()
        self._alike: OrderedDict[Hashable, LiveFlow | ProblemError] = OrderedDict()
        """The same, whatever the table is called: many tables mostly have few forms."""
        self._known_rules: OrderedDict[tuple[str, int], tuple[Rule, int]] = OrderedDict()
        self._plans: OrderedDict[Hashable, int] = OrderedDict()
        self._numbers = count()

    def shares(self, record: Record) -> int | None:
        """The same number for records that one run may take: their rules, apart from their names, are the same.

        None for a record that has to go alone.
        """
        entry = record.entry
        if entry.stream == LOG_ERRORS or (self._derived is not None and self._derived.takes(entry.rule)):
            return None
        try:
            return self._rule(entry.rule, entry.rule_version)[1]
        except self._unanswered:
            return None

    def run(
        self, batches: Sequence[Batch], session: Session, turn: Callable[[Batch], bool]
    ) -> list[Sequence[Need]]:
        """Take batches that share to their tables; for each, what must be durable before the journal may forget it.

        `turn` waits until a batch may publish, and is false when it may not any more: `OvertakenError` then. Raises
        `EngineError`, `OSError`, `TablesError` or `BrokenTableError` when all of them must be tried again: whatever
        was published or kept until then is known and not done twice.
        """
        self._step("batch")
        read = [self._read_batch(batch, session) for batch in batches]
        ready = [one for one in read if one is not None]

        def before_publishing() -> None:
            if not all(turn(batch) for batch in batches):
                raise OvertakenError

        for index, flow in enumerate(ready[0].rule.flows if ready else ()):
            for workspace in flow.workspaces:
                self._flow(ready, index, workspace, session, before_publishing)
        before_publishing()
        for one in ready:
            self._receipting.given_up(one.batch, one.rule)
            one.needs.extend(self._errors.write(one.batch, one.rule, session))
            self._tell_repeats(one.batch, one.rule, one.repeats)
        return [() if one is None else one.needs for one in read]

    def _read_batch(self, batch: Batch, session: Session) -> _Ready | None:
        """The batch's rule and payloads; None when there is no rule for it any more."""
        try:
            rule = self._rule_of(batch, session)
        except ProblemError as error:
            problem = error.problems[0]
            self._lettering.give_up(batch.records, WHOLE, problem.code, problem.message)
            self._receipting.given_up(batch, None)
            return None
        repeats = self._repeats(batch)
        payloads = self._read(
            [
                record
                for record in batch.records
                if record.entry.stream != LOG_ERRORS and record.offset not in repeats
            ],
            self._declared(rule),
        )
        lost = [one.record for one in payloads if not rule.flows_of(one.record.entry.stream)]
        if lost:
            message = "No data flow of the rule takes the stream."
            self._lettering.give_up(lost, WHOLE, "NoDataFlow", message)
        return _Ready(batch, rule, payloads, repeats, [])

    def _rule_of(self, batch: Batch, session: Session) -> Rule:
        """The rule that the batch goes through. Raises `ProblemError` when there is none any more."""
        entry = batch.records[0].entry
        try:
            if self._derived is not None and self._derived.takes(entry.rule):
                return self._derived.rule(entry, _bodies(batch.records), session)
            return self._rule(entry.rule, entry.rule_version)[0]
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
        way = "/".join(batch.key)
        new = {*self._counters.first_time(way, "repeats", [one.offset for one in batch.records])}
        for record in batch.records:
            if record.offset in repeats:
                entry = record.entry
                for index in _ways(rule, entry.stream) if record.offset in new else ():
                    self._counters.add(
                        entry.rule, entry.stream, index, received=entry.rows, duplicate=entry.rows
                    )
                self._receipting.repeated(record, repeats[record.offset])

    def _declared(self, rule: Rule) -> dict[str, frozenset[str]]:
        """By stream, what it declares; none of a rule that is made of what its payloads have."""
        if self._derived is not None and self._derived.takes(rule.immutable_id):
            return {}
        return {
            name: frozenset(column.name for column in stream.columns) for name, stream in rule.streams.items()
        }

    def _read(self, records: Sequence[Record], declared: Mapping[str, frozenset[str]]) -> list[Payload]:
        payloads: list[Payload] = []
        for record in records:
            try:
                body = inflate(record)
                if self._settings.mode == "compatible":
                    body = objects_only(body)
                names = declared.get(record.entry.stream)
                lost = undeclared(body.text, names) if names is not None else ()
                payloads.append(Payload(record, body, lost))
            except BodyError as error:
                self._lettering.give_up([record], WHOLE, error.reason, error.message)
        return payloads

    def _flow(
        self,
        ready: Sequence[_Ready],
        place: int,
        workspace: str,
        session: Session,
        before_publishing: Callable[[], None],
    ) -> None:
        """One flow of the rules, by its place in them, into one of its workspaces."""
        flow = ready[0].rule.flows[place]
        table = self._table(workspace, flow.table)
        mine: list[tuple[_Ready, list[Payload]]] = []
        for one in ready:
            streams = one.rule.flows[place].streams
            if payloads := [payload for payload in one.payloads if payload.record.entry.stream in streams]:
                mine.append((one, payloads))
        if not mine:
            return
        records = [payload.record for _, payloads in mine for payload in payloads]
        if table is None:
            self._vanished(flow, records)
            return
        live = self._live(ready[0].rule, flow, table)
        if isinstance(live, ProblemError):
            self._lettering.give_up(records, flow.index, live.problems[0].code, live.problems[0].message)
            return
        ways = [
            Way(one.batch, one.rule, one.rule.flows[place], workspace, table, payloads)
            for one, payloads in mine
        ]
        try:
            self._ways.run(ways, live, session, before_publishing)
        except TableDroppedError:
            self._vanished(flow, records)
            return
        except TableBrokenError as error:
            raise BrokenTableError(table) from error
        for (one, _), way in zip(mine, ways, strict=True):
            need = way.need()
            if need is not None:
                one.needs.append(need)

    def _vanished(self, flow: DataFlow, records: Sequence[Record]) -> None:
        message = f"Table '{flow.table}' of the data flow does not exist any more."
        self._lettering.give_up(records, flow.index, "TableNotFound", message)

    def _rule(self, rule: str, version: int) -> tuple[Rule, int]:
        """A kept version of a rule, and the number of what it does. Raises `LookupError`."""
        key = (rule, version)
        with self._lock:
            known = self._known_rules.get(key)
        if known is None:
            found = self._rules(rule, version)
            plan = _plan(found)
            with self._lock:
                number = self._plans.get(plan)
                if number is None:
                    number = self._plans[plan] = next(self._numbers)
                known = self._known_rules[key] = (found, number)
                for kept in (self._plans, self._known_rules):
                    while len(kept) > MAX_COMPILED:
                        kept.popitem(last=False)
        return known

    def _table(self, workspace: str, name: str) -> Table | None:
        found = find_table(self._catalog.current, workspace, name)
        if found is None and self._catalog.refresh():
            found = find_table(self._catalog.current, workspace, name)
        return found

    def _live(self, rule: Rule, flow: DataFlow, table: Table) -> LiveFlow | ProblemError:
        """The compiled flow, for all rules and tables that have the same."""
        key = (_flow_plan(rule, flow), table.incarnation, table.schema.version)
        with self._lock:
            live = self._compiled.get(key)
        if live is None:
            form = (_transform_plan(rule, flow), table.schema, is_standard(table.name))
            with self._lock:
                live = self._alike.get(form)
            if live is None:
                try:
                    live = compile_flow(rule, flow, table, self._settings.transform)
                except ProblemError as error:
                    live = error
            with self._lock:
                self._compiled[key] = self._alike[form] = live
                for kept in (self._compiled, self._alike):
                    while len(kept) > MAX_COMPILED:
                        kept.popitem(last=False)
        return live


def _plan(rule: Rule) -> Hashable:
    """All of a rule that decides what becomes of its payloads, apart from its name and version."""
    return tuple((flow.workspaces, _flow_plan(rule, flow)) for flow in rule.flows)


def _flow_plan(rule: Rule, flow: DataFlow) -> Hashable:
    return (flow.index, flow.table, *_transform_plan(rule, flow))


def _transform_plan(rule: Rule, flow: DataFlow) -> tuple[Hashable, ...]:
    """What a flow does with rows, whatever table they go into."""
    declared = tuple((name, rule.streams.get(name)) for name in flow.streams)
    # As text, in which `true` is not 1.
    return (flow.transform, repr(flow.stages), flow.target, declared)


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
