"""Diagnostic settings, extensions of rules and workspaces. Mirrors Microsoft.Insights/diagnosticSettings.

A rule's category `LogErrors` says where its error rows (`DCRLogErrors`) go: to the setting's workspace, or nowhere
when it is switched off. Without a setting they are where the rule's data flows send to. A workspace's category `Audit`
says where the queries that it is asked are noted (`LAQueryLogs`); without a setting nowhere. All else is kept only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.arm import store
from headrace.arm.ids import (
    DIAGNOSTIC_CATEGORY_TYPE,
    DIAGNOSTIC_TYPE,
    RULE_TYPE,
    WORKSPACE_TYPE,
    Target,
    parse_id,
)
from headrace.arm.kinds.base import Kind, clean, find_for_put, invalid, not_found, save_put
from headrace.arm.kinds.linked import check_linked
from headrace.arm.kinds.scopes import ProxyKind, require_scope_resource
from headrace.arm.kinds.tables import ensure_standard
from headrace.arm.model import Answer, Call
from headrace.arm.store import Resource
from headrace.wire.problems import http_error

ERRORS = "LogErrors"
TROUBLESHOOTING = "LogTroubleshooting"
"""Azure's second category of rules: a setting may have it, and nothing is done about it."""
AUDIT = "Audit"
QUERY_LOGS = "LAQueryLogs"
MAX_SETTINGS = 5
_SINKS = ("workspaceId", "storageAccountId", "eventHubAuthorizationRuleId", "marketplacePartnerId")
_CATEGORIES: Mapping[str, Mapping[str, str]] = {
    RULE_TYPE: {ERRORS: "Logs", TROUBLESHOOTING: "Logs", "AllMetrics": "Metrics"},
    WORKSPACE_TYPE: {AUDIT: "Logs", "AllMetrics": "Metrics"},
}
_GROUPS = ("allLogs", "audit")
_IN_GROUPS: Mapping[str, Sequence[str]] = {ERRORS: ("allLogs",), AUDIT: _GROUPS}
_STATES: Mapping[str, str] = {ERRORS: "errors", AUDIT: "audit"}
"""What a setting's state calls a category that something is done about."""


@dataclass(frozen=True, slots=True)
class _Switch:
    """One entry of `logs` or `metrics`."""

    name: str
    enabled: bool
    group: bool


class DiagnosticSettings(ProxyKind):
    """Microsoft.Insights/diagnosticSettings."""

    type = DIAGNOSTIC_TYPE

    def check_scope(self, call: Call) -> None:
        """See `ProxyKind.check_scope`."""
        _categories(call)

    def list(self, call: Call) -> Answer:
        """GET of a resource's settings."""
        _categories(call)
        return Answer(200, {"value": [self.shown(item) for item in _settings(call)]})

    def put(self, call: Call) -> Answer:
        """PUT: 200, whether it is new or replaces another."""
        categories = _categories(call)
        existing = find_for_put(call)
        document = clean(call.body)
        properties = document["properties"]
        switches = [
            *_switches(properties, "logs", [name for name, kind in categories.items() if kind == "Logs"]),
            *_switches(
                properties, "metrics", [name for name, kind in categories.items() if kind == "Metrics"]
            ),
        ]
        workspace = _workspace(call, properties)
        others = [item for item in _settings(call) if item.key != call.target.key]
        if len(others) >= MAX_SETTINGS:
            raise http_error(
                409, "Conflict", f"A resource has at most {MAX_SETTINGS} diagnostic settings; it has them."
            )
        state: dict[str, Any] = {"workspace": workspace}
        for category, name in _STATES.items():
            state[name] = _wanted(switches, category) if category in categories else None
            _check_others(others, state, category)
        if state["audit"] and workspace is not None:
            _make_query_logs(call, workspace)
        item = save_put(call, existing, document, state=state)
        return Answer(200, self.shown(item))


class DiagnosticCategories(Kind):
    """Microsoft.Insights/diagnosticSettingsCategories: what a setting of the resource may name."""

    type = DIAGNOSTIC_CATEGORY_TYPE

    def list(self, call: Call) -> Answer:
        """GET of a resource's categories."""
        categories = _categories(call)
        return Answer(200, {"value": [_category(call, name, kind) for name, kind in categories.items()]})

    def get(self, call: Call) -> Answer:
        """GET of one category."""
        for name, kind in _categories(call).items():
            if name.lower() == call.target.name.lower():
                return Answer(200, _category(call, name, kind))
        raise not_found(call)


