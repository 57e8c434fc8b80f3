"""A rule tried on sample rows without a server: the same compiler and engine as the pipeline, nothing kept."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from headrace.catalog import standard, system
from headrace.catalog.model import Column, Table, TableSchema
from headrace.catalog.names import SYSTEM_COLUMNS, assign_physical, column_fault
from headrace.catalog.rules import DataFlow, Rule
from headrace.clock import iso
from headrace.errors import Problem, ProblemError
from headrace.kql.api import KqlError, compile_stages
from headrace.kql.types import KustoType, Schema
from headrace.settings import TransformSettings
from headrace.transform.bisect import find_bad, without
from headrace.transform.compile import LiveFlow, compile_flow, transform_texts
from headrace.transform.review import review
from headrace.transform.run import Body, Engine, RowsError, Session, batch_table

_NOWHERE = "00000000-0000-0000-0000-000000000000"
_TABLE_TYPES = frozenset(
    {
        KustoType.STRING, KustoType.INT, KustoType.LONG, KustoType.REAL, KustoType.BOOL, KustoType.DATETIME,
        KustoType.GUID, KustoType.DYNAMIC,
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Failed:
    """A sample row that the transform cannot be run on; `row` counts from 0."""

    row: int
    reason: str


@dataclass(frozen=True, slots=True)
class FlowTrial:
    """What became of a stream's sample rows in one data flow.

    `rows` are the stored ones, by column name, in the order of the samples; `filtered` the places of those that
    the transform left out. `left_out` are output columns that the table lacks. `inferred` says that no columns
    were given for the table, and so the transform's output stands for them. `notes` are about what the stream's
    declaration does not take of the samples. With `problems` nothing was run.
    """

    flow: DataFlow
    table: str
    received: int = 0
    rows: tuple[Mapping[str, Any], ...] = ()
    filtered: tuple[int, ...] = ()
    failed: tuple[Failed, ...] = ()
    left_out: tuple[str, ...] = ()
    columns: tuple[tuple[str, KustoType], ...] = ()
    inferred: bool = False
    warnings: tuple[Problem, ...] = ()
    notes: tuple[Problem, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(slots=True)
class Trial:
    """Tries the flows of rules. `tables` gives the columns of output tables by name; standard ones are known."""

    tables: Mapping[str, TableSchema] = field(default_factory=dict)
    settings: TransformSettings = field(default_factory=TransformSettings)

    def run(self, rule: Rule, samples: Mapping[str, Sequence[bytes]], now: int) -> list[FlowTrial]:
        """Every data flow on its stream's samples, each the JSON text of an object, received at `now` (µs)."""
        with self.opened(rule) as opened:
            return opened.on(samples, now)

    @contextlib.contextmanager
    def opened(self, rule: Rule) -> Iterator[OpenTrial]:
        """The rule with its flows compiled once, to be tried on one set of samples after another."""
        flows = [self._compiled(rule, flow) for flow in rule.flows]
        with tempfile.TemporaryDirectory(prefix="headrace-trial-") as folder:
            engine = Engine(Path(folder), self.settings.memory_limit)
            try:
                with engine.session() as session:
                    yield OpenTrial(rule, flows, session, Path(folder))
            finally:
                engine.close()

    def _compiled(self, rule: Rule, flow: DataFlow) -> _CompiledFlow | FlowTrial:
        """The flow, or what became of it where it does not compile."""
        try:
            table, inferred = self._table(rule, flow)
            return _CompiledFlow(flow, compile_flow(rule, flow, table, self.settings), table, inferred)
        except ProblemError as error:
            return FlowTrial(flow, flow.table, problems=error.problems)

    def _table(self, rule: Rule, flow: DataFlow) -> tuple[Table, bool]:
        """The flow's output table, and whether its columns are inferred. Raises `ProblemError`."""
        given = self.tables.get(flow.table)
        if given is not None:
            return Table(_NOWHERE, flow.table, _NOWHERE, (given,)), False
        known = standard.untouched(_NOWHERE, flow.table)
        if known is not None:
            return known, False
        return Table(_NOWHERE, flow.table, _NOWHERE, (infer_schema(rule, flow, self.settings),)), True


@dataclass(frozen=True, slots=True)
class _CompiledFlow:
    flow: DataFlow
    live: LiveFlow
    table: Table
    inferred: bool


