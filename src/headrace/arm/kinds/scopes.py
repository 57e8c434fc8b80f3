"""What resources without a location of their own stand in: a scope or another resource, which must be there."""

from __future__ import annotations

from typing import Any

from headrace.arm import store
from headrace.arm.ids import Target, parse_id
from headrace.arm.kinds.base import Kind, answer, check_etag, not_found, require_scope
from headrace.arm.kinds.cascade import remove_resource
from headrace.arm.kinds.tables import table_exists
from headrace.arm.model import Answer, Call
from headrace.arm.store import Resource
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


class NeverAny(Kind):
    """What can be at a scope in Azure and never is here: its list is empty, and nothing can be put."""

    def __init__(self, name: str) -> None:
        self.type = name

    def list(self, call: Call) -> Answer:
        """GET: an empty list."""
        require_scope_resource(call)
        return Answer(200, {"value": []})


class ProxyKind(Kind):
    """What ARM calls a proxy resource: it stands in another one or in a scope, and has no location."""

    def check_scope(self, call: Call) -> None:
        """Raises `HttpError` when the scope is not there, or can have no such resource."""
        require_scope_resource(call)

    def shown(self, item: Resource) -> dict[str, Any]:
        """The resource as it is answered: by default as it was put."""
        return {"id": item.id, "name": item.name, "type": item.type, "properties": dict(item.properties)}

    def get(self, call: Call) -> Answer:
        """GET of one resource."""
        self.check_scope(call)
        item = store.get(call.connection, call.target.key)
        if item is None:
            raise not_found(call)
        return answer(item, self.shown(item))

    def delete(self, call: Call) -> Answer:
        """DELETE: 200 when it was there, 204 when not."""
        self.check_scope(call)
        item = store.get(call.connection, call.target.key)
        check_etag(call, item)
        if item is None:
            return Answer(204)
        remove_resource(call, item)
        return Answer(200)
