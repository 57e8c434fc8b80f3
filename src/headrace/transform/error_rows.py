"""Errors as rows: what a batch could not store goes into `DCRLogErrors` of the flow's workspaces, or where the rule's
diagnostic setting wants it.

The rows are published like those of any flow, under an application id of their own, so a replay does not
double them. They do not hold data up: what cannot be told is left to the dead letters and the log.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from headrace.catalog.model import Table
from headrace.catalog.rules import DataFlow, Rule, Stream
from headrace.errors import ProblemError
from headrace.journal.model import Record
from headrace.kql.types import KustoType, SchemaColumn
from headrace.observe.log_errors import (
    COLUMNS,
    STREAM,
    TABLE,
    ErrorRow,
    Repeats,
    decode_rows,
    encode_rows,
    lettered_message,
)
from headrace.settings import TransformSettings
from headrace.tables.model import PositionError, TableBrokenError, TableDroppedError
from headrace.transform.batch import Batch, Need
from headrace.transform.compile import TIME, compile_flow
from headrace.transform.dead_letters import Fate
from headrace.transform.model import BrokenTableError, Neighbours, find_table
from headrace.transform.run import Body, EngineError, RowsError, Session, batch_table
from headrace.transform.ways import MAX_ATTEMPTS

_LOG = logging.getLogger(__name__)

FLOW = -2
"""The flow index of error rows in `_Source` and in the tables' positions; no data flow has it."""

_STREAM = Stream(
    STREAM,
    (SchemaColumn(TIME, KustoType.DATETIME), *(SchemaColumn(name, KustoType.STRING) for name in COLUMNS)),
)


@dataclass(frozen=True, slots=True)
class _Found:
    """What a batch has to tell: the gateway's rows, and the dead letters by their payload's offset."""

    told: tuple[tuple[Record, ErrorRow], ...]
    letters: dict[int, dict[tuple[int, int], Fate]]


