"""Data collection endpoints. Mirrors Microsoft.Insights/dataCollectionEndpoints."""

from __future__ import annotations

from typing import Any

from headrace.arm import store
from headrace.arm.ids import ENDPOINT_TYPE
from headrace.arm.kinds.base import changed, new_resource, one_of
from headrace.arm.kinds.tracked import TrackedKind
from headrace.arm.model import Call
from headrace.arm.store import Resource
from headrace.errors import Problem
from headrace.ids import new_immutable_id
from headrace.wire.problems import HttpError

_ACCESS = ("Enabled", "Disabled", "SecuredByPerimeter")


def ingestion_address(call: Call, name: str) -> str:
    """The address that logs for an endpoint or Direct rule of this name are sent to. Never stored."""
    template = call.deps.endpoint_template
    if not template:
        return call.base
    return template.replace("{base}", call.base).replace("{name}", name.lower())


class Endpoints(TrackedKind):
    """Microsoft.Insights/dataCollectionEndpoints."""

    type = ENDPOINT_TYPE
    read_only = frozenset(
        {
            "provisioningState",
            "immutableId",
            "configurationAccess",
            "logsIngestion",
            "metricsIngestion",
            "privateLinkScopedResources",
            "failoverConfiguration",
            "metadata",
        }
    )

    def accept(
        self, call: Call, existing: Resource | None, document: dict[str, Any], location: str
    ) -> Resource:
        """See `TrackedKind.accept`."""
        acls = document["properties"].get("networkAcls")
        access = acls.get("publicNetworkAccess") if isinstance(acls, dict) else None
        known = one_of(access, _ACCESS)
        if known is not None:
            document["properties"]["networkAcls"] = {**acls, "publicNetworkAccess": known}
        elif access is not None:
            target = "properties.networkAcls.publicNetworkAccess"
            message = f"'publicNetworkAccess' is not {str(access)[:40]!r} but one of: {', '.join(_ACCESS)}."
            cause = Problem("InvalidNetworkAcls", message, target)
            invalid = "Data collection endpoint is invalid"
            raise HttpError(400, Problem("InvalidPayload", invalid, target, details=(cause,)))
        if existing is None:
            return new_resource(call, document, location, unique_id=new_immutable_id("dce"))
        return changed(call, existing, document)

    def properties(self, call: Call, item: Resource) -> dict[str, Any]:
        """See `TrackedKind.properties`."""
        address = ingestion_address(call, item.name)
        return {
            "networkAcls": {"publicNetworkAccess": "Enabled"},
            **item.properties,
            "immutableId": item.unique_id,
            "configurationAccess": {"endpoint": call.base},
            "logsIngestion": {"endpoint": address},
            # Nobody answers metrics there; templates hand the address on.
            "metricsIngestion": {"endpoint": address},
            "provisioningState": "Succeeded",
        }


def find_endpoint(call: Call, resource_id: str) -> Resource | None:
    """The endpoint of this id, or None."""
    found = store.get(call.connection, resource_id.rstrip("/").lower())
    return found if found is not None and found.type == ENDPOINT_TYPE else None
