"""Log Analytics workspaces. Mirrors Microsoft.OperationalInsights/workspaces."""

from __future__ import annotations

import base64
import os
import re
from typing import Any

from headrace.arm import store
from headrace.arm.ids import WORKSPACE_TYPE
from headrace.arm.kinds.base import (
    READ_ONLY,
    Kind,
    answer,
    changed,
    check_etag,
    check_tags,
    invalid,
    new_resource,
    one_of,
    require,
    require_parent,
    require_scope,
)
from headrace.arm.kinds.cascade import purge_workspace, remove_resource
from headrace.arm.kinds.deleted import recover
from headrace.arm.kinds.tracked import TrackedKind
from headrace.arm.model import Answer, Call
from headrace.arm.store import Resource, SharedKeys
from headrace.clock import iso
from headrace.ids import new_guid
from headrace.wire.problems import http_error

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{2,61}[A-Za-z0-9]", re.ASCII)
_DEFAULTS: dict[str, Any] = {
    "retentionInDays": 30,
    "publicNetworkAccessForIngestion": "Enabled",
    "publicNetworkAccessForQuery": "Enabled",
}
_LEAST_DAYS, _MOST_DAYS = 4, 730
_SKU = "PerGB2018"
_SKUS = (
    "Free", "Standard", "Premium", "PerNode", "PerGB2018", "Standalone", "CapacityReservation", "LACluster",
    "Unlimited",
)  # fmt: skip
_ACCESS = ("Enabled", "Disabled", "SecuredByPerimeter")


class Workspaces(TrackedKind):
    """Microsoft.OperationalInsights/workspaces. `customerId` is given once and never changes."""

    type = WORKSPACE_TYPE
    actions = frozenset({"sharedkeys", "listkeys", "regeneratesharedkey", "purge"})
    read_only = frozenset({"provisioningState", "customerId", "createdDate", "modifiedDate"})

    def accept(
        self, call: Call, existing: Resource | None, document: dict[str, Any], location: str
    ) -> Resource:
        """See `TrackedKind.accept`."""
        if not _NAME.fullmatch(call.target.name):
            raise http_error(
                400,
                "InvalidWorkspaceName",
                "A workspace's name has 4 to 63 letters, digits and '-'; its first and last are no '-'.",
                target="name",
            )
        _check(document["properties"])
        if existing is None:
            return new_resource(call, document, location, unique_id=new_guid())
        return changed(call, existing, document)

    def put(self, call: Call) -> Answer:
        """See `TrackedKind.put`. A workspace that was deleted is recovered, and keeps what the body does not name."""
        require_scope(call)
        found = recover(call)
        if found is not None:
            sent = call.body.get("properties")
            properties = {**found.properties, **sent} if isinstance(sent, dict) else found.properties
            call.body = {**found.document, **call.body, "properties": properties}
        return super().put(call)

    def patch(self, call: Call) -> Answer:
        """PATCH of tags, identity and properties; what it does not name stays."""
        item = require(call)
        check_etag(call, item)
        check_tags(call.body)
        document = dict(item.document)
        for name, value in call.body.items():
            if name in READ_ONLY or name in ("location", "properties"):
                continue
            document[name] = value
        properties = call.body.get("properties") or {}
        if not isinstance(properties, dict):
            raise invalid("'properties' is an object.", "properties")
        sent = {name: value for name, value in properties.items() if name not in self.read_only}
        document["properties"] = _merged(item.properties, sent)
        _check(document["properties"])
        item = changed(call, item, document)
        store.save(call.connection, item)
        return answer(item, self.shown(call, item))

    def properties(self, call: Call, item: Resource) -> dict[str, Any]:
        """See `TrackedKind.properties`."""
        sent = item.properties
        properties: dict[str, Any] = {**_DEFAULTS, **{n: v for n, v in sent.items() if v is not None}}
        sku = sent.get("sku") if isinstance(sent.get("sku"), dict) else {}
        capping = sent.get("workspaceCapping")
        features = sent.get("features")
        return {
            **properties,
            "customerId": item.unique_id,
            "provisioningState": "Succeeded",
            "sku": {"lastSkuUpdate": iso(item.created), "name": _SKU, **(sku or {})},
            "features": {
                "legacy": 0,
                "searchVersion": 1,
                "enableLogAccessUsingOnlyResourcePermissions": True,
                **(features if isinstance(features, dict) else {}),
            },
            "workspaceCapping": {
                "dailyQuotaGb": -1.0,
                **(capping if isinstance(capping, dict) else {}),
                "dataIngestionStatus": "RespectQuota",
            },
            "createdDate": iso(item.created),
            "modifiedDate": iso(item.modified),
        }

    def post(self, call: Call) -> Answer:
        """POST `sharedKeys` or `listKeys`: both keys, made when first asked for; `regenerateSharedKey`: one anew.

        `purge` is refused by name.
        """
        item = require(call)
        if call.action == "purge":
            raise http_error(
                400,
                "OperationNotSupported",
                "Single rows cannot be purged. Shorten a table's totalRetentionInDays, which deletes rows by the day, "
                "or delete the table.",
            )
        customer_id = item.unique_id or ""
        keys = store.find_shared_keys(call.connection, customer_id)
        if keys is None or call.action == "regeneratesharedkey":
            keys = _new_keys(keys, call.body.get("keyType"))
            store.save_shared_keys(call.connection, customer_id, keys, call.now)
        return Answer(
            200,
            {"primarySharedKey": keys.primary, "secondarySharedKey": keys.secondary},
            {"Cache-Control": "no-store"},
        )

    def removed(self, call: Call, item: Resource) -> None:
        """See `TrackedKind.removed`. With `force=true` nothing is left to recover."""
        if call.query.get("force", "").lower() == "true":
            purge_workspace(call, item)
        else:
            remove_resource(call, item)