@dataclass(frozen=True, slots=True)
class OpenTrial:
    """A rule whose flows are compiled, with an engine to run them on samples."""

    rule: Rule
    flows: Sequence[_CompiledFlow | FlowTrial]
    session: Session
    folder: Path

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Why flows do not compile."""
        failed = [each for each in self.flows if isinstance(each, FlowTrial)]
        return tuple(problem for each in failed for problem in each.problems)

    def on(self, samples: Mapping[str, Sequence[bytes]], now: int) -> list[FlowTrial]:
        """Every data flow on its stream's samples, each the JSON text of an object, received at `now` (µs)."""
        return list(self._tried(samples, now))

    def _tried(self, samples: Mapping[str, Sequence[bytes]], now: int) -> Iterator[FlowTrial]:
        notes: dict[str, tuple[Problem, ...]] = {}
        for each in self.flows:
            if isinstance(each, FlowTrial):
                yield each
                continue
            name = each.flow.streams[0]
            rows = samples.get(name, ())
            if name not in notes:
                notes[name] = review(self.rule.streams[name], rows, self.session)
            path = self.folder / f"{each.flow.index}.parquet"
            tried = _FlowRun(each, self.session, path).on(rows, now)
            yield replace(tried, notes=notes[name])


def infer_schema(rule: Rule, flow: DataFlow, settings: TransformSettings) -> TableSchema:
    """The columns that a flow's own output would need of its table. Raises `ProblemError`."""
    stream = rule.streams.get(flow.streams[0])
    if stream is None:
        message = f"Stream '{flow.streams[0]}' is not declared in the rule."
        raise ProblemError(Problem("InvalidStream", message, flow.target))
    texts, functions, _ = transform_texts(stream, flow, settings)
    try:
        compiled = compile_stages(texts or ("source",), Schema(stream.columns), functions=functions)
    except KqlError:
        # The compiler of the flow says it in the rule's own terms.
        return TableSchema(1, (Column(1, "TimeGenerated", KustoType.DATETIME, "TimeGenerated"),))
    taken: set[str] = set()
    columns = [
        Column(number, column.name, column.type, assign_physical(column.name, taken))
        for number, column in enumerate(compiled.statements[-1].columns, 1)
        if column.type in _TABLE_TYPES and column.name not in SYSTEM_COLUMNS and not column_fault(column.name)
    ]
    return TableSchema(1, tuple(columns))


@dataclass(frozen=True, slots=True)
class _FlowRun:
    compiled: _CompiledFlow
    session: Session
    path: Path

    def on(self, rows: Sequence[bytes], now: int) -> FlowTrial:
        body = Body(0, now, b"[" + b",".join(rows) + b"]")
        failed: list[Failed] = []
        try:
            stored = self._stored([body])
        except RowsError as error:
            bad = find_bad([body], lambda bodies: self._probe(bodies), error.reason)
            failed = [Failed(one.row or 0, one.reason) for one in bad]
            stored = self._stored(without([body], bad))
        kept = {place for place, _ in stored} | {one.row for one in failed}
        return FlowTrial(
            self.compiled.flow,
            self.compiled.table.name,
            received=len(rows),
            rows=tuple(row for _, row in stored),
            filtered=tuple(place for place in range(len(rows)) if place not in kept),
            failed=tuple(failed),
            left_out=self.compiled.live.dropped,
            columns=tuple((column.name, column.type) for column in self.compiled.table.schema.columns),
            inferred=self.compiled.inferred,
            warnings=self.compiled.live.warnings,
        )

    def _probe(self, bodies: Sequence[Body]) -> None:
        self.session.run(self.compiled.live, batch_table(bodies), self.path)
        self.path.unlink(missing_ok=True)

    def _stored(self, bodies: Sequence[Body]) -> list[tuple[int, dict[str, Any]]]:
        """The stored rows with their places among the samples."""
        self.path.unlink(missing_ok=True)
        if not self.session.run(self.compiled.live, batch_table(bodies), self.path).rows:
            return []
        written = pq.read_table(self.path)
        places = written.column(system.ROW.physical).to_pylist()
        columns = [
            (column.name, _values(written.column(column.physical), column.type))
            for column in self.compiled.table.schema.columns
            if column.name not in SYSTEM_COLUMNS
        ]
        rows = [(place, {name: values[at] for name, values in columns}) for at, place in enumerate(places)]
        return sorted(rows, key=lambda row: row[0])


def _values(column: pa.ChunkedArray, kusto: KustoType) -> list[Any]:
    """A column's values as JSON has them."""
    if kusto is KustoType.DATETIME:
        micros = column.cast(pa.int64()).to_pylist()
        return [None if value is None else iso(value) for value in micros]
    values: list[Any] = column.to_pylist()
    if kusto is KustoType.DYNAMIC:
        return [None if value is None else json.loads(value) for value in values]
    return values
