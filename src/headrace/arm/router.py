"""From a call to its kind: who calls, what it names, whether it is allowed, and the transaction around it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from starlette.concurrency import run_in_threadpool

from headrace.arm.ids import (
    ENDPOINT_TYPE,
    PROVIDER_TYPE,
    RESOURCES,
    RULE_TYPE,
    SUBSCRIPTION_TYPE,
    Target,
    parse_path,
)
from headrace.arm.kinds.associations import Associations, AssociationsOf
from headrace.arm.kinds.base import Kind, method_not_allowed
from headrace.arm.kinds.datacollectionrules import Rules
from headrace.arm.kinds.endpoints import Endpoints
from headrace.arm.kinds.locks import Locks, check_locks
from headrace.arm.kinds.providers import Providers
from headrace.arm.kinds.resourcegroups import ResourceGroups, Resources
from headrace.arm.kinds.roles import RoleAssignments, RoleDefinitions
from headrace.arm.kinds.savedsearches import SavedSearches
from headrace.arm.kinds.subscriptions import Locations, Subscriptions, Tenants
from headrace.arm.kinds.tables import Tables
from headrace.arm.kinds.tags import TagNames, Tags
from headrace.arm.kinds.workspaces import Workspaces, unused_kinds
from headrace.arm.model import Answer, ArmDeps, Call
from headrace.arm.versions import check_version
from headrace.identity.challenge import arm_forbidden, arm_unauthenticated
from headrace.identity.model import ARM, Caller, TokenError
from headrace.wire.problems import http_error
from headrace.wire.versions import require_arm_version

METHODS = ("GET", "HEAD", "PUT", "PATCH", "DELETE", "POST")
_WRITES = ("PUT", "PATCH", "DELETE", "POST")
_VERBS = {"GET": "read", "PUT": "write", "PATCH": "write", "DELETE": "delete"}
_OPEN_LISTS = (SUBSCRIPTION_TYPE, "Microsoft.Resources/tenants")


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
        Tags(),
        TagNames(),
        *unused_kinds(),
    )
    return (*kinds, Providers(tuple(kind.type for kind in kinds)))


class Router:
    """Answers calls. Raises `HttpError` for every answer that is not a success."""

    def __init__(self, deps: ArmDeps) -> None:
        self._deps = deps
        self._kinds = {kind.type.lower(): kind for kind in all_kinds()}

    async def answer(
        self,
        method: str,
        raw_path: bytes | str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        read_body: Any,
    ) -> Answer:
        """The answer to one call. `query` and `headers` have lower-case names.

        `read_body` is awaited, for methods that have one, once the call is allowed: it answers the JSON
        object that was sent.
        """
        if method not in METHODS:
            raise http_error(405, "MethodNotAllowed", f"The method {method[:20]} is not supported.")
        base = self._deps.addresses.base(headers.get("host"))
        caller = await run_in_threadpool(self._authenticate, headers.get("authorization"), base)
        version = require_arm_version(query.get("api-version"))
        target = parse_path(raw_path)
        kind, target, action = self._find(method, target, version)
        check_version(version, kind.type, "", self._deps.clock.now())
        self._authorize(caller, method, target, action)
        body = await read_body() if method in ("PUT", "PATCH", "POST") else {}
        return await self._run(kind, method, target, action, version, query, headers, body, caller, base)

    async def _run(
        self,
        kind: Kind,
        method: str,
        target: Target,
        action: str | None,
        version: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: dict[str, Any],
        caller: Caller,
        base: str,
    ) -> Answer:
        deps = self._deps

        def work() -> tuple[Answer, int | None]:
            with deps.database.read() as connection:
                call = Call(
                    deps, target, method, version, query, headers, body, caller, base, deps.clock.now(),
                    connection, action,
                )  # fmt: skip
                if method not in _WRITES:
                    return self._dispatch(kind, call), None
                if method in ("PUT", "PATCH"):
                    call.prepared = kind.prepare(call)
            with deps.database.write() as connection:
                call.connection = connection
                check_locks(call)
                answer = self._dispatch(kind, call)
            return answer, deps.database.change()

        answer, change = await run_in_threadpool(work)
        if change is not None:
            await deps.published(change)
        if method == "HEAD":
            return replace(answer, status=204, body=None)
        return answer

    def _authenticate(self, header: str | None, base: str) -> Caller:
        deps = self._deps
        # What was granted or taken away a moment ago counts for the very next call.
        deps.access.refresh()
        try:
            return deps.verifier.verify(header, ARM)
        except TokenError as error:
            raise arm_unauthenticated(error, f"{base}/{deps.access.current.tenant}") from None

    def _find(self, method: str, target: Target, version: str) -> tuple[Kind, Target, str | None]:
        kind = self._kinds.get(target.type.lower())
        if kind is None and method == "POST" and target.is_collection and len(target.types) > 1:
            owner = replace(target, types=target.types[:-1])
            kind, action = self._kinds.get(owner.type.lower()), target.types[-1].lower()
            if kind is not None and action in kind.actions:
                return kind, owner, action
        elif kind is not None:
            return kind, target, None
        namespaces = {known.partition("/")[0] for known in self._kinds}
        if target.namespace.lower() not in namespaces:
            raise http_error(
                404,
                "InvalidResourceNamespace",
                f"The resource namespace '{target.namespace}' is invalid: this server has no such provider.",
            )
        raise http_error(
            404,
            "InvalidResourceType",
            f"The resource type '{'/'.join(target.types)}' could not be found in the namespace "
            f"'{target.namespace}' for api version '{version}'.",
        )

    def _authorize(self, caller: Caller, method: str, target: Target, action: str | None) -> None:
        if target.is_collection and target.type in _OPEN_LISTS:
            return
        verb = f"{action}/action" if action else _VERBS.get("GET" if method == "HEAD" else method, "action")
        right = f"{_right(target)}/{verb}"
        scope = target.parent_id if target.is_collection else target.id
        if self._deps.access.current.allows(caller.object_id, right, scope or "/", groups=caller.groups):
            return
        raise arm_forbidden(caller, right, scope or "/")

    @staticmethod
    def _dispatch(kind: Kind, call: Call) -> Answer:
        if call.action is not None:
            return kind.post(call)
        if call.target.is_collection:
            if call.method not in ("GET", "HEAD"):
                raise method_not_allowed(call)
            return kind.list(call)
        handlers = {
            "GET": kind.get,
            "HEAD": kind.get,
            "PUT": kind.put,
            "PATCH": kind.patch,
            "DELETE": kind.delete,
            "POST": kind.post,
        }
        return handlers[call.method](call)


def _right(target: Target) -> str:
    if target.type == PROVIDER_TYPE and target.names:
        return f"{SUBSCRIPTION_TYPE}/providers"
    if target.namespace != RESOURCES or target.types[0] in ("subscriptions", "tags", "deployments"):
        return target.type
    inner = "resourceGroups/" if target.group else ""
    return f"{SUBSCRIPTION_TYPE}/{inner}{target.types[0]}"