class Unused(Kind):
    """What a workspace can have in Azure and never has here: its list is empty, and nothing can be put."""

    def __init__(self, name: str, *, bare: bool = False) -> None:
        self.type = f"{WORKSPACE_TYPE}/{name}"
        self.bare_list = bare

    def list(self, call: Call) -> Answer:
        """GET: an empty list."""
        require_parent(call, WORKSPACE_TYPE)
        return Answer(200, [] if self.bare_list else {"value": []})


class ServiceTiers(Kind):
    """`{workspace}/availableServiceTiers`: the one SKU that workspaces have unless somebody names another."""

    type = f"{WORKSPACE_TYPE}/availableServiceTiers"
    bare_list = True

    def list(self, call: Call) -> Answer:
        """GET: an array."""
        workspace = require_parent(call, WORKSPACE_TYPE)
        tier = {
            "serviceTier": _SKU,
            "enabled": True,
            "minimumRetention": _LEAST_DAYS,
            "maximumRetention": _MOST_DAYS,
            "defaultRetention": _DEFAULTS["retentionInDays"],
            "capacityReservationLevel": None,
            "lastSkuUpdate": iso(workspace.created),
        }
        return Answer(200, [tier])


def unused_kinds() -> tuple[Kind, ...]:
    """The workspace's collections that tools list on the way."""
    names = ("usages", "managementGroups")
    return (*(Unused(name) for name in names), Unused("intelligencePacks", bare=True), ServiceTiers())


def _new_keys(before: SharedKeys | None, wanted: Any) -> SharedKeys:
    """Two new keys, or those before with one of them anew: `Primary` (default) or `Secondary`."""
    if before is None:
        return SharedKeys(_new_key(), _new_key())
    kind = one_of(wanted or "Primary", ("Primary", "Secondary"))
    if kind == "Primary":
        return SharedKeys(_new_key(), before.secondary)
    if kind == "Secondary":
        return SharedKeys(before.primary, _new_key())
    raise invalid("'keyType' is Primary or Secondary.", "keyType")


def _new_key() -> str:
    return base64.b64encode(os.urandom(64)).decode()


def _merged(old: Any, new: dict[str, Any]) -> dict[str, Any]:
    result = dict(old)
    for name, value in new.items():
        before = result.get(name)
        result[name] = {**before, **value} if isinstance(before, dict) and isinstance(value, dict) else value
    return result


def _check(properties: dict[str, Any]) -> None:
    days = properties.get("retentionInDays")
    if days is not None and (
        isinstance(days, bool) or not isinstance(days, int) or not _LEAST_DAYS <= days <= _MOST_DAYS
    ):
        raise http_error(
            400,
            "InvalidParameter",
            f"'RetentionInDays' property doesn't match the SKU limits: it is {_LEAST_DAYS} to {_MOST_DAYS} days.",
            target="properties.retentionInDays",
        )
    for name in ("sku", "features", "workspaceCapping"):
        if properties.get(name) is not None and not isinstance(properties[name], dict):
            raise invalid(f"'{name}' is an object.", f"properties.{name}")
    _choose(properties.get("sku") or {}, "name", _SKUS, "properties.sku")
    for name in ("publicNetworkAccessForIngestion", "publicNetworkAccessForQuery"):
        _choose(properties, name, _ACCESS, "properties")
    quota = (properties.get("workspaceCapping") or {}).get("dailyQuotaGb")
    if quota is not None and (isinstance(quota, bool) or not isinstance(quota, int | float) or quota < -1):
        raise http_error(
            400,
            "InvalidParameter",
            "'dailyQuotaGb' is a number of gigabytes; -1 is no quota.",
            target="properties.workspaceCapping.dailyQuotaGb",
        )


def _choose(values: dict[str, Any], name: str, known: tuple[str, ...], where: str) -> None:
    """Write a value as Azure does, whatever letter case it was sent in. Raises `HttpError` 400 for another."""
    if values.get(name) is None:
        return
    found = one_of(values[name], known)
    if found is None:
        message = f"'{name}' is one of {', '.join(known)}."
        raise http_error(400, "InvalidParameter", message, target=f"{where}.{name}")
    values[name] = found
