"""ARM resource ids: read from a request's path in any letter case, written in Azure's.

A path is a scope (`/subscriptions/{id}`, and then perhaps `/resourceGroups/{name}`, or nothing) and behind it
any number of `/providers/{namespace}/{type}/{name}/{type}/{name}...`; the last of these is what a call is
about, and everything before it the scope that it stands in. Doubled slashes count as one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from headrace.wire.problems import http_error

RESOURCES = "Microsoft.Resources"
SUBSCRIPTION_TYPE = "Microsoft.Resources/subscriptions"
GROUP_TYPE = "Microsoft.Resources/subscriptions/resourceGroups"
WORKSPACE_TYPE = "Microsoft.OperationalInsights/workspaces"
DELETED_WORKSPACE_TYPE = "Microsoft.OperationalInsights/deletedWorkspaces"
TABLE_TYPE = "Microsoft.OperationalInsights/workspaces/tables"
SAVED_SEARCH_TYPE = "Microsoft.OperationalInsights/workspaces/savedSearches"
RULE_TYPE = "Microsoft.Insights/dataCollectionRules"
ENDPOINT_TYPE = "Microsoft.Insights/dataCollectionEndpoints"
ASSOCIATION_TYPE = "Microsoft.Insights/dataCollectionRuleAssociations"
ASSIGNMENT_TYPE = "Microsoft.Authorization/roleAssignments"
DEFINITION_TYPE = "Microsoft.Authorization/roleDefinitions"
LOCK_TYPE = "Microsoft.Authorization/locks"
PERMISSION_TYPE = "Microsoft.Authorization/permissions"
CHECK_ACCESS_TYPE = "Microsoft.Authorization/checkAccess"
PROVIDER_OPERATION_TYPE = "Microsoft.Authorization/providerOperations"
TAGS_TYPE = "Microsoft.Resources/tags"
PROVIDER_TYPE = "Microsoft.Resources/providers"
DEPLOYMENT_TYPE = "Microsoft.Resources/deployments"
DIAGNOSTIC_TYPE = "Microsoft.Insights/diagnosticSettings"
DIAGNOSTIC_CATEGORY_TYPE = "Microsoft.Insights/diagnosticSettingsCategories"
EVENT_TYPE = "Microsoft.Insights/eventtypes/values"
METRIC_TYPE = "Microsoft.Insights/metrics"
METRIC_DEFINITION_TYPE = "Microsoft.Insights/metricDefinitions"
METRIC_NAMESPACE_TYPE = "Microsoft.Insights/metricNamespaces"
METRIC_BATCH_TYPE = f"{RESOURCES}/metrics:getbatch"
ASKED_TYPES = frozenset({CHECK_ACCESS_TYPE, METRIC_TYPE, METRIC_BATCH_TYPE})
"""Types whose collections are asked by POST, too, which changes nothing."""
SOLUTION_TYPE = "Microsoft.OperationsManagement/solutions"
KEPT_IN_WORKSPACES = tuple(
    f"{WORKSPACE_TYPE}/{name}"
    for name in (
        "linkedServices",
        "linkedStorageAccounts",
        "dataSources",
        "dataExports",
        "storageInsightConfigs",
    )
)
"""What of a workspace is kept as documents and does nothing."""
SENTINEL_TYPES = tuple(
    f"Microsoft.SecurityInsights/{name}"
    for name in (
        "alertRules", "automationRules", "contentPackages", "contentTemplates", "dataConnectorDefinitions",
        "dataConnectors", "metadata", "onboardingStates", "settings", "sourcecontrols", "watchlists",
    )
)  # fmt: skip
"""Microsoft Sentinel's resources in a workspace: kept as documents."""

NEVER_ANY_TYPES = (
    "Microsoft.Authorization/denyAssignments",
    "Microsoft.Authorization/classicAdministrators",
    "Microsoft.OperationalInsights/clusters",
    "Microsoft.OperationalInsights/queryPacks",
)
"""What a scope can have in Azure and never has here; tools list it on their way."""

_KNOWN = (
    WORKSPACE_TYPE,
    TABLE_TYPE,
    SAVED_SEARCH_TYPE,
    RULE_TYPE,
    ENDPOINT_TYPE,
    ASSOCIATION_TYPE,
    ASSIGNMENT_TYPE,
    DEFINITION_TYPE,
    LOCK_TYPE,
    PERMISSION_TYPE,
    CHECK_ACCESS_TYPE,
    PROVIDER_OPERATION_TYPE,
    *NEVER_ANY_TYPES,
    TAGS_TYPE,
    DEPLOYMENT_TYPE,
    f"{DEPLOYMENT_TYPE}/operations",
    f"{DEPLOYMENT_TYPE}/operationStatuses",
    DIAGNOSTIC_TYPE,
    DIAGNOSTIC_CATEGORY_TYPE,
    EVENT_TYPE,
    METRIC_TYPE,
    METRIC_DEFINITION_TYPE,
    METRIC_NAMESPACE_TYPE,
    *KEPT_IN_WORKSPACES,
    *SENTINEL_TYPES,
    SOLUTION_TYPE,
    f"{WORKSPACE_TYPE}/intelligencePacks",
    f"{WORKSPACE_TYPE}/usages",
    f"{WORKSPACE_TYPE}/availableServiceTiers",
    f"{WORKSPACE_TYPE}/managementGroups",
    DELETED_WORKSPACE_TYPE,
    GROUP_TYPE,
)
_BARE = frozenset(
    {"subscriptions", "tenants", "providers", "locations", "resources", "tagnames", "metrics:getbatch"}
)
"""Types of Microsoft.Resources, lower-case, whose paths leave out its name: no resource has two paths."""
_CANONICAL = {known.lower(): known for known in _KNOWN}
_NAMESPACES = {known.partition("/")[0].lower(): known.partition("/")[0] for known in _KNOWN}

