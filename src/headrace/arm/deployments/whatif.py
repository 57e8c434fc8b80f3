"""What a deployment would change, by rehearsing it in a transaction that is rolled back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headrace.arm.deployments.model import Outcome, Prepared
from headrace.arm.deployments.run import Hooks, execute, surplus
from headrace.arm.model import Inner
from headrace.arm.templates.plan import Planned
from headrace.arm.templates.values import same

_UNSTABLE = frozenset({"etag", "systemData", "provisioningState", "modifiedDate", "updatedOn", "updatedBy"})
_GENERATED = frozenset(
    {"immutableId", "customerId", "workspaceId", "createdDate", "createdOn", "createdBy", "lastSkuUpdate"}
)
"""What changes with every write, and what only a real creation could tell."""


@dataclass(slots=True)
class Rehearsal:
    """What came of a rehearsal."""

    outcome: Outcome
    changes: list[dict[str, Any]] = field(default_factory=list)


def rehearse(prepared: Prepared, inner: Inner, hooks: Hooks) -> Rehearsal:
    """Run a deployment on calls that are rolled back, and list what it changed. See `execute`."""
    changes: dict[str, dict[str, Any]] = {}

    def seen(item: Planned, before: Any, after: Any) -> None:
        changes[item.key] = _change(item.id, before, after)

    outcome = execute(prepared, inner, Hooks(hooks.authorize, hooks.finished, seen))
    kind, left = ("Delete", outcome.deleted)
    if prepared.work.mode == "Incremental":
        kind, left = "Ignore", surplus(outcome, inner)
    others = [{"resourceId": path, "changeType": kind, "before": {"id": path}} for path in left]
    return Rehearsal(outcome, [*changes.values(), *others])


def _change(resource: str, before: Any, after: Any) -> dict[str, Any]:
    old = _settled(before, _UNSTABLE) if before is not None else None
    new = _settled(after, _UNSTABLE if before is not None else _UNSTABLE | _GENERATED)
    if old is None:
        return {"resourceId": resource, "changeType": "Create", "after": new}
    delta = _delta("", old, new)
    kind = "Modify" if delta else "NoChange"
    return {"resourceId": resource, "changeType": kind, "before": old, "after": new, "delta": delta}


def _settled(value: Any, left_out: frozenset[str]) -> Any:
    if isinstance(value, Mapping):
        return {name: _settled(item, left_out) for name, item in value.items() if name not in left_out}
    return [_settled(item, left_out) for item in value] if isinstance(value, list) else value


def _delta(path: str, before: Any, after: Any) -> list[dict[str, Any]]:
    """The differences, each with its dotted path; an array's elements are children of its entry."""
    if same(before, after):
        return []
    if isinstance(before, dict) and isinstance(after, dict):
        found = []
        for name in sorted({*before, *after}):
            inner = f"{path}.{name}" if path else name
            if name not in before:
                found.append(_entry(inner, "Create", None, after[name]))
            elif name not in after:
                found.append(_entry(inner, "Delete", before[name], None))
            else:
                found += _delta(inner, before[name], after[name])
        return found
    if isinstance(before, list) and isinstance(after, list):
        return [_entry(path, "Array", None, None, _elements(before, after))]
    return [_entry(path, "Modify", before, after)]


def _elements(before: list[Any], after: list[Any]) -> list[dict[str, Any]]:
    found = []
    for place in range(max(len(before), len(after))):
        name = str(place)
        if place >= len(before):
            found.append(_entry(name, "Create", None, after[place]))
        elif place >= len(after):
            found.append(_entry(name, "Delete", before[place], None))
        elif not same(before[place], after[place]):
            inner = _delta("", before[place], after[place])
            nested = isinstance(before[place], dict) and isinstance(after[place], dict)
            found.append(
                _entry(name, "Modify", None, None, inner)
                if nested
                else _entry(name, "Modify", before[place], after[place])
            )
    return found


def _entry(
    path: str, kind: str, before: Any, after: Any, children: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    return {"path": path, "propertyChangeType": kind, "before": before, "after": after, "children": children}
