"""Tracked resources: those with a location, which stand in a resource group."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from headrace.arm import store
from headrace.arm.kinds.base import (
    READ_ONLY,
    Kind,
    answer,
    changed,
    check_etag,
    check_tags,
    clean,
    find_for_put,
    invalid,
    list_resources,
    new_resource,
    one_of,
    read_location,
    render,
    require,
    require_scope,
)
from headrace.arm.kinds.cascade import remove_resource
from headrace.arm.model import Answer, Call
from headrace.arm.store import Resource

_IDENTITIES = ("None", "SystemAssigned", "UserAssigned", "SystemAssigned, UserAssigned")


def tracked_document(body: Mapping[str, Any], read_only: Iterable[str]) -> dict[str, Any]:
    """A PUT's document without what only the server sets. Raises `HttpError` 400 for what no tracked resource takes."""
    check_tags(body)
    document = clean(body, read_only)
    kind, description = document.get("kind"), document["properties"].get("description")
    if kind is not None and not isinstance(kind, str):
        raise invalid("'kind' is a text.", "kind")
    if description is not None and not isinstance(description, str):
        raise invalid("'description' is a text.", "properties.description")
    if document.get("identity") is not None:
        document["identity"] = _identity(document["identity"])
    return document


def _identity(value: object) -> dict[str, Any]:
    """A managed identity as it is kept. Raises `HttpError` 400."""
    sent = value if isinstance(value, dict) else {}
    text = sent.get("type")
    kind = one_of(
        text.replace(",", ", ").replace(",  ", ", ") if isinstance(text, str) else None, _IDENTITIES
    )
    if kind is None:
        raise invalid(
            f"The type of an identity is one of {', '.join(_IDENTITIES[:-1])}, or both.", "identity.type"
        )
    users = sent.get("userAssignedIdentities")
    if users is not None and not isinstance(users, dict):
        raise invalid("'userAssignedIdentities' is an object.", "identity.userAssignedIdentities")
    return {"type": kind, **({"userAssignedIdentities": users} if users else {})}


def _shown_identity(item: Resource, tenant: str) -> dict[str, Any] | None:
    """The identity as clients read it: one of the system's has an id, which stays as long as the resource is there."""
    identity = item.document.get("identity")
    if not isinstance(identity, dict) or not str(identity.get("type")).startswith("SystemAssigned"):
        return identity if isinstance(identity, dict) else None
    own = uuid.uuid5(uuid.NAMESPACE_URL, f"{item.key} {item.created}")
    return {"principalId": str(own), "tenantId": tenant, **identity}


class TrackedKind(Kind):
    """A resource in a resource group with location, tags and properties, kept as it was put."""

    read_only: frozenset[str] = frozenset({"provisioningState"})
    patchable: frozenset[str] = frozenset({"tags", "identity"})

    def properties(self, call: Call, item: Resource) -> dict[str, Any]:
        """`properties` as they are answered."""
        return {**item.properties, "provisioningState": "Succeeded"}

    def shown(self, call: Call, item: Resource) -> dict[str, Any]:
        """The resource as it is answered."""
        shown = render(item, self.properties(call, item))
        identity = _shown_identity(item, call.caller.tenant)
        return shown if identity is None else {**shown, "identity": identity}

    def accept(
        self, call: Call, existing: Resource | None, document: dict[str, Any], location: str
    ) -> Resource:
        """Check a PUT's document and make the resource of it; may write more than the resource."""
        if existing is None:
            return new_resource(call, document, location)
        return changed(call, existing, document)

    def removed(self, call: Call, item: Resource) -> None:
        """Take away a resource that is being deleted, with what belongs to it."""
        remove_resource(call, item)

    def get(self, call: Call) -> Answer:
        """GET of one resource."""
        item = require(call)
        return answer(item, self.shown(call, item))

    def list(self, call: Call) -> Answer:
        """GET of a subscription's or group's resources."""
        require_scope(call)
        return list_resources(call, self.type, self.shown)

    def put(self, call: Call) -> Answer:
        """PUT: create, or replace the document. Unique ids and what the server keeps survive."""
        require_scope(call)
        existing = find_for_put(call)
        document = tracked_document(call.body, self.read_only)
        location = read_location(call, existing)
        item = self.accept(call, existing, document, location)
        store.save(call.connection, item)
        return answer(item, self.shown(call, item), 201 if existing is None else 200)

    def patch(self, call: Call) -> Answer:
        """PATCH of `tags` and `identity`."""
        item = require(call)
        check_etag(call, item)
        check_tags(call.body)
        unknown = [name for name in call.body if name not in self.patchable | READ_ONLY]
        if unknown:
            raise invalid(
                f"PATCH changes {' and '.join(sorted(self.patchable))}; use PUT for '{unknown[0][:64]}'.",
                unknown[0][:64],
            )
        document = {**item.document, **{n: v for n, v in call.body.items() if n in self.patchable}}
        if document.get("identity") is not None:
            document["identity"] = _identity(document["identity"])
        item = changed(call, item, document)
        store.save(call.connection, item)
        return answer(item, self.shown(call, item))

    def delete(self, call: Call) -> Answer:
        """DELETE: 200 when it was there, 204 when not."""
        require_scope(call)
        item = store.get(call.connection, call.target.key)
        check_etag(call, item)
        if item is None:
            return Answer(204)
        self.removed(call, item)
        return Answer(200)
