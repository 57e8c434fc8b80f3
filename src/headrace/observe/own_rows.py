"""Rows that the server makes itself, as payloads of a journal: of which tables, and under which rule.

Each workspace has one such rule. `headrace.transform.own_rule` says where its streams go.
"""

from __future__ import annotations

from headrace.ids import new_guid
from headrace.journal.model import Entry

USAGE, OPERATION, AUDIT, QUERY_LOGS = "Usage", "Operation", "HeadraceAudit", "LAQueryLogs"
VERSION = 1
"""The only version of every such rule."""

_PREFIX = "headrace-"
"""No rule of a user's can have such an id: theirs begin with `dcr-`."""


def rule_id(customer_id: str) -> str:
    """The id of a workspace's own rule."""
    return f"{_PREFIX}{customer_id}"


def workspace_of(rule: str) -> str | None:
    """The customerId of the workspace whose own rule this is; None for a user's rule."""
    return rule.removeprefix(_PREFIX) if rule.startswith(_PREFIX) else None


def stream_of(table: str) -> str:
    """The stream that ends in the table. No rule can declare it: custom streams begin with `Custom-`."""
    return f"Headrace-{table}"


def own_entry(customer_id: str, table: str, rows: int, body: bytes, call_id: str = "") -> Entry:
    """`rows` rows of a workspace's `table`, which `body` has as a JSON array.

    Entries with the same `call_id` and body soon after each other are stored once.
    """
    return Entry(
        request_id=new_guid(),
        client_request_id=call_id,
        principal="",
        rule=rule_id(customer_id),
        rule_version=VERSION,
        stream=stream_of(table),
        encoding="",
        body=body,
        length=len(body),
        rows=rows,
    )
