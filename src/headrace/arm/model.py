"""What a control-plane call consists of, and what it is answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlalchemy import Connection

from headrace.arm.ids import Target, parse_path
from headrace.catalog.model import Catalog
from headrace.catalog.rules import Rule, RuleLimits
from headrace.clock import Clock
from headrace.errors import Problem
from headrace.identity.access import Access
from headrace.identity.model import Caller, Surface
from headrace.observe.rule_metrics import Point
from headrace.store.database import Database
from headrace.wire.addresses import Addresses

Validate = Callable[[Rule, Catalog], tuple[Problem, ...]]
"""Checks output tables and transforms of a rule; answers everything that is wrong with it."""

MetricSource = Callable[[str, int, int], Iterable[tuple[int, Point]]]
"""A rule's numbers by minute, by immutable id: from and up to a time in UTC microseconds, the latter not included."""

Published = Callable[[int], Awaitable[None]]
"""Waits, within a bound of its own, until the gateways have this change."""


class Verifier(Protocol):
    """What the control plane needs of `identity.verify.TokenVerifier`."""

    def verify(self, authorization_header: str | None, surface: Surface) -> Caller:
        """The caller; raises `identity.model.TokenError`."""
        ...


class AccessView(Protocol):
    """What the control plane needs of `LiveView[Access]`."""

    @property
    def current(self) -> Access:
        """The newest snapshot that was loaded."""
        ...

    def refresh(self) -> bool:
        """Load it again if the store has moved on."""
        ...


@dataclass(frozen=True, slots=True)
class Activity:
    """A call that changed something, or was refused. `time` is UTC microseconds, `status` the answer's.

    `operation` is the right it took (`Microsoft.Insights/dataCollectionRules/write`), `scope` a resource id,
    `code` the error's, `issuer` the outside issuer of the caller's token, if it has one.
    """

    time: int
    operation: str
    status: int
    code: str
    principal: str
    client: str
    address: str
    correlation: str
    scope: str
    issuer: str = ""
    details: str = ""


Note = Callable[[Activity], None]
"""Told of each change that a call made by calls of its own, and of those refused to it; called in any thread."""

ActivitySource = Callable[[int | None, int | None], Iterable[Activity]]
"""The calls from and up to a time (UTC microseconds, both included, None where open), newest first."""


@dataclass(frozen=True, slots=True)
class ArmDeps:
    """Everything that the control plane is given from outside.

    `endpoint_template` is the form of `logsIngestion` addresses with `{name}` and `{base}`; None gives the
    base address. `activity` is the log of calls; of a control plane without one it is empty. `note` is told of what
    deployments do: nobody else sees those calls.
    """

    database: Database
    verifier: Verifier
    access: AccessView
    addresses: Addresses
    clock: Clock
    validate: Validate
    published: Published
    endpoint_template: str | None = None
    limits: RuleLimits = field(default_factory=RuleLimits)
    activity: ActivitySource = lambda _since, _until: ()
    metrics: MetricSource = lambda _rule, _start, _end: ()
    note: Note = lambda _activity: None


NO_QUERY: Mapping[str, str] = {}


class Inner(Protocol):
    """Makes a call as the caller of another one, with that caller's rights and nothing more."""

    def __call__(
        self,
        method: str,
        path: str,
        version: str,
        body: dict[str, Any] | None = None,
        query: Mapping[str, str] = NO_QUERY,
    ) -> Answer:
        """The answer; raises `HttpError`. `query` has lower-case names."""
        ...


class InnerCalls(Protocol):
    """The calls that a call makes itself: a deployment puts its resources by them."""

    @property
    def lasting(self) -> Inner:
        """Calls with a transaction each."""
        ...

    def rehearsal(self) -> AbstractContextManager[Inner]:
        """Calls in one transaction that is rolled back at the end of the block."""
        ...


@dataclass(slots=True)
class Call:
    """One call, authenticated and authorised. `query` has lower-case names, `base` no trailing slash.

    `connection` sees one state of the store; it may be written with when the method changes something.
    """

    deps: ArmDeps
    target: Target
    method: str
    version: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: dict[str, Any]
    caller: Caller
    base: str
    now: int
    connection: Connection
    action: str | None = None
    prepared: Any = None
    inner: InnerCalls | None = None

    @classmethod
    def own(
        cls,
        deps: ArmDeps,
        connection: Connection,
        caller: Caller,
        method: str,
        path: str,
        version: str,
        body: dict[str, Any],
    ) -> Call:
        """A call that the server makes itself, in a transaction that is open already."""
        base, now = deps.addresses.base(None), deps.clock.now()
        return cls(deps, parse_path(path), method, version, {}, {}, body, caller, base, now, connection)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call is answered. `body` is None for an answer without one."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