MAX_PATH = 4096
MAX_SEGMENT = 260


@dataclass(frozen=True, slots=True)
class Target:
    """What a path names: a resource, a collection (one more type than names), or a scope.

    `scope` is the canonical id of what it stands in, `""` for the tenant. `names` are as sent.
    """

    scope: str
    namespace: str
    types: tuple[str, ...]
    names: tuple[str, ...]
    subscription: str | None
    group: str | None

    @property
    def type(self) -> str:
        """`Microsoft.OperationalInsights/workspaces/tables`."""
        return "/".join((self.namespace, *self.types))

    @property
    def is_collection(self) -> bool:
        """Whether the path ends in a type and not in a name."""
        return len(self.types) > len(self.names)

    @property
    def name(self) -> str:
        """The resource's own name, the last one."""
        return self.names[-1]

    @property
    def id(self) -> str:
        """The canonical id of the resource or collection."""
        if self.namespace == RESOURCES and self.types == ("subscriptions",):
            return f"/subscriptions/{self.names[0]}" if self.names else "/subscriptions"
        if self.type == GROUP_TYPE:
            parts = ["/subscriptions", self.names[0], "resourceGroups", *self.names[1:]]
            return "/".join(parts)
        if self.namespace == RESOURCES and self.types[0] in _BARE:
            return "/".join([self.scope, self.types[0], *self.names])
        return f"{self.scope}/providers/{self.short}"

    @property
    def group_key(self) -> str | None:
        """The key of the resource group that it stands in, if it stands in one."""
        return (
            f"/subscriptions/{self.subscription}/resourcegroups/{self.group}".lower() if self.group else None
        )

    @property
    def key(self) -> str:
        """The id as it is looked up by. Only table names are case-sensitive."""
        return make_key(self.id, self.type)

    @property
    def parent_id(self) -> str:
        """The id of the resource that a nested resource or collection belongs to, else the scope."""
        if self.namespace == RESOURCES and self.types[0] == "providers":
            return self.id
        if len(self.types) < 2 or self.types[0] == "subscriptions":
            return self.scope
        parts = [self.scope, "providers", self.namespace]
        for type_name, name in zip(self.types[:-1], self.names, strict=False):
            parts += [type_name, name]
        return "/".join(parts)

    @property
    def short(self) -> str:
        """The resource as ARM's messages name it: `Microsoft.Insights/dataCollectionRules/{name}`."""
        parts = [self.namespace]
        for place, type_name in enumerate(self.types):
            parts.append(type_name)
            if place < len(self.names):
                parts.append(self.names[place])
        return "/".join(parts)


def make_key(resource_id: str, type_name: str) -> str:
    """A resource id as it is looked up by: lower-case, but for a table's own name."""
    if type_name != TABLE_TYPE:
        return resource_id.lower()
    head, _, name = resource_id.rpartition("/")
    return f"{head.lower()}/{name}"


def is_arm_path(path: str) -> bool:
    """Whether a request's path belongs to the control plane."""
    first = next((part for part in path.split("/") if part), "").lower()
    return first in ("subscriptions", "providers", "tenants")


def split_path(raw_path: bytes | str) -> list[str]:
    """The decoded segments of a path as it stands on the request line, empty ones left out.

    Raises `HttpError` 400 for what is no path of any resource: over-long, not UTF-8, or with segments that
    hold slashes or control characters when decoded.
    """
    text = raw_path.decode("latin-1") if isinstance(raw_path, bytes) else raw_path
    if len(text) > MAX_PATH:
        raise http_error(400, "InvalidRequestUri", f"The path has more than {MAX_PATH} characters.")
    segments = []
    for part in text.partition("?")[0].split("/"):
        if not part:
            continue
        try:
            segment = unquote_to_bytes(part).decode("utf-8")
        except UnicodeError:
            raise http_error(400, "InvalidRequestUri", "The path is not UTF-8.") from None
        if not segment.isprintable() or any(c in segment for c in "/\\?#%") or segment in (".", ".."):
            raise http_error(
                400, "InvalidRequestUri", "A segment of the path has a character that no resource name has."
            )
        if len(segment) > MAX_SEGMENT:
            raise http_error(
                400, "InvalidRequestUri", f"A path segment has more than {MAX_SEGMENT} characters."
            )
        segments.append(segment)
    return segments


