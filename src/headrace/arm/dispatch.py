"""Finds the kind that a call is about, checks the caller's right, and runs the kind within a transaction.

Calls of clients come here, and the calls that a deployment makes for its resources.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection

from headrace.arm.ids import (
    CHECK_ACCESS_TYPE,
    DEFINITION_TYPE,
    DEPLOYMENT_TYPE,
    METRIC_BATCH_TYPE,
    PERMISSION_TYPE,
    PROVIDER_OPERATION_TYPE,
    PROVIDER_TYPE,
    RESOURCES,
    SUBSCRIPTION_TYPE,
    Target,
    parse_path,
)
from headrace.arm.kinds.base import (
    Kind,
    allowed_methods,
    method_not_allowed,
    require_subscription,
    without_null_tags,
)
from headrace.arm.kinds.locks import check_locks
from headrace.arm.model import NO_QUERY, Activity, Answer, ArmDeps, Call, Inner
from headrace.arm.versions import check_version
from headrace.identity.challenge import arm_forbidden
from headrace.identity.model import Caller
from headrace.wire.problems import HttpError, http_error
from headrace.wire.versions import require_arm_version

_WRITES = ("PUT", "PATCH", "DELETE", "POST")
_VERBS = {"PUT": "write", "PATCH": "write", "DELETE": "delete"}
_OPEN_LISTS = (
    SUBSCRIPTION_TYPE,
    "Microsoft.Resources/tenants",
    PERMISSION_TYPE,
    CHECK_ACCESS_TYPE,
    METRIC_BATCH_TYPE,
)
_OPEN_AT_THE_ROOT = (DEFINITION_TYPE, PROVIDER_TYPE, PROVIDER_OPERATION_TYPE)


@dataclass(frozen=True, slots=True)
class Found:
    """What a method and path mean: a kind, its resource or collection, and the POST action, if it is one."""

    kind: Kind
    method: str
    target: Target
    action: str | None

    @property
    def changes(self) -> bool:
        """Whether the call may change something: a POST to a collection only asks."""
        return self.method in _WRITES and (self.action is not None or not self.target.is_collection)


@dataclass(frozen=True, slots=True)
class Request:
    """A call that may be made. `query` and `headers` have lower-case names."""

    found: Found
    version: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: dict[str, Any]
    caller: Caller
    base: str


class Dispatcher:
    """Runs calls. Every method raises `HttpError` for what is no success."""

    def __init__(self, deps: ArmDeps, kinds: Sequence[Kind]) -> None:
        self.deps = deps
        self._kinds = {kind.type.lower(): kind for kind in kinds}

    def find(self, method: str, target: Target, version: str) -> Found:
        """The kind and what of it is meant, at an api-version that the kind has."""
        found = self._find(method, target, version)
        check_version(version, found.kind.type, self.deps.clock.now())
        return found

    def _find(self, method: str, target: Target, version: str) -> Found:
        kind = self._kinds.get(target.type.lower())
        if kind is None and method == "POST" and target.is_collection and len(target.types) > 1:
            owner = replace(target, types=target.types[:-1])
            kind, action = self._kinds.get(owner.type.lower()), target.types[-1].lower()
            if kind is not None and action in kind.actions:
                return Found(kind, method, owner, action)
        elif kind is not None:
            return Found(kind, method, target, None)
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

    def authorize(self, caller: Caller, found: Found) -> None:
        """Whether the caller has the right that the call takes, at what it is about.

        Raises `HttpError` 403, and 404 where there is no such subscription: nobody has rights there.
        """
        method, target = found.method, found.target
        if _is_open(method, target):
            return
        right, scope = _right_at(found)
        if self.deps.access.current.allows(caller.object_id, right, scope, groups=caller.groups):
            return
        if method != "PUT" or target.type != SUBSCRIPTION_TYPE:
            with self.deps.database.read() as connection:
                require_subscription(connection, target)
        raise arm_forbidden(caller, right, scope)

    def answer(self, request: Request) -> tuple[Answer, int | None]:
        """The answer, and the change number that a writing call made."""
        deps = self.deps
        with deps.database.read() as connection:
            call = self._call(request, connection)
            if not request.found.changes:
                return self._dispatch(request.found.kind, call), None
            if request.found.kind.alone(call):
                call.inner = _InnerCalls(self, request)
                return self._dispatch(request.found.kind, call), deps.database.change()
            if call.method in ("PUT", "PATCH"):
                call.prepared = request.found.kind.prepare(call)
        with deps.database.write() as connection:
            answer = self.run(request, connection, call.prepared)
        return answer, deps.database.change()

    def run(self, request: Request, connection: Connection, prepared: Any = None) -> Answer:
        """The answer to a call within a transaction that is open already."""
        call = self._call(request, connection)
        call.prepared = prepared
        if request.found.changes:
            check_locks(call)
        return self._dispatch(request.found.kind, call)

    def _call(self, request: Request, connection: Connection) -> Call:
        found, body = request.found, without_null_tags(request.body)
        call = Call(
            self.deps, found.target, found.method, request.version, request.query, request.headers,
            body, request.caller, request.base, self.deps.clock.now(), connection, found.action,
        )  # fmt: skip
        # A POST is one of the kind's actions, each with a right of its own.
        allowed = allowed_methods(found.kind, found.target)
        if found.action is None and found.method not in allowed:
            raise method_not_allowed(call, allowed)
        return call

    @staticmethod
    def _dispatch(kind: Kind, call: Call) -> Answer:
        if call.action is not None:
            return kind.post(call)
        if call.target.is_collection:
            return kind.ask(call) if call.method == "POST" else kind.list(call)
        handlers = {
            "GET": kind.get,
            "HEAD": kind.get,
            "PUT": kind.put,
            "PATCH": kind.patch,
            "DELETE": kind.delete,
        }
        return handlers[call.method](call)


def _is_open(method: str, target: Target) -> bool:
    """Whether everybody may ask it: the answer holds what the caller may see."""
    if target.is_collection and target.type in _OPEN_LISTS:
        return True
    reads = not target.scope and method in ("GET", "HEAD")
    return reads and (target.type in _OPEN_AT_THE_ROOT or target.types == ("operations",))


def _right_at(found: Found) -> tuple[str, str]:
    """The right that a call takes, and the resource id at which."""
    method, target, action = found.method, found.target, found.action
    verb = f"{action}/action" if action else _VERBS.get(method, "action") if found.changes else "read"
    scope = target.parent_id if target.is_collection else target.id
    return f"{_right(target)}/{verb}", scope or "/"


def _right(target: Target) -> str:
    if target.type == PROVIDER_TYPE and target.names:
        return f"{SUBSCRIPTION_TYPE}/providers"
    if target.namespace != RESOURCES or target.types[0] in ("subscriptions", "tags", "deployments"):
        return target.type
    inner = "resourceGroups/" if target.group else ""
    return f"{SUBSCRIPTION_TYPE}/{inner}{target.types[0]}"


@dataclass(frozen=True, slots=True)
class _InnerCalls:
    """See `InnerCalls`."""

    dispatcher: Dispatcher
    outer: Request

    @property
    def lasting(self) -> Inner:
        """See `InnerCalls.lasting`."""
        return self._calls(self._noted)

    @contextmanager
    def rehearsal(self) -> Iterator[Inner]:
        """See `InnerCalls.rehearsal`."""
        with self.dispatcher.deps.database.rehearsal() as connection:

            def run(request: Request) -> Answer:
                self.dispatcher.authorize(request.caller, request.found)
                with connection.begin_nested():
                    return self.dispatcher.run(request, connection)

            yield self._calls(run)

    def _noted(self, request: Request) -> Answer:
        """The answer to a call, of which the log is told."""
        try:
            self.dispatcher.authorize(request.caller, request.found)
            answer, _ = self.dispatcher.answer(request)
        except HttpError as error:
            self._note(request, error.status, error.problem.code)
            raise
        self._note(request, answer.status, "")
        return answer

    def _note(self, request: Request, status: int, code: str) -> None:
        if request.found.method not in _WRITES and status != 403:
            return
        caller, deps = request.caller, self.dispatcher.deps
        operation, scope = _right_at(request.found)
        deps.note(
            Activity(
                time=deps.clock.now(),
                operation=operation,
                status=status,
                code=code,
                principal=caller.object_id,
                client=caller.app_id,
                address=self.outer.headers.get("x-forwarded-for", ""),
                correlation="",
                scope=scope,
                issuer=caller.issuer or "",
                details=f"by {self.outer.found.target.id}",
            )
        )

    def _calls(self, run: Callable[[Request], Answer]) -> Inner:
        def call(
            method: str,
            path: str,
            version: str,
            body: dict[str, Any] | None = None,
            query: Mapping[str, str] = NO_QUERY,
        ) -> Answer:
            return run(self._request(method, path, version, body, query))

        return call

    def _request(
        self, method: str, path: str, version: str, body: dict[str, Any] | None, query: Mapping[str, str]
    ) -> Request:
        version = require_arm_version(version)
        found = self.dispatcher.find(method, parse_path(quote(path)), version)
        if method == "PUT" and found.target.type == DEPLOYMENT_TYPE:
            raise http_error(
                400,
                "InvalidTemplate",
                "A deployment in a template has the type Microsoft.Resources/deployments.",
            )
        return replace(self.outer, found=found, version=version, query=query, headers={}, body=body or {})
