"""What is noted of each query: who asked what of which workspaces, and how it was answered.

The rows are those of the table `LAQueryLogs`. Source: Azure Monitor, 'Audit queries in Azure Monitor Logs'.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request

from headrace.catalog.model import Workspace
from headrace.clock import Clock, iso
from headrace.identity.model import Caller
from headrace.query.model import QueryRequest, QueryResult
from headrace.wire.problems import HttpError

LONGEST_TEXT = 64 * 1024
"""Bytes of a query's text that are kept."""

_LONGEST_NAME = 200
_FAILED = 500


@dataclass(slots=True)
class Outcome:
    """How a query was answered: HTTP status, and what it took; a failure of nobody's making until it is told."""

    status: int = _FAILED
    rows: int = 0
    engine_seconds: float | None = None

    def answered(self, result: QueryResult) -> None:
        """It has a result."""
        self.status = 200
        self.rows = sum(table.row_count for table in result.tables)
        self.engine_seconds = result.seconds


@dataclass(frozen=True, slots=True)
class AskedQuery:
    """One query that was let in. `time` is when it came, in UTC microseconds; `seconds` until its answer."""

    time: int
    seconds: float
    request_id: str
    client_app: str
    target: str
    caller: Caller
    asked: QueryRequest
    workspaces: tuple[Workspace, ...]
    outcome: Outcome

    def row(self, workspace: Workspace) -> dict[str, Any]:
        """The row about `workspace`, one of those that were asked."""
        text = self.asked.text.encode("utf-8", "replace")
        start, end = self.asked.time_range
        engine = self.outcome.engine_seconds
        return {
            "TimeGenerated": iso(self.time),
            "CorrelationId": self.request_id,
            "AADObjectId": self.caller.object_id,
            "AADClientId": self.caller.app_id,
            "AADTenantId": self.caller.tenant,
            "RequestClientApp": self.client_app,
            "RequestTarget": self.target,
            "RequestContext": {"workspaces": [one.resource_id for one in self.workspaces]},
            "RequestContextFilters": {},
            "QueryText": text[:LONGEST_TEXT].decode("utf-8", "ignore"),
            "QueryThumbprint": hashlib.sha256(text).hexdigest(),
            "QueryTimeRangeStart": None if start is None else iso(start),
            "QueryTimeRangeEnd": None if end is None else iso(end),
            "ResponseCode": self.outcome.status,
            "ResponseDurationMs": round(self.seconds * 1000, 3),
            "ResponseRowCount": self.outcome.rows,
            "StatsCPUTimeMs": None if engine is None else round(engine * 1000, 3),
            "StatsWorkspaceCount": len(self.workspaces),
            "StatsRegionCount": len({one.location for one in self.workspaces}),
            "WorkspaceRegion": workspace.location,
            "IsBillableQuery": False,
            "IsWorkspaceInFailover": False,
            "SourceSystem": "Azure",
            "_ResourceId": workspace.resource_id,
        }


Tell = Callable[[AskedQuery], None]
"""Takes note of a query; never waits and never raises."""


@dataclass(frozen=True, slots=True)
class QueryLog:
    """Watches queries being answered."""

    clock: Clock
    tell: Tell = field(default=lambda _: None)

    @contextmanager
    def watching(
        self,
        request: Request,
        request_id: str,
        caller: Caller,
        asked: QueryRequest,
        workspaces: tuple[Workspace, ...],
    ) -> Iterator[Outcome]:
        """The block answers a query; it tells the outcome, or raises `HttpError`."""
        came, began = self.clock.now(), self.clock.monotonic()
        outcome = Outcome()
        try:
            yield outcome
        except HttpError as error:
            outcome.status = error.status
            raise
        finally:
            seconds = self.clock.monotonic() - began
            app, target = _client_app(request), request.url.path
            self.tell(AskedQuery(came, seconds, request_id, app, target, caller, asked, workspaces, outcome))


def _client_app(request: Request) -> str:
    """What the client calls itself, without its version."""
    given = request.headers.get("x-ms-app") or request.headers.get("user-agent", "").partition("/")[0]
    return given[:_LONGEST_NAME]
