"""Locks at a subscription, group or resource, and what they forbid. Mirrors Microsoft.Authorization/locks."""

from __future__ import annotations

from typing import Any

from headrace.arm import store
from headrace.arm.ids import LOCK_TYPE
from headrace.arm.kinds.base import clean, find_for_put, invalid, one_of, save_put
from headrace.arm.kinds.scopes import ProxyKind
from headrace.arm.model import Answer, Call
from headrace.arm.store import Resource
from headrace.identity.scopes import ancestors
from headrace.wire.problems import http_error

_LEVELS = ("CanNotDelete", "ReadOnly", "NotSpecified")
_AUTHORIZATION = "Microsoft.Authorization"


class Locks(ProxyKind):
    """Microsoft.Authorization/locks, an extension of any scope."""

    type = LOCK_TYPE

    def list(self, call: Call) -> Answer:
        """GET of the locks at a scope and below it; with `$filter=atScope()` of those that count there."""
        self.check_scope(call)
        scope = call.target.scope.lower()
        if "atscope()" in call.query.get("$filter", "").replace(" ", "").lower():
            items = _locks_above(call, scope)
        else:
            items = [item for item in store.below(call.connection, scope) if item.type == LOCK_TYPE]
        return Answer(200, {"value": [self.shown(item) for item in items]})

    def put(self, call: Call) -> Answer:
        """PUT: 201 when it is new."""
        self.check_scope(call)
        existing = find_for_put(call)
        document = clean(call.body)
        properties = document["properties"]
        level = one_of(properties.get("level"), _LEVELS)
        if level is None:
            raise invalid(f"The level of a lock is one of {', '.join(_LEVELS)}.", "properties.level")
        notes = properties.get("notes")
        if notes is not None and (not isinstance(notes, str) or len(notes) > 512):
            raise invalid("'notes' is a text of at most 512 characters.", "properties.notes")
        document["properties"] = {**properties, "level": level}
        item = save_put(call, existing, document)
        return Answer(200 if existing else 201, self.shown(item))


def check_locks(call: Call) -> None:
    """Raises `HttpError` 409 `ScopeLocked` when a lock forbids the call.

    CanNotDelete forbids DELETE, ReadOnly every write, of the resource, of all below it and of all that
    holds it; access itself (locks, role assignments) stays open.
    """
    target = call.target
    if target.namespace == _AUTHORIZATION:
        return
    deleting = call.method == "DELETE"
    forbidding = ("CanNotDelete", "ReadOnly") if deleting else ("ReadOnly",)
    locks = _locks_above(call, target.id.lower())
    if deleting:
        locks += [item for item in store.below(call.connection, target.id.lower()) if item.type == LOCK_TYPE]
    scopes = sorted(
        {item.id.partition(f"/providers/{LOCK_TYPE}")[0] for item in locks if _level(item) in forbidding}
    )
    if scopes:
        raise http_error(
            409,
            "ScopeLocked",
            f"The scope '{target.id}' cannot perform {'delete' if deleting else 'write'} operation because "
            f"following scope(s) are locked: '{','.join(scopes)}'. Please remove the lock and try again.",
        )


def _locks_above(call: Call, key: str) -> list[Resource]:
    return [
        item
        for scope in ancestors(key)
        for item in store.select_page(call.connection, LOCK_TYPE, parent_key=scope)
    ]


def _level(item: Resource) -> Any:
    return item.properties.get("level")
