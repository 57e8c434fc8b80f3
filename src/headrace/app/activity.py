"""The activity log: the calls since the start as the audit trail remembers them, older ones from its table."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any

import duckdb
from sqlglot import exp

from headrace.arm.model import Activity
from headrace.catalog.model import Catalog, Table
from headrace.observe.audit.events import Category
from headrace.observe.audit.trail import AuditTrail
from headrace.observe.own_rows import AUDIT
from headrace.tables.model import TablesError
from headrace.tables.reader import TableReader
from headrace.wire.problems import http_error

MOST_ROWS = 50_000
"""Older calls that are looked at for one answer."""

_SHOWN: Category = "Management"
_TIME = "TimeGenerated"
_COLUMNS = (
    "OperationName",
    "StatusCode",
    "ResultCode",
    "PrincipalId",
    "ClientId",
    "CallerIpAddress",
    "CorrelationId",
    "Scope",
)
"""The table's columns in the order of `Activity`, behind its time."""

_FETCHED = 500
_MEMORY = "128MB"
_log = logging.getLogger(__name__)


class ActivityLog:
    """`headrace.arm.model.ActivitySource` over the audit log. Safe from several threads."""

    def __init__(self, trail: AuditTrail, catalog: Callable[[], Catalog], reader: TableReader) -> None:
        self._trail = trail
        self._catalog = catalog
        self._reader = reader

    def __call__(self, since: int | None, until: int | None) -> Iterator[Activity]:
        """See `ActivitySource`. Raises `HttpError` 503 when the table cannot be read."""
        recent = self._trail.recent()
        for time, event in reversed(recent):
            within = (since is None or time >= since) and (until is None or time <= until)
            if within and event.category == _SHOWN:
                yield Activity(
                    time,
                    event.operation,
                    event.status,
                    event.code,
                    event.principal,
                    event.client,
                    event.address,
                    event.correlation,
                    event.scope,
                )
        before = recent[0][0] - 1 if recent else None
        bounds = [bound for bound in (until, before) if bound is not None]
        last = min(bounds, default=None)
        if since is None or last is None or since <= last:
            yield from self._older(since, last)

    def _older(self, since: int | None, until: int | None) -> Iterator[Activity]:
        workspace = self._catalog().workspaces.get(self._trail.workspace() or "")
        table = workspace.tables.get(AUDIT) if workspace is not None else None
        if table is None:
            return
        try:
            yield from self._rows(table, since, until)
        except (duckdb.Error, TablesError) as error:
            # The engine's message can quote data.
            _log.error("the table %s could not be read: %s", AUDIT, type(error).__name__)
            raise http_error(503, "ServiceUnavailable", "The older events cannot be read now.") from None

    def _rows(self, table: Table, since: int | None, until: int | None) -> Iterator[Activity]:
        snapshot = self._reader.pin(table)
        if not snapshot.files:
            return
        names = ("Category", _TIME, *_COLUMNS)
        scan = snapshot.scan([(name, name) for name in names], (since, until))
        with _engine() as connection:
            connection.execute(_newest_first(scan).sql(dialect="duckdb"))
            while rows := connection.fetchmany(_FETCHED):
                for time, *values in rows:
                    yield Activity(time, *values)


def _newest_first(scan: exp.Query) -> exp.Select:
    time = exp.Anonymous(this="epoch_us", expressions=[exp.column(_TIME, quoted=True)])
    return (
        exp.select(time, *(exp.column(name, quoted=True) for name in _COLUMNS))
        .from_(scan.subquery("t"))
        .where(exp.column("Category", quoted=True).eq(exp.Literal.string(_SHOWN)))
        .order_by(exp.Ordered(this=exp.column(_TIME, quoted=True), desc=True))
        .limit(MOST_ROWS)
    )


@contextlib.contextmanager
def _engine() -> Iterator[Any]:
    config = {"memory_limit": _MEMORY, "threads": "1", "autoinstall_known_extensions": "false"}
    connection = duckdb.connect(":memory:", config={**config, "autoload_known_extensions": "false"})
    try:
        yield connection
    finally:
        connection.close()
