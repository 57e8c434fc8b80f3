"""What the pipeline writes into the receipts: what each call became on each of its ways."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from msgspec import structs

from headrace.catalog.rules import Rule
from headrace.journal.model import Record
from headrace.observe.receipts import CallRows, Frame, Place, Receipts, id_bytes
from headrace.transform.batch import Batch, Way
from headrace.transform.dead_letters import WHOLE, DeadLetters, Fate

Fates = Mapping[tuple[int, int], Fate]


class Receipting:
    """Writes receipts; shared by all workers. Without `receipts` it does nothing."""

    def __init__(self, receipts: Receipts | None, letters: DeadLetters) -> None:
        self._receipts = receipts
        self._letters = letters

    def before_publishing(self, way: Way, stored: Mapping[int, int], *, nothing: bool) -> Place | None:
        """What becomes of the payloads that are due: `stored` rows by offset, in no file where there is `nothing`."""
        records = way.records
        if self._receipts is None or not records:
            return None
        rule, flow = way.rule, way.flow
        fates = self._letters.fates(records[0].journal, [record.offset for record in records])
        dead = {record.offset: _dead(fates.get(record.offset, {}), flow.index) for record in records}
        calls = [
            _call(one.record, stored.get(one.record.offset, 0), dead[one.record.offset], one.undeclared)
            for one in way.due
        ]
        return self._receipts.append(
            Frame(
                journal=records[0].journal,
                rule=rule.immutable_id,
                rule_version=rule.version,
                stream=flow.streams[0],
                flow=flow.index,
                ways=_ways(rule, flow.streams[0]),
                workspace=way.workspace,
                table=way.table.name,
                incarnation=way.table.incarnation,
                app_id="" if nothing else way.app_id,
                calls=calls,
            )
        )

    def published(self, place: Place | None) -> None:
        """What was written before is visible now."""
        if self._receipts is not None:
            self._receipts.visible(place)

    def given_up(self, batch: Batch, rule: Rule | None) -> None:
        """Whole payloads of the batch are dead letters, now or since before a restart; called after its flows."""
        if self._receipts is None:
            return
        records = {record.offset: record for record in batch.records}
        groups: dict[tuple[str, int], list[CallRows]] = {}
        for offset, fates in self._letters.fates(batch.key[0], records).items():
            record = records[offset]
            for (index, row), fate in fates.items():
                if row == WHOLE:
                    call = _call(record, 0, {fate.reason: record.entry.rows})
                    groups.setdefault((record.entry.stream, index), []).append(call)
        flows = {flow.index: flow for flow in rule.flows} if rule is not None else {}
        for (stream, index), calls in groups.items():
            flow = flows.get(index)
            for workspace in flow.workspaces if flow is not None else ("",):
                self._receipts.append(
                    Frame(
                        journal=batch.key[0],
                        rule=batch.key[1],
                        rule_version=batch.records[0].entry.rule_version,
                        stream=stream,
                        flow=index,
                        ways=_ways(rule, stream) if flow is not None and rule is not None else 1,
                        workspace=workspace,
                        table=flow.table if flow is not None else "",
                        incarnation="",
                        app_id="",
                        calls=calls,
                    )
                )

    def repeated(self, record: Record, original: str) -> None:
        """The call repeats another one, which has its rows."""
        if self._receipts is None:
            return
        entry = record.entry
        self._receipts.append(
            Frame(
                journal=record.journal,
                rule=entry.rule,
                rule_version=entry.rule_version,
                stream=entry.stream,
                flow=WHOLE,
                ways=1,
                workspace="",
                table="",
                incarnation="",
                app_id="",
                calls=[structs.replace(_call(record, 0, {}), duplicate_of=id_bytes(original) or b"")],
            )
        )


def _ways(rule: Rule, stream: str) -> int:
    return sum(len(flow.workspaces) for flow in rule.flows_of(stream))


def _call(record: Record, stored: int, dead: dict[str, int], undeclared: tuple[str, ...] = ()) -> CallRows:
    entry = record.entry
    return CallRows(
        id_bytes(entry.request_id) or b"",
        record.offset,
        record.received,
        entry.rows,
        stored,
        dead,
        undeclared=undeclared,
    )


def _dead(fates: Fates, flow: int) -> dict[str, int]:
    """Rows by reason that this flow could not store."""
    reasons: Counter[str] = Counter()
    for (index, _), fate in fates.items():
        if index in (flow, WHOLE):
            reasons[fate.reason] += fate.rows
    return dict(reasons)