def _categories(call: Call) -> Mapping[str, str]:
    """The categories of the resource that the setting is of. Raises `HttpError` 404, or 400 when it has none."""
    scope: Target | None = require_scope_resource(call)
    categories = _CATEGORIES.get(scope.type) if scope is not None else None
    if categories is None:
        shown = scope.type if scope is not None else "subscriptions"
        raise http_error(
            400,
            "ResourceTypeNotSupported",
            f"The resource type '{shown}' does not support diagnostic settings: {' and '.join(_CATEGORIES)} do.",
        )
    return categories


def _settings(call: Call) -> list[Resource]:
    return store.select_page(call.connection, DIAGNOSTIC_TYPE, parent_key=call.target.scope.lower())


def _category(call: Call, name: str, kind: str) -> dict[str, Any]:
    return {
        "id": f"{call.target.scope}/providers/{DIAGNOSTIC_CATEGORY_TYPE}/{name}",
        "name": name,
        "type": DIAGNOSTIC_CATEGORY_TYPE,
        "properties": {"categoryType": kind, "categoryGroups": ["allLogs"] if kind == "Logs" else []},
    }


def _switches(properties: Mapping[str, Any], field: str, known: Sequence[str]) -> Iterator[_Switch]:
    value = properties.get(field) or []
    target = f"properties.{field}"
    if not isinstance(value, list):
        raise invalid(f"'{field}' is a list of {{category, enabled}}.", target)
    for place, item in enumerate(value):
        where = f"{target}[{place}]"
        if not isinstance(item, dict) or not isinstance(item.get("enabled"), bool):
            raise invalid("An entry has a 'category' and 'enabled', true or false.", where)
        group = item.get("categoryGroup") is not None
        name = item.get("categoryGroup") if group else item.get("category")
        choices = _GROUPS if group and field == "logs" else known
        found = next((one for one in choices if isinstance(name, str) and one.lower() == name.lower()), None)
        if found is None:
            shown = name[:100] if isinstance(name, str) else ""
            raise http_error(
                400,
                "BadRequest",
                f"Category{' group' if group else ''} '{shown}' is not supported. There are: {', '.join(choices)}.",
                target=where,
            )
        yield _Switch(found, item["enabled"], group)


def _wanted(switches: Sequence[_Switch], category: str) -> bool | None:
    """Whether the setting wants a category's rows; None when it does not say."""
    groups = _IN_GROUPS[category]
    said = [one.enabled for one in switches if one.name in groups or (not one.group and one.name == category)]
    return any(said) if said else None


def _make_query_logs(call: Call, workspace: str) -> None:
    """The table is there from now on, before the first query is noted."""
    there = store.get(call.connection, workspace)
    assert there is not None and there.unique_id is not None
    ensure_standard(call.connection, there.unique_id, QUERY_LOGS, call.deps.clock.now())


def _workspace(call: Call, properties: Mapping[str, Any]) -> str | None:
    """The key of the setting's workspace, if it names one. Raises `HttpError` when it has no sink, or a wrong one."""
    if not any(properties.get(name) for name in _SINKS):
        raise http_error(
            400,
            "BadRequest",
            f"A diagnostic setting needs a destination: one of {', '.join(_SINKS)}.",
            target="properties",
        )
    value = properties.get("workspaceId")
    if value in (None, ""):
        return None
    target = parse_id(value) if isinstance(value, str) else None
    if target is None or target.type != WORKSPACE_TYPE or not store.exists(call.connection, target.key):
        raise http_error(
            400,
            "BadRequest",
            "'workspaceId' is not the id of a Log Analytics workspace that there is.",
            target="properties.workspaceId",
        )
    check_linked(call, [target.key])
    return target.key


def _check_others(others: Sequence[Resource], state: Mapping[str, Any], category: str) -> None:
    name = _STATES[category]
    for item in others:
        same = item.state.get("workspace") == state["workspace"] is not None
        if same and state[name] and item.state.get(name):
            raise http_error(
                409,
                "Conflict",
                f"Data sink '{state['workspace']}' is already used in diagnostic setting '{item.name}' for category "
                f"'{category}'. Data sinks can't be reused in different settings on the same category for the same "
                "resource.",
            )
