"""Built-in roles: what actions and data actions they give, by Azure's ids.

Who has which role where is in `headrace.identity.assignments`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class Role:
    """A role definition. Patterns may hold `*` anywhere; case does not matter."""

    id: str
    name: str
    description: str
    actions: tuple[str, ...] = ()
    not_actions: tuple[str, ...] = ()
    data_actions: tuple[str, ...] = ()
    not_data_actions: tuple[str, ...] = ()
    built_in: bool = field(default=True, compare=False)

    def allows(self, action: str, *, data: bool = False) -> bool:
        """Whether the role gives `action` (a data action with `data`)."""
        given, withheld = self._data if data else self._control
        return given.fullmatch(action) is not None and withheld.fullmatch(action) is None

    @cached_property
    def _control(self) -> tuple[re.Pattern[str], re.Pattern[str]]:
        return _pattern(self.actions), _pattern(self.not_actions)

    @cached_property
    def _data(self) -> tuple[re.Pattern[str], re.Pattern[str]]:
        return _pattern(self.data_actions), _pattern(self.not_data_actions)


def _pattern(actions: Iterable[str]) -> re.Pattern[str]:
    choices = [".*".join(re.escape(part) for part in action.split("*")) for action in actions]
    return re.compile("|".join(choices) if choices else r"(?!)", re.IGNORECASE | re.DOTALL)


OWNER = Role(
    "8e3af657-a8ff-443c-a75c-2fe8c4bcb635",
    "Owner",
    "Manages everything, access included, and reads all data; sends none.",
    actions=("*",),
)
CONTRIBUTOR = Role(
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
READER = Role(
    "acdd72a7-3385-48ef-bd42-f606fba81ae7",
    "Reader",
    "Sees every resource and changes none.",
    actions=("*/read",),
)
MONITORING_METRICS_PUBLISHER = Role(
    "3913510d-42f4-4e42-8a64-420c390055eb",
    "Monitoring Metrics Publisher",
    "Sends logs through data collection rules.",
    actions=(
        "Microsoft.Insights/Register/Action",
        "Microsoft.Support/*",
        "Microsoft.Resources/subscriptions/resourceGroups/read",
    ),
    data_actions=("Microsoft.Insights/Metrics/Write", "Microsoft.Insights/Telemetry/Write"),
)
MONITORING_READER = Role(
    "43d0d8ad-25c7-4714-9337-8ba259a9fe05",
    "Monitoring Reader",
    "Reads all monitoring data and settings.",
    actions=("*/read", "Microsoft.OperationalInsights/workspaces/search/action", "Microsoft.Support/*"),
)
MONITORING_CONTRIBUTOR = Role(
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
LOG_ANALYTICS_READER = Role(
    "73c42c96-874c-492b-b04d-ab87d138a893",
    "Log Analytics Reader",
    "Reads and searches all monitoring data.",
    actions=("*/read", "Microsoft.OperationalInsights/workspaces/search/action", "Microsoft.Support/*"),
    not_actions=("Microsoft.OperationalInsights/workspaces/sharedKeys/read",),
)
LOG_ANALYTICS_CONTRIBUTOR = Role(
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
USER_ACCESS_ADMINISTRATOR = Role(
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


def find_role(name_or_id: str) -> Role | None:
    """A built-in role by its GUID, its name (any case) or a resource id that ends in its GUID."""
    wanted = name_or_id.rstrip("/").rpartition("/")[2].lower()
    known = BUILT_IN.get(wanted)
    if known is not None:
        return known
    return next((role for role in BUILT_IN.values() if role.name.lower() == name_or_id.lower()), None)


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
            "type": "BuiltInRole" if role.built_in else "CustomRole",
            "description": role.description,
            "assignableScopes": ["/"],
            "permissions": [
                {
                    "actions": list(role.actions),
                    "notActions": list(role.not_actions),
                    "dataActions": list(role.data_actions),
                    "notDataActions": list(role.not_data_actions),
                }
            ],
        },
    }
