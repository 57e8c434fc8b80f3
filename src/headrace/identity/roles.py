"""Roles: what actions and data actions they give; the built-in ones by Azure's ids.

Custom roles are kept by `headrace.identity.definitions`; who has which role where, by
`headrace.identity.assignments`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, Protocol

import re2

DATA_ACTION_NAMES = ("Microsoft.Insights/Metrics/Write", "Microsoft.Insights/Telemetry/Write")
"""The actions that are data actions: sending metrics and logs."""

DATA_ACTIONS = frozenset(name.lower() for name in DATA_ACTION_NAMES)

Verdict = Literal["given", "withheld", "absent"]


@dataclass(frozen=True, slots=True)
class Permission:
    """One group of a role's patterns. They may hold `*` anywhere; case does not matter.

    `not_actions` take away from the `actions` beside them, not from another permission or role.
    """

    actions: tuple[str, ...] = ()
    not_actions: tuple[str, ...] = ()
    data_actions: tuple[str, ...] = ()
    not_data_actions: tuple[str, ...] = ()

    def verdict(self, action: str, *, data: bool = False) -> Verdict:
        """Whether the action (a data action with `data`) is given, given and taken away, or not there."""
        given, withheld = (
            (self.data_actions, self.not_data_actions) if data else (self.actions, self.not_actions)
        )
        if not _pattern(given).fullmatch(action):
            return "absent"
        return "withheld" if _pattern(withheld).fullmatch(action) else "given"

    def document(self) -> dict[str, list[str]]:
        """The permission as ARM shows it."""
        return {
            "actions": list(self.actions),
            "notActions": list(self.not_actions),
            "dataActions": list(self.data_actions),
            "notDataActions": list(self.not_data_actions),
        }


@dataclass(frozen=True, slots=True)
class Role:
    """A role definition."""

    id: str
    name: str
    description: str
    permissions: tuple[Permission, ...]
    built_in: bool = field(default=True, compare=False)
    assignable_scopes: tuple[str, ...] = field(default=("/",), compare=False)

    @property
    def type(self) -> str:
        """`BuiltInRole` or `CustomRole`."""
        return "BuiltInRole" if self.built_in else "CustomRole"

    def allows(self, action: str, *, data: bool = False) -> bool:
        """Whether the role gives `action` (a data action with `data`)."""
        return self.verdict(action, data=data) == "given"

    def verdict(self, action: str, *, data: bool = False) -> Verdict:
        """The best of what the permissions say."""
        found = {permission.verdict(action, data=data) for permission in self.permissions}
        if "given" in found:
            return "given"
        return "withheld" if "withheld" in found else "absent"


class _Pattern(Protocol):
    def fullmatch(self, text: str) -> object: ...


@lru_cache(maxsize=4096)
def _pattern(actions: tuple[str, ...]) -> _Pattern:
    # Custom roles are strangers' patterns: this engine takes time in proportion to the text, whatever they are.
    choices = [".*".join(re2.escape(part) for part in action.split("*")) for action in actions]
    compiled: _Pattern = re2.compile("(?is)" + ("|".join(choices) if choices else r"[^\x00-\x{10FFFF}]"))
    return compiled


def _built_in(
    identifier: str,
    name: str,
    description: str,
    *,
    actions: Iterable[str] = (),
    not_actions: Iterable[str] = (),
    data_actions: Iterable[str] = (),
) -> Role:
    permission = Permission(tuple(actions), tuple(not_actions), tuple(data_actions))
    return Role(identifier, name, description, (permission,))


OWNER = _built_in(
    "8e3af657-a8ff-443c-a75c-2fe8c4bcb635",
    "Owner",
    "Manages everything, access included, and reads all data; sends none.",
    actions=("*",),
)
CONTRIBUTOR = _built_in(
    "b24988ac-6180-42a0-ab88-20f7382dd24c",
    "Contributor",
    "Manages everything except access.",
    actions=("*",),
    not_actions=(
        "Microsoft.Authorization/*/Delete",
        "Microsoft.Authorization/*/Write",
        "Microsoft.Authorization/elevateAccess/Action",
    ),
)
READER = _built_in(
    "acdd72a7-3385-48ef-bd42-f606fba81ae7",
    "Reader",
    "Sees every resource and changes none.",
    actions=("*/read",),
)
MONITORING_METRICS_PUBLISHER = _built_in(
    "3913510d-42f4-4e42-8a64-420c390055eb",
    "Monitoring Metrics Publisher",
    "Sends logs through data collection rules.",
    actions=(
        "Microsoft.Insights/Register/Action",
        "Microsoft.Support/*",
        "Microsoft.Resources/subscriptions/resourceGroups/read",
    ),
    data_actions=DATA_ACTION_NAMES,
)
MONITORING_READER = _built_in(
    "43d0d8ad-25c7-4714-9337-8ba259a9fe05",
    "Monitoring Reader",
    "Reads all monitoring data and settings.",
    actions=("*/read", "Microsoft.OperationalInsights/workspaces/search/action", "Microsoft.Support/*"),
)
MONITORING_CONTRIBUTOR = _built_in(
    "749f88d5-cbae-40b8-bcfc-e573ddc772fa",
    "Monitoring Contributor",
    "Reads all monitoring data and changes monitoring settings.",
    actions=(
        "*/read",
        "Microsoft.Insights/DataCollectionEndpoints/*",
        "Microsoft.Insights/DataCollectionRules/*",
        "Microsoft.Insights/DataCollectionRuleAssociations/*",
        "Microsoft.Insights/DiagnosticSettings/*",
        "Microsoft.Insights/Metrics/*",
        "Microsoft.Insights/MetricDefinitions/*",
        "Microsoft.Insights/Register/Action",
        "Microsoft.OperationalInsights/workspaces/write",
        "Microsoft.OperationalInsights/workspaces/intelligencepacks/*",
        "Microsoft.OperationalInsights/workspaces/savedSearches/*",
        "Microsoft.OperationalInsights/workspaces/search/action",
        "Microsoft.OperationalInsights/workspaces/sharedKeys/action",
        "Microsoft.OperationalInsights/workspaces/storageinsightconfigs/*",
        "Microsoft.Support/*",
    ),
)
LOG_ANALYTICS_READER = _built_in(
    "73c42c96-874c-492b-b04d-ab87d138a893",
    "Log Analytics Reader",
    "Reads and searches all monitoring data.",
    actions=("*/read", "Microsoft.OperationalInsights/workspaces/search/action", "Microsoft.Support/*"),
    not_actions=("Microsoft.OperationalInsights/workspaces/sharedKeys/read",),
)
LOG_ANALYTICS_CONTRIBUTOR = _built_in(
    "92aaf0da-9dab-42b6-94a3-d43ce8d16293",
    "Log Analytics Contributor",
    "Reads all monitoring data; changes workspaces, tables and monitoring settings.",
    actions=(
        "*/read",
        "Microsoft.Insights/DataCollectionEndpoints/*",
        "Microsoft.Insights/DataCollectionRules/*",
        "Microsoft.Insights/DataCollectionRuleAssociations/*",
        "Microsoft.Insights/DiagnosticSettings/*",
        "Microsoft.OperationalInsights/*",
        "Microsoft.OperationsManagement/*",
        "Microsoft.Resources/deployments/*",
        "Microsoft.Resources/subscriptions/resourcegroups/deployments/*",
        "Microsoft.Support/*",
    ),
)
USER_ACCESS_ADMINISTRATOR = _built_in(
    "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9",
    "User Access Administrator",
    "Manages who has access to what.",
    actions=("*/read", "Microsoft.Authorization/*", "Microsoft.Support/*"),
)

BUILT_IN: dict[str, Role] = {
    role.id: role
    for role in (
        OWNER,
        CONTRIBUTOR,
        READER,
        USER_ACCESS_ADMINISTRATOR,
        MONITORING_METRICS_PUBLISHER,
        MONITORING_READER,
        MONITORING_CONTRIBUTOR,
        LOG_ANALYTICS_READER,
        LOG_ANALYTICS_CONTRIBUTOR,
    )
}


def find_role(name_or_id: str, roles: Mapping[str, Role] = BUILT_IN) -> Role | None:
    """A role of `roles` by its GUID, its name (any case) or a resource id that ends in its GUID."""
    wanted = name_or_id.rstrip("/").rpartition("/")[2].lower()
    known = roles.get(wanted)
    if known is not None:
        return known
    return next((role for role in roles.values() if role.name.lower() == name_or_id.lower()), None)


def is_data_action(action: str) -> bool:
    """Whether an action's name is that of a data action."""
    return action.lower() in DATA_ACTIONS


def role_definition_id(role_id: str, subscription: str | None = None) -> str:
    """The resource id of a role definition, inside a subscription when one is given."""
    root = f"/subscriptions/{subscription}" if subscription else ""
    return f"{root}/providers/Microsoft.Authorization/roleDefinitions/{role_id}"


def role_document(role: Role, subscription: str | None = None) -> dict[str, Any]:
    """A role as ARM shows it (`Microsoft.Authorization/roleDefinitions`)."""
    return {
        "id": role_definition_id(role.id, subscription),
        "name": role.id,
        "type": "Microsoft.Authorization/roleDefinitions",
        "properties": {
            "roleName": role.name,
            "type": role.type,
            "description": role.description,
            "assignableScopes": list(role.assignable_scopes),
            "permissions": [permission.document() for permission in role.permissions],
        },
    }
