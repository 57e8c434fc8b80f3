"""One event of the audit log, its row in the table `HeadraceAudit`, and how events get to the log."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import msgspec

from headrace.clock import iso

LONGEST = 512
FIRST = "0" * 64
"""What the first row of a chain has for the hash before it."""

Category = Literal["Management", "SignIn", "Ingestion", "Query", "Audit"]


class AuditEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """What happened. `principal` is an object id, `client` a client id, `scope` a resource id; empty where unknown."""

    category: Category
    operation: str
    status: int
    """The HTTP status of the answer."""
    code: str = ""
    """The error's code; empty for a success."""
    principal: str = ""
    client: str = ""
    issuer: str = ""
    """The outside issuer of the caller's token; empty for this server's own."""
    address: str = ""
    correlation: str = ""
    """`x-ms-request-id` of the answer."""
    scope: str = ""
    details: str = ""

    @property
    def result(self) -> str:
        """`Allowed`, `Denied` (401 and 403) or `Failed`."""
        if self.status < 400:
            return "Allowed"
        return "Denied" if self.status in (401, 403) else "Failed"


class Auditor(Protocol):
    """Where events are told."""

    def tell(self, event: AuditEvent) -> None:
        """Put an event on its way; never waits and never raises."""
        ...

    async def record(self, event: AuditEvent) -> None:
        """Return once the event is durable, or has been given up after a log line."""
        ...


class NoAudit:
    """An auditor that keeps nothing."""

    def tell(self, event: AuditEvent) -> None:
        """See `Auditor.tell`."""

    async def record(self, event: AuditEvent) -> None:
        """See `Auditor.record`."""


@dataclass(frozen=True, slots=True)
class Link:
    """A place in a chain: the hash of the row with this number, and the rows before it."""

    chain: str
    sequence: int
    hash: str


TEXTS = (
    "Category",
    "OperationName",
    "Result",
    "ResultCode",
    "PrincipalId",
    "ClientId",
    "Issuer",
    "CallerIpAddress",
    "CorrelationId",
    "Scope",
    "Details",
)
"""The columns of texts that the hash covers, in its order."""


def make_row(event: AuditEvent, time: int, before: Link) -> tuple[dict[str, Any], Link]:
    """The row that follows `before` in its chain, and the place that it then has. `time` is UTC microseconds."""
    values = (
        event.category,
        event.operation,
        event.result,
        event.code,
        event.principal,
        event.client,
        event.issuer,
        event.address,
        event.correlation,
        event.scope,
        event.details,
    )
    row: dict[str, Any] = {
        "TimeGenerated": iso(time),
        **{name: _clean(value) for name, value in zip(TEXTS, values, strict=True)},
        "StatusCode": event.status,
        "ChainId": before.chain,
        "Sequence": before.sequence + 1,
        "PreviousHash": before.hash,
    }
    row["Hash"] = row_hash(row, time)
    if event.scope:
        row["_ResourceId"] = row["Scope"].lower()
    return row, Link(before.chain, before.sequence + 1, row["Hash"])


def row_hash(row: Mapping[str, Any], time: int) -> str:
    """SHA-256, in hex, over everything that a row says and the hash before it. `time` is UTC microseconds."""
    said = [
        row["ChainId"],
        row["Sequence"],
        row["PreviousHash"],
        time,
        row["StatusCode"],
        *(row[name] for name in TEXTS),
    ]
    return hashlib.sha256(msgspec.json.encode(said)).hexdigest()


def _clean(text: str) -> str:
    """A text that every part on the way to the table and back keeps as it is."""
    return "".join(char if char.isprintable() else "?" for char in text[:LONGEST])
