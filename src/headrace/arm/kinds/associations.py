"""Associations of rules and endpoints with resources: Microsoft.Insights/dataCollectionRuleAssociations.

Direct ingestion does not need them; they are kept for the tools that make them.
"""

from __future__ import annotations

from typing import Any

from headrace.arm import store
from headrace.arm.ids import ASSOCIATION_TYPE, ENDPOINT_TYPE, RULE_TYPE
from headrace.arm.kinds.base import (
    Kind,
    answer,
    clean,
    find_for_put,
    render,
    require_scope,
    save_put,
)
from headrace.arm.kinds.datacollectionrules import associations_of
from headrace.arm.kinds.scopes import ProxyKind
from headrace.arm.model import Answer, Call
from headrace.arm.store import Resource
from headrace.wire.problems import HttpError, http_error

FOR_ENDPOINTS = "configurationAccessEndpoint"


class Associations(ProxyKind):
    """Microsoft.Insights/dataCollectionRuleAssociations, an extension of any resource."""

    type = ASSOCIATION_TYPE

    def check_scope(self, call: Call) -> None:
        """See `ProxyKind.check_scope`: the resource may be one that is not kept here."""
        require_scope(call)

    def shown(self, item: Resource) -> dict[str, Any]:
        """See `ProxyKind.shown`."""
        return _shown(item)

    def list(self, call: Call) -> Answer:
        """GET of a resource's associations."""
        require_scope(call)
        items = store.select_page(call.connection, self.type, parent_key=call.target.parent_id.lower())
        return Answer(200, {"value": [_shown(item) for item in items]})

    def put(self, call: Call) -> Answer:
        """PUT: 201 when it is new."""
        require_scope(call)
        existing = find_for_put(call)
        document = clean(call.body, ("provisioningState", "metadata"))
        state = _state(call, document["properties"])
        item = save_put(call, existing, document, state=state)
        return answer(item, _shown(item), 201 if existing is None else 200)


class AssociationsOf(Kind):
    """`{rule or endpoint}/associations`."""

    def __init__(self, owner: str) -> None:
        self.type = f"{owner}/associations"

    def list(self, call: Call) -> Answer:
        """GET of the associations that name the rule or endpoint."""
        require_scope(call)
        items = associations_of(call, call.target.parent_id.lower())
        return Answer(200, {"value": [_shown(item) for item in items]})


def _shown(item: Resource) -> dict[str, Any]:
    properties = {**item.properties, "provisioningState": "Succeeded"}
    return render(item, properties, location=False)


def _state(call: Call, properties: dict[str, Any]) -> dict[str, Any]:
    rule, endpoint = properties.get("dataCollectionRuleId"), properties.get("dataCollectionEndpointId")
    if (rule is None) == (endpoint is None):
        raise _invalid("An association names one of dataCollectionRuleId and dataCollectionEndpointId.")
    name = call.target.name.lower() == FOR_ENDPOINTS.lower()
    if name != (endpoint is not None):
        raise _invalid(f"The association with an endpoint, and no other, has the name '{FOR_ENDPOINTS}'.")
    wanted, kind = (rule, RULE_TYPE) if rule is not None else (endpoint, ENDPOINT_TYPE)
    key = wanted.rstrip("/").lower() if isinstance(wanted, str) else ""
    found = store.get(call.connection, key)
    if found is None or found.type != kind:
        raise _invalid(f"'{kind}' with the id '{key[:200]}' was not found.")
    return {"rule": key} if rule is not None else {"endpoint": key}


def _invalid(message: str) -> HttpError:
    return http_error(400, "InvalidPayload", f"Data collection rule association is invalid. {message}")
