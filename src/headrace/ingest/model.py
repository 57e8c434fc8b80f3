"""What the gateway needs of its neighbours, as narrow protocols, and what it tells its observer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from headrace.identity.model import Caller, Surface
from headrace.journal.model import Record

T_co = TypeVar("T_co", covariant=True)


class RuleHead(Protocol):
    """The part of a data collection rule that decides whether a payload may come in."""

    @property
    def immutable_id(self) -> str:
        """`dcr-` and 32 hex digits, as the rule spells it."""
        ...

    @property
    def resource_id(self) -> str:
        """ARM id of the rule: the scope of the role check."""
        ...

    @property
    def version(self) -> int:
        """Version of the rule; a payload is transformed by the version it was accepted under."""
        ...

    @property
    def streams(self) -> Sequence[str]:
        """Names of the streams that may be sent to, as declared."""
        ...


class Rights(Protocol):
    """Who may do what."""

    @property
    def tenant(self) -> str:
        """The tenant's GUID; empty as long as there is none."""
        ...

    def allows(
        self, object_id: str, action: str, scope: str, *, data: bool = False, groups: Sequence[str] = ()
    ) -> bool:
        """Whether the principal, or a group that it belongs to, may do the (data) action at the scope."""
        ...


class View(Protocol[T_co]):
    """A snapshot that is kept up to date from outside."""

    @property
    def current(self) -> T_co:
        """The newest known value."""
        ...

    def age(self) -> float:
        """Seconds since `current` was last known to be the newest."""
        ...


class Verifier(Protocol):
    """Tells who calls from the Authorization header; raises `identity.model.TokenError`."""

    def verify(self, authorization: str | None, surface: Surface) -> Caller:
        """The caller of a valid token."""
        ...


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request of the ingestion API that was not accepted. `rule` and `stream` are empty where unknown.

    They are the rule's own spelling once the rule was found, so that they may label a metric. `principal` and
    `client` are the caller's ids once its token was verified, `address` is where it calls from.
    """

    request_id: str
    client_request_id: str
    rule: str
    stream: str
    status: int
    code: str
    message: str
    principal: str = ""
    client: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class Dropped:
    """Members of a body that mode `compatible` answered with 204 and left out."""

    request_id: str
    client_request_id: str
    rule: str
    stream: str
    members: int
    reason: str


class Observer(Protocol):
    """Is told what became of each request of the ingestion API. Must be quick and must not raise."""

    def accepted(self, record: Record) -> None:
        """A payload is in the journal."""
        ...

    def answered(self, rule: str, stream: str) -> None:
        """A request was answered 204."""
        ...

    def refused(self, refusal: Refusal) -> None:
        """A request was answered with an error."""
        ...

    def dropped(self, dropped: Dropped) -> None:
        """Something that was answered 204 is not stored."""
        ...


class SilentObserver:
    """An observer that keeps nothing."""

    def accepted(self, record: Record) -> None:
        """See `Observer.accepted`."""

    def answered(self, rule: str, stream: str) -> None:
        """See `Observer.answered`."""

    def refused(self, refusal: Refusal) -> None:
        """See `Observer.refused`."""

    def dropped(self, dropped: Dropped) -> None:
        """See `Observer.dropped`."""
