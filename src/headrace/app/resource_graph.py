"""What the resource graph knows, from the control plane's documents."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection

from headrace.arm import store
from headrace.arm.ids import (
    ENDPOINT_TYPE,
    GROUP_TYPE,
    RULE_TYPE,
    SAVED_SEARCH_TYPE,
    SUBSCRIPTION_TYPE,
    TABLE_TYPE,
    WORKSPACE_TYPE,
)
from headrace.arm.store import Resource
from headrace.identity.access import load_access
from headrace.query.graph import Described

_UNIQUE_IDS = {WORKSPACE_TYPE: "customerId", RULE_TYPE: "immutableId", ENDPOINT_TYPE: "immutableId"}
_CONTAINERS = (SUBSCRIPTION_TYPE, GROUP_TYPE)
_HIDDEN = (TABLE_TYPE, SAVED_SEARCH_TYPE)


def load_described(connection: Connection, change: int) -> tuple[Described, ...]:
    """Every subscription, group and resource with a location; the `load` of a `LiveView`."""
    tenant = load_access(connection, change).tenant
    return tuple(
        _described(item, tenant)
        for item in store.select_page(connection, None)
        if item.type in _CONTAINERS or (item.location and item.type not in _HIDDEN)
    )


def _described(item: Resource, tenant: str) -> Described:
    document = item.document
    texts = {
        "id": item.id,
        "name": _name(item),
        "type": item.type.lower(),
        "tenantId": tenant,
        "kind": _text(document.get("kind")),
        "location": item.location,
        "resourceGroup": item.group_key.rpartition("/")[2],
        "subscriptionId": item.subscription,
    }
    objects = {"properties": _properties(item)} | {
        name: document.get(name) for name in ("sku", "plan", "tags", "identity", "zones", "extendedLocation")
    }
    values = {
        name: msgspec.json.encode(value).decode() for name, value in objects.items() if value is not None
    }
    return Described(item.id, item.type.lower(), item.subscription, texts | values)


def _name(item: Resource) -> str:
    """A subscription goes by its display name."""
    shown = item.document.get("displayName") if item.type == SUBSCRIPTION_TYPE else None
    return _text(shown) or item.name


def _properties(item: Resource) -> dict[str, Any]:
    if item.type == SUBSCRIPTION_TYPE:
        return {"state": "Enabled"}
    added: dict[str, Any] = {"provisioningState": "Succeeded"}
    if item.type in _UNIQUE_IDS and item.unique_id is not None:
        added[_UNIQUE_IDS[item.type]] = item.unique_id
    return {**item.properties, **added}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
