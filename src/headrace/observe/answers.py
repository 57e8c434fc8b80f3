"""One receipt from what is kept of a call: which ways its rows went, and whether they are there yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from headrace.clock import iso
from headrace.observe.receipts import Found, Frame

NO_FLOW = -1

Notes = Callable[[Frame, Sequence[str]], Sequence[str]]
"""What it means, in sentences, that the frame's stream does not declare properties of these names."""

Published = Callable[[Frame, int], bool | None]
"""Whether the rows of the frame's way up to this offset are in its table; None when that table is no more."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer; `rule` and `rule_version` say who may read it."""

    rule: str
    rule_version: int
    document: dict[str, Any]


def make_receipt(
    request_id: str, found: Sequence[Found], published: Published, notes: Notes = lambda _frame, _names: ()
) -> Receipt | None:
    """What is known of a call; None when it is nothing."""
    if not found:
        return None
    newest = {(one.frame.flow, one.frame.workspace): one for one in found}
    ways = [(one, _state(one, published)) for one in newest.values()]
    first = found[-1]
    expected = 1 if any(flow == NO_FLOW for flow, _ in newest) else first.frame.ways
    settled = [one for one, there in ways if there]
    document: dict[str, Any] = {
        "requestId": request_id,
        "status": "Complete" if len(settled) >= expected else "Processing",
        "receivedTime": iso(first.call.received),
        "immutableId": first.frame.rule,
        "ruleVersion": first.frame.rule_version,
        "stream": first.frame.stream,
        "rowsReceived": first.call.rows,
        "destinations": [_destination(one) for one in settled if not one.call.duplicate_of],
    }
    if first.call.duplicate_of:
        document["duplicateOf"] = str(UUID(bytes=first.call.duplicate_of))
    undeclared = next((one.call.undeclared for one in found if one.call.undeclared), ())
    if undeclared:
        document["undeclared"] = [*undeclared]
        document["notes"] = [*notes(first.frame, undeclared)]
    return Receipt(first.frame.rule, first.frame.rule_version, document)


def _state(one: Found, published: Published) -> bool:
    """Whether the rows of a way are settled: visible, or nothing of them was to be."""
    if not one.frame.app_id:
        return True
    there = published(one.frame, one.call.offset)
    return one.visible > 0 if there is None else there


def _destination(one: Found) -> dict[str, Any]:
    call, frame = one.call, one.frame
    dead = sum(call.dead.values())
    result: dict[str, Any] = {
        "workspaceResourceId": frame.workspace or None,
        "table": frame.table or None,
        "rowsStored": call.stored,
        "rowsFiltered": call.rows - call.stored - dead,
        "rowsDeadLettered": dead,
        "reasons": call.dead,
    }
    if call.stored:
        result["queryableSince"] = iso(one.visible) if one.visible else None
    return result
