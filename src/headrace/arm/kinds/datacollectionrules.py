"""Data collection rules. Mirrors Microsoft.Insights/dataCollectionRules.

A PUT is checked whole before anything changes: the document's structure, then the destinations, then output
tables and transforms by the injected validation. A change of what the rule does makes a new version of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from headrace.arm import store, views
from headrace.arm.ids import ASSOCIATION_TYPE, RULE_TYPE, parse_id
from headrace.arm.kinds.base import (
    answer,
    changed,
    find_for_put,
    new_resource,
    read_location,
    require_scope,
)
from headrace.arm.kinds.endpoints import find_endpoint, ingestion_address
from headrace.arm.kinds.linked import check_linked
from headrace.arm.kinds.tables import ensure_standard
from headrace.arm.kinds.tracked import TrackedKind, tracked_document
from headrace.arm.model import Answer, Call
from headrace.arm.store import Resource
from headrace.catalog import standard
from headrace.catalog.model import Catalog
from headrace.catalog.ruledocument import CUSTOM, canonical_kind
from headrace.catalog.rules import DataFlow, Rule, parse_rule
from headrace.errors import Problem, ProblemError
from headrace.ids import new_immutable_id
from headrace.store.database import change_number
from headrace.wire.problems import HttpError, http_error

ENDPOINTS_SINCE = "2023-03-11"


@dataclass(frozen=True, slots=True)
class Checked:
    """A rule that passed every check against the store at `change`."""

    change: int
    rule: Rule
    catalog: Catalog


def rule_invalid(problems: Sequence[Problem]) -> HttpError:
    """400 with every problem in `details`, in Azure's envelope."""
    return http_error(400, "InvalidPayload", "Data collection rule is invalid", details=tuple(problems))


class Rules(TrackedKind):
    """Microsoft.Insights/dataCollectionRules."""

    type = RULE_TYPE
    read_only = frozenset({"provisioningState", "immutableId", "endpoints", "metadata"})

    def prepare(self, call: Call) -> Checked | None:
        """Check a PUT ahead of its write transaction: compiling transforms takes a while."""
        if call.method != "PUT":
            return None
        require_scope(call)
        existing = find_for_put(call)
        document = tracked_document(call.body, self.read_only)
        return self._check(call, existing, document, read_location(call, existing), 0)

    def alone(self, call: Call) -> bool:
        """See `Kind.alone`: a rule that is only checked needs no transaction to write in."""
        return call.method == "PUT" and call.query.get("validateonly", "").lower() == "true"

    def put(self, call: Call) -> Answer:
        """PUT; with `validateOnly=true` the rule is checked and answered, and not stored."""
        if not self.alone(call):
            return super().put(call)
        checked = self.prepare(call)
        assert checked is not None
        existing = store.get(call.connection, call.target.key)
        document = tracked_document(call.body, self.read_only)
        item = self._made(call, existing, document, read_location(call, existing), checked)
        return answer(item, self.shown(call, item))

    def accept(
        self, call: Call, existing: Resource | None, document: dict[str, Any], location: str
    ) -> Resource:
        """See `TrackedKind.accept`."""
        checked = call.prepared
        before = change_number(call.connection) - 1
        if not isinstance(checked, Checked) or checked.change != before:
            checked = self._check(call, existing, document, location, 1)
        item = self._made(call, existing, document, location, checked)
        for flow in checked.rule.flows:
            for key in flow.workspaces:
                workspace = checked.catalog.by_resource_id.get(key)
                if workspace is not None and standard.is_standard(flow.table):
                    ensure_standard(call.connection, workspace.customer_id, flow.table, call.now)
        if existing is None or _behaviour(existing.document) != _behaviour(document):
            kept = {"location": location, **_behaviour(document)}
            store.add_rule_version(call.connection, item.unique_id or "", item.id.lower(), kept, call.now)
        return item

    def _made(
        self,
        call: Call,
        existing: Resource | None,
        document: dict[str, Any],
        location: str,
        checked: Checked,
    ) -> Resource:
        """The rule as it is stored; completes the document. Endpoints are for rules that began as Direct."""
        if isinstance(document.get("kind"), str):
            document["kind"] = canonical_kind(document["kind"])
        _fill_workspace_ids(document["properties"], checked.catalog)
        if existing is not None:
            return changed(call, existing, document)
        item = new_resource(call, document, location, unique_id=new_immutable_id("dcr"))
        return changed(call, item, document, state={"endpoints": self._is_direct(document)})

    def properties(self, call: Call, item: Resource) -> dict[str, Any]:
        """See `TrackedKind.properties`."""
        properties: dict[str, Any] = {"immutableId": item.unique_id, **item.properties}
        if item.state.get("endpoints") and call.version[:10] >= ENDPOINTS_SINCE:
            properties["endpoints"] = {"logsIngestion": ingestion_address(call, item.name)}
        return {**properties, "provisioningState": "Succeeded"}

    def delete(self, call: Call) -> Answer:
        """DELETE; with `deleteAssociations=true` its associations go too, else they forbid it."""
        with_associations = call.query.get("deleteassociations", "").lower() == "true"
        for association in associations_of(call, call.target.key):
            if not with_associations:
                raise http_error(
                    409,
                    "Conflict",
                    f"Data collection rule '{call.target.name}' has associations. Delete them first, or "
                    "give deleteAssociations=true.",
                )
            store.remove(call.connection, association.key)
        return super().delete(call)

    @staticmethod
    def _is_direct(document: dict[str, Any]) -> bool:
        return canonical_kind(document.get("kind")) == "Direct"

    def _check(
        self, call: Call, existing: Resource | None, document: dict[str, Any], location: str, pending: int
    ) -> Checked:
        immutable_id = (
            existing.unique_id if existing is not None and existing.unique_id else "dcr-" + "0" * 32
        )
        try:
            rule = parse_rule(document, immutable_id, 0, resource_id=call.target.id, limits=call.deps.limits)
        except ProblemError as error:
            raise rule_invalid(error.problems) from None
        wanted = {workspace for flow in rule.flows for workspace in flow.workspaces}
        # The change that a write is about to make has not happened yet for what is looked at here.
        change = change_number(call.connection) - pending
        catalog = views.load_catalog(call.connection, change, only=wanted)
        problems = [
            *_destination_problems(rule, catalog, location),
            *_eligibility_problems(rule),
            *_endpoint_problems(call, document, location),
        ]
        if not problems:
            check_linked(call, wanted)
            problems = list(call.deps.validate(rule, catalog))
        if problems:
            raise rule_invalid(problems)
        return Checked(change, rule, catalog)


