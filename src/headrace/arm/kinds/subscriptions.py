"""Subscriptions, their locations, and the tenant. Mirrors Microsoft.Resources.

A subscription is put into the store at the first start; ordinary clients only read it.
"""

from __future__ import annotations

import re
from typing import Any

from headrace.arm import store
from headrace.arm.ids import SUBSCRIPTION_TYPE
from headrace.arm.kinds.base import (
    Kind,
    check_tags,
    find_for_put,
    invalid,
    require,
    save_put,
)
from headrace.arm.model import Answer, Call
from headrace.arm.store import Resource
from headrace.identity.assignments import AssignmentFilter, list_assignments

_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def subscription_document(item: Resource, tenant: str) -> dict[str, Any]:
    """A subscription as clients read it."""
    name = item.document.get("displayName")
    return {
        "id": item.id,
        "authorizationSource": "RoleBased",
        "managedByTenants": [],
        "tags": item.document.get("tags") or {},
        "subscriptionId": item.subscription,
        "tenantId": tenant,
        "displayName": name if isinstance(name, str) else item.subscription,
        "state": "Enabled",
        "subscriptionPolicies": {
            "locationPlacementId": "Public_2014-09-01",
            "quotaId": "PayAsYouGo_2014-09-01",
            "spendingLimit": "Off",
        },
    }


class Subscriptions(Kind):
    """Microsoft.Resources/subscriptions."""

    type = SUBSCRIPTION_TYPE

    def get(self, call: Call) -> Answer:
        """GET of a subscription."""
        return Answer(200, subscription_document(require(call), call.caller.tenant))

    def list(self, call: Call) -> Answer:
        """GET of the subscriptions in which the caller, or a group of its, has any role, be it on one resource only."""
        caller = call.caller
        scopes = [
            assignment.key
            for holder in (caller.object_id, *caller.groups)
            for assignment in list_assignments(call.connection, "/", AssignmentFilter(principal_id=holder))
        ]
        shown = [
            subscription_document(item, call.caller.tenant)
            for item in store.select_page(call.connection, self.type)
            if any(scope in ("", item.key) or scope.startswith(f"{item.key}/") for scope in scopes)
        ]
        return Answer(200, {"value": shown, "count": {"type": "Total", "value": len(shown)}})

    def put(self, call: Call) -> Answer:
        """PUT of a subscription: for principals with a role at the root. Not part of Azure's API."""
        if not _GUID.fullmatch(call.target.name):
            raise invalid("A subscription's id is a GUID.", "subscriptionId")
        existing = find_for_put(call)
        check_tags(call.body)
        document: dict[str, Any] = {
            name: call.body[name] for name in ("displayName", "tags") if name in call.body
        }
        if not isinstance(document.get("displayName", ""), str):
            raise invalid("'displayName' is a text.", "displayName")
        item = save_put(call, existing, document)
        status = 201 if existing is None else 200
        return Answer(status, subscription_document(item, call.caller.tenant))


class Tenants(Kind):
    """Microsoft.Resources/tenants: the one tenant of this server."""

    type = "Microsoft.Resources/tenants"

    def list(self, call: Call) -> Answer:
        """GET of the tenant."""
        tenant = call.caller.tenant
        entry = {
            "id": f"/tenants/{tenant}",
            "tenantId": tenant,
            "tenantCategory": "Home",
            "displayName": "Headrace",
        }
        return Answer(200, {"value": [entry]})


class Locations(Kind):
    """The locations of a subscription: those in use, and `local`."""

    type = "Microsoft.Resources/locations"

    def list(self, call: Call) -> Answer:
        """GET of the locations."""
        return Answer(
            200,
            {
                "value": [
                    {
                        "id": f"{call.target.scope}/locations/{name}",
                        "name": name,
                        "displayName": name,
                        "regionalDisplayName": name,
                        "type": "Region",
                    }
                    for name in locations_in_use(call)
                ]
            },
        )


def locations_in_use(call: Call) -> list[str]:
    """The names of the locations that some resource is in, and `local`."""
    return sorted(store.locations(call.connection) | {"local"})