class ErrorRows:
    """Writes the error rows of batches; shared by all workers."""

    def __init__(
        self, neighbours: Neighbours, settings: TransformSettings, step: Callable[[str], None]
    ) -> None:
        self._catalog = neighbours.catalog
        self._tables = neighbours.tables
        self._letters = neighbours.letters
        self._materialise = neighbours.materialise
        self._settings = settings
        self._step = step
        self._repeats = Repeats()

    def write(self, batch: Batch, rule: Rule, session: Session) -> list[Need]:
        """Publish the rows of what the gateway told and of the batch's dead letters; called after its flows.

        Returns and raises as `FlowRunner.run` does.
        """
        found = _Found(
            tuple(_told(batch)),
            self._letters.fates(batch.key[0], [record.offset for record in batch.records]),
        )
        needs: list[Need] = []
        if found.told or found.letters:
            for workspace in self._destinations(rule):
                table = find_table(self._catalog.current, workspace, TABLE)
                need = self._into(table, workspace, batch, rule, found, session) if table else None
                if need is not None:
                    needs.append(need)
        return needs

    def _into(
        self, table: Table, workspace: str, batch: Batch, rule: Rule, found: _Found, session: Session
    ) -> Need | None:
        app_id = f"{batch.key[0]}/{rule.immutable_id}/{FLOW}"
        try:
            position = self._tables.position(table, app_id)
            due: dict[int, list[ErrorRow]] = {}
            for record, row in found.told:
                if record.offset > position and self._wants(workspace, rule, row.InputStreamId):
                    due.setdefault(record.offset, []).append(row)
            for record, row in self._lettered(workspace, batch, rule, found, position):
                due.setdefault(record.offset, []).append(row)
            received = {record.offset: record.received for record in batch.records}
            bodies = [
                Body(place, received[place], encode_rows(rows), app_id, rule.version)
                for place, rows in sorted(due.items())
            ]
            if bodies and self._publish(table, batch, rule, bodies, app_id, session):
                return Need(table, app_id, batch.last)
        except TableDroppedError:
            return None
        except TableBrokenError as error:
            raise BrokenTableError(table) from error
        return Need(table, app_id, min(position, batch.last)) if position >= batch.first else None

    def _lettered(
        self, workspace: str, batch: Batch, rule: Rule, found: _Found, position: int
    ) -> Iterator[tuple[Record, ErrorRow]]:
        """One row for each stream, flow and reason among the letters that the table was not told of."""
        records = {record.offset: record for record in batch.records}
        groups: dict[tuple[str, int, str], list[tuple[Record, Fate]]] = {}
        for offset, letters in sorted(found.letters.items()):
            record = records[offset]
            for (index, _), fate in letters.items() if offset > position else ():
                groups.setdefault((record.entry.stream, index, fate.reason), []).append((record, fate))
        flows = {flow.index: flow for flow in rule.flows}
        for (stream, index, reason), members in groups.items():
            flow = flows.get(index)
            if not self._wants(workspace, rule, stream, flow):
                continue
            first, fate = members[0]
            rows = sum(fate.rows for _, fate in members)
            text = lettered_message(rows, flow.table if flow else "", reason, fate.message)
            kind = (workspace, rule.immutable_id, stream, str(index), reason)
            message = self._repeats.message(kind, first.received, text)
            if message is not None:
                yield (
                    first,
                    ErrorRow(
                        OperationName="Transformation",
                        InputStreamId=stream,
                        Message=message,
                        ClientRequestId=first.entry.client_request_id,
                        CorrelationId=first.entry.request_id,
                        resource_id=rule.resource_id,
                    ),
                )

    def _destinations(self, rule: Rule) -> Sequence[str]:
        chosen = self._chosen(rule)
        every = (one for flow in rule.flows for one in flow.workspaces)
        return tuple(dict.fromkeys(every)) if chosen is None else chosen

    def _wants(self, workspace: str, rule: Rule, stream: str, flow: DataFlow | None = None) -> bool:
        """Whether a workspace gets the errors of a stream, or of one of its flows."""
        chosen = self._chosen(rule)
        if chosen is not None:
            return workspace in chosen
        return workspace in (flow.workspaces if flow is not None else _workspaces(rule, stream))

    def _chosen(self, rule: Rule) -> Sequence[str] | None:
        """The workspaces of the rule's diagnostic setting; None without one."""
        return self._catalog.current.error_destinations.get(rule.resource_id.lower())

    def _publish(
        self, table: Table, batch: Batch, rule: Rule, bodies: Sequence[Body], app_id: str, session: Session
    ) -> bool:
        self._materialise(table.workspace, table.name)
        flow = DataFlow(FLOW, (STREAM,), (), (), f"Microsoft-{TABLE}", TABLE, "source")
        own = Rule(rule.immutable_id, rule.version, rule.resource_id, rule.kind, {STREAM: _STREAM}, (flow,))
        path = self._tables.new_file(table)
        try:
            live = compile_flow(own, flow, table, self._settings)
            written = session.run(live, batch_table(bodies), path)
            file = written.data_file(path, live.schema_version, {app_id: batch.last})
            self._step("publish errors")
            self._tables.publish(table, file)
        except (ProblemError, RowsError, PositionError) as error:
            _LOG.error("error rows of rule %s were not written: %s", rule.immutable_id, type(error).__name__)
            self._tables.discard(table, path)
            return False
        except EngineError as error:
            self._tables.discard(table, path)
            if batch.attempt < MAX_ATTEMPTS:
                raise
            _LOG.error("error rows of rule %s were not written: %s", rule.immutable_id, error.reason)
            return False
        except BaseException:
            self._tables.discard(table, path)
            raise
        self._step("published errors")
        return True


def _told(batch: Batch) -> Iterator[tuple[Record, ErrorRow]]:
    """What the gateway wrote into the journal."""
    for record in batch.records:
        if record.entry.stream == STREAM:
            try:
                rows = decode_rows(record.entry.body)
            except msgspec.MsgspecError:
                _LOG.error("error rows at offset %d of a journal cannot be read", record.offset)
                continue
            for row in rows:
                yield record, row


def _workspaces(rule: Rule, stream: str) -> tuple[str, ...]:
    """The workspaces that a stream's flows end in; all of the rule's where no flow takes it."""
    flows = rule.flows_of(stream) or rule.flows
    return tuple(dict.fromkeys(workspace for flow in flows for workspace in flow.workspaces))
