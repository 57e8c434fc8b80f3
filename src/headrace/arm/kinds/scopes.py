"""What extension resources stand in: a subscription, a group or a resource, which must be there."""

from __future__ import annotations

from headrace.arm import store
from headrace.arm.ids import Target, parse_id
from headrace.arm.kinds.base import require_scope
from headrace.arm.kinds.tables import table_exists
from headrace.arm.model import Call
from headrace.identity.assignments import assigned_key
from headrace.wire.problems import http_error


def require_scope_resource(call: Call) -> Target | None:
    """The scope of an extension resource; None at the root, which the root management group stands for.

    Raises `HttpError` 404 when the scope is a resource that does not exist.
    """
    require_scope(call)
    scope = parse_id(call.target.scope) if call.target.scope else None
    if scope is None or not scope.names or not assigned_key(call.connection, call.target.scope):
        return None
    if not store.exists(call.connection, scope.key) and not table_exists(call.connection, scope):
        raise http_error(404, "ResourceNotFound", f"The Resource '{scope.short}' was not found.")
    return scope