def parse_path(raw_path: bytes | str) -> Target:
    """What a request's path names. Raises `HttpError` 404 when it has no form that ARM knows."""
    target = _parse(split_path(raw_path))
    if target is None:
        raise http_error(
            404,
            "InvalidRequestUri",
            "No resource has such a path. It has the form /subscriptions/{id}/resourceGroups/{name}/"
            "providers/{namespace}/{type}/{name}.",
        )
    return target


def parse_id(resource_id: str) -> Target | None:
    """What a resource id in a document names; None when it is not an id of a resource or scope."""
    if not resource_id.startswith("/") or len(resource_id) > MAX_PATH:
        return None
    return _parse([part for part in resource_id.split("/") if part])


def _parse(segments: Sequence[str]) -> Target | None:
    if not segments:
        return None
    lowered = [segment.lower() for segment in segments]
    subscription = group = None
    scope, rest = "", 0
    if lowered[0] == "subscriptions":
        if len(segments) == 1:
            return Target("", RESOURCES, ("subscriptions",), (), None, None)
        subscription, scope, rest = lowered[1], f"/subscriptions/{lowered[1]}", 2
        if len(segments) > 2 and lowered[2] == "resourcegroups":
            if len(segments) == 3:
                types = ("subscriptions", "resourceGroups")
                return Target(scope, RESOURCES, types, (subscription,), subscription, None)
            group, scope, rest = segments[3], f"{scope}/resourceGroups/{segments[3]}", 4
    elif lowered[0] == "tenants" and len(segments) == 1:
        return Target("", RESOURCES, ("tenants",), (), None, None)
    if rest == len(segments):
        return _scope_target(subscription, group)
    if lowered[rest] == "deployments" and subscription is not None:
        # The oldest form of these paths, which the Azure CLI still uses.
        segments = [*segments[:rest], "providers", RESOURCES, *segments[rest:]]
        lowered = [segment.lower() for segment in segments]
    if lowered[rest] != "providers":
        return _loose(scope, segments[rest:], subscription, group)
    provider = _provider(scope, segments[rest + 1 :], subscription, group)
    if provider is not None:
        return provider
    return _providers(scope, segments, lowered, rest, subscription, group)


def _scope_target(subscription: str | None, group: str | None) -> Target | None:
    if subscription is None:
        return None
    if group is None:
        return Target("", RESOURCES, ("subscriptions",), (subscription,), subscription, None)
    scope = f"/subscriptions/{subscription}"
    types = ("subscriptions", "resourceGroups")
    return Target(scope, RESOURCES, types, (subscription, group), subscription, group)


def _loose(scope: str, rest: Sequence[str], subscription: str | None, group: str | None) -> Target | None:
    """`/subscriptions/{id}/resources`, `/subscriptions/{id}/locations` and their like."""
    if not scope or len(rest) != 1 or rest[0].lower() == "subscriptions":
        return None
    return Target(scope, RESOURCES, (rest[0].lower(),), (), subscription, group)


def _provider(scope: str, rest: Sequence[str], subscription: str | None, group: str | None) -> Target | None:
    """`[/subscriptions/{id}]/providers[/{namespace}[/register]]`: the provider itself, not a resource of it."""
    if group is not None or len(rest) > 2:
        return None
    if len(rest) == 2 and (subscription is None or rest[1].lower() not in ("register", "unregister")):
        return None
    names = tuple(_NAMESPACES.get(name.lower(), name) for name in rest[:1])
    types = ("providers", *(action.lower() for action in rest[1:]))
    return Target(scope, RESOURCES, types, names, subscription, None)


def _providers(
    scope: str,
    segments: Sequence[str],
    lowered: Sequence[str],
    start: int,
    subscription: str | None,
    group: str | None,
) -> Target | None:
    target: Target | None = None
    while start < len(segments):
        if lowered[start] != "providers":
            return None
        end = next((i for i in range(start + 2, len(segments)) if lowered[i] == "providers"), len(segments))
        block = segments[start + 1 : end]
        last = end == len(segments)
        if len(block) < 2 or (not last and len(block) % 2 == 0):
            return None
        types, names = tuple(block[1::2]), tuple(block[2::2])
        namespace, types = _canonical(block[0], types)
        if namespace == RESOURCES and types[0].lower() in _BARE:
            return None
        target = Target(scope, namespace, types, names, subscription, group)
        scope, start = target.id, end
    return target


def _canonical(namespace: str, types: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    known = _CANONICAL.get("/".join((namespace, *types)).lower())
    if known is not None:
        head, *rest = known.split("/")
        return head, tuple(rest)
    if len(types) > 1:
        # A known type with an unknown one below it (`/tables/{name}/migrate`) keeps its own casing.
        head, front = _canonical(namespace, types[:-1])
        return head, (*front, types[-1])
    return _NAMESPACES.get(namespace.lower(), namespace), types