def _behaviour(document: Any) -> dict[str, Any]:
    """What of a document decides what happens to rows; the rest may change without a new version."""
    return {"kind": document.get("kind"), "properties": document.get("properties")}


def _fill_workspace_ids(properties: dict[str, Any], catalog: Catalog) -> None:
    destinations: Any = properties.get("destinations")
    listed = destinations.get("logAnalytics") if isinstance(destinations, dict) else None
    if not isinstance(listed, list):
        return
    filled = []
    for item in listed:
        target = parse_id(str(item.get("workspaceResourceId"))) if isinstance(item, dict) else None
        workspace = catalog.by_resource_id.get(target.key) if target is not None else None
        filled.append({**item, "workspaceId": workspace.customer_id} if workspace is not None else item)
    properties["destinations"] = {**destinations, "logAnalytics": filled}


def _destination_problems(rule: Rule, catalog: Catalog, location: str) -> list[Problem]:
    problems = []
    for flow in rule.flows:
        for key in flow.workspaces:
            workspace = catalog.by_resource_id.get(key)
            if workspace is None:
                problems.append(_no_table(flow, f"There is no Log Analytics workspace '{key}'."))
            elif workspace.location != location:
                problems.append(
                    Problem(
                        "InvalidDestination",
                        f"Log Analytics workspace '{workspace.name}' is in location "
                        f"'{workspace.location}', the data collection rule in '{location}'.",
                        "properties.destinations.logAnalytics",
                        hint="A rule and the workspaces that it sends to are in one location.",
                    )
                )
    return list(dict.fromkeys(problems))


def _eligibility_problems(rule: Rule) -> list[Problem]:
    """Standard tables that Azure's feature list does not open to direct ingestion."""
    problems = []
    for flow in rule.flows:
        table = standard.find(flow.table)
        if table is not None and flow.streams[0].startswith(CUSTOM) and not table.takes_rows:
            hint = f"The standard table '{flow.table}' does not take direct ingestion; make a custom table."
            problems.append(_no_table(flow, hint))
    return problems


def _no_table(flow: DataFlow, hint: str) -> Problem:
    destination = flow.destinations[0] if flow.destinations else ""
    return Problem(
        "InvalidOutputTable",
        f"Table for output stream '{flow.output_stream}' is not available for destination '{destination}'.",
        flow.target,
        hint=hint,
    )


def _endpoint_problems(call: Call, document: dict[str, Any], location: str) -> list[Problem]:
    value = document["properties"].get("dataCollectionEndpointId")
    if value in (None, ""):
        return []
    target = "properties.dataCollectionEndpointId"
    code = "InvalidDataCollectionEndpoint"
    endpoint = find_endpoint(call, value) if isinstance(value, str) else None
    if endpoint is None:
        shown = value[:200] if isinstance(value, str) else ""
        hint = "Give the ARM id of a data collection endpoint, or leave it out."
        return [Problem(code, f"Data collection endpoint '{shown}' was not found.", target, hint=hint)]
    if endpoint.location == location:
        return []
    return [
        Problem(
            code,
            f"Data collection endpoint '{endpoint.name}' is in location '{endpoint.location}', the data "
            f"collection rule in '{location}'.",
            target,
            hint="A rule and its endpoint are in one location.",
        )
    ]


def associations_of(call: Call, key: str) -> list[Resource]:
    """The associations that name the rule or endpoint with this key."""
    return [
        item
        for item in store.select_page(call.connection, ASSOCIATION_TYPE)
        if key in (item.state.get("rule"), item.state.get("endpoint"))
    ]
