"""From a request to its answer: who calls, what it names, whether it is allowed; then its kind answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from starlette.concurrency import run_in_threadpool

from headrace.arm.dispatch import Dispatcher, Found, Request
from headrace.arm.ids import (
    ENDPOINT_TYPE,
    NEVER_ANY_TYPES,
    RULE_TYPE,
    parse_path,
)
from headrace.arm.kinds.activity import Events
from headrace.arm.kinds.associations import Associations, AssociationsOf
from headrace.arm.kinds.authorization import CheckAccess, Permissions
from headrace.arm.kinds.base import Kind
from headrace.arm.kinds.datacollectionrules import Rules
from headrace.arm.kinds.deleted import DeletedWorkspaces
from headrace.arm.kinds.deployments import DeploymentOperations, Deployments, DeploymentStatuses
from headrace.arm.kinds.diagnostics import DiagnosticCategories, DiagnosticSettings
from headrace.arm.kinds.endpoints import Endpoints
from headrace.arm.kinds.kept import kept_kinds
from headrace.arm.kinds.locks import Locks
from headrace.arm.kinds.metrics import MetricDefinitions, MetricNamespaces, Metrics, MetricsBatch
from headrace.arm.kinds.operations import Operations, ProviderOperations
from headrace.arm.kinds.providers import Providers
from headrace.arm.kinds.resourcegroups import ResourceGroups, Resources
from headrace.arm.kinds.roles import RoleAssignments, RoleDefinitions
from headrace.arm.kinds.savedsearches import SavedSearches
from headrace.arm.kinds.scopes import NeverAny
from headrace.arm.kinds.subscriptions import Locations, Subscriptions, Tenants
from headrace.arm.kinds.tables import Tables
from headrace.arm.kinds.tags import TagNames, Tags
from headrace.arm.kinds.tracked import TrackedKind
from headrace.arm.kinds.workspaces import Workspaces, unused_kinds
from headrace.arm.model import Answer, ArmDeps
from headrace.identity.challenge import arm_unauthenticated
from headrace.identity.model import ARM, Caller, TokenError
from headrace.wire.problems import http_error
from headrace.wire.versions import require_arm_version

METHODS = ("GET", "HEAD", "PUT", "PATCH", "DELETE", "POST")
_ASKED_ELSEWHERE = ("Microsoft.Insights/logs", "Microsoft.ResourceGraph/resources")
"""Types of providers that the query process answers."""

ReadBody = Callable[[Found], Awaitable[dict[str, Any]]]
"""Reads the JSON object that was sent with a call."""


def all_kinds() -> tuple[Kind, ...]:
    """Every kind of resource that there is."""
    kinds: tuple[Kind, ...] = (
        Subscriptions(),
        Tenants(),
        Locations(),
        ResourceGroups(),
        Resources(),
        Workspaces(),
        Tables(),
        SavedSearches(),
        Endpoints(),
        Rules(),
        Associations(),
        AssociationsOf(RULE_TYPE),
        AssociationsOf(ENDPOINT_TYPE),
        RoleAssignments(),
        RoleDefinitions(),
        Locks(),
        Permissions(),
        CheckAccess(),
        *map(NeverAny, NEVER_ANY_TYPES),
        Tags(),
        TagNames(),
        DeletedWorkspaces(),
        *unused_kinds(),
        *kept_kinds(),
        Deployments(),
        DeploymentOperations(),
        DeploymentStatuses(),
        DiagnosticSettings(),
        DiagnosticCategories(),
        Events(),
        Metrics(),
        MetricsBatch(),
        MetricDefinitions(),
        MetricNamespaces(),
    )
    namespaces = sorted({kind.type.partition("/")[0] for kind in kinds})
    listed = [
        Operations(name, [kind for kind in kinds if kind.type.startswith(f"{name}/")]) for name in namespaces
    ]
    kinds = (*kinds, *listed, ProviderOperations(kinds))
    tracked = {kind.type: isinstance(kind, TrackedKind) for kind in kinds if ":" not in kind.type}
    return (*kinds, Providers(dict.fromkeys(_ASKED_ELSEWHERE, False) | tracked))


class Router:
    """Answers calls. Raises `HttpError` for every answer that is not a success."""

    def __init__(self, deps: ArmDeps) -> None:
        self._deps = deps
        self._dispatcher = Dispatcher(deps, all_kinds())

    async def answer(
        self,
        method: str,
        raw_path: bytes | str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        read_body: ReadBody,
    ) -> Answer:
        """The answer to one call. `query` and `headers` have lower-case names.

        `read_body` is awaited, for methods that have one, once the call is allowed: it answers the JSON
        object that was sent.
        """
        if method not in METHODS:
            message = f"The method {method[:20]} is not supported."
            raise http_error(405, "MethodNotAllowed", message, headers={"Allow": ", ".join(METHODS)})
        caller = await run_in_threadpool(self._authenticate, headers)
        version = require_arm_version(query.get("api-version"))
        found = self._dispatcher.find(method, parse_path(raw_path), version)
        await run_in_threadpool(self._dispatcher.authorize, caller, found)
        body = await read_body(found) if method in ("PUT", "PATCH", "POST") else {}
        base = self._deps.addresses.base(headers.get("host"))
        request = Request(found, version, query, headers, body, caller, base)
        answer, change = await run_in_threadpool(self._dispatcher.answer, request)
        if change is not None:
            await self._deps.published(change)
        if method == "HEAD":
            return replace(answer, status=204, body=None)
        return answer

    def _authenticate(self, headers: Mapping[str, str]) -> Caller:
        deps = self._deps
        # What was granted or taken away a moment ago counts for the very next call.
        deps.access.refresh()
        try:
            return deps.verifier.verify(headers.get("authorization"), ARM)
        except TokenError as error:
            authority = deps.addresses.authority(headers.get("host"), deps.access.current.tenant)
            raise arm_unauthenticated(error, authority) from None
