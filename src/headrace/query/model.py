"""A query as it is asked and as it is answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headrace.errors import Problem
from headrace.kql.api import Render

TimeRange = tuple[int | None, int | None]
"""First and last microsecond since 1970 of TimeGenerated, both inclusive; None where open."""


@dataclass(frozen=True, slots=True)
class Preferences:
    """What the `Prefer` header asks for; `wait` is in seconds."""

    wait: int
    statistics: bool = False
    render: bool = False
    data_sources: bool = False


@dataclass(frozen=True, slots=True)
class QueryRequest:
    """One query against one workspace and any others named beside it.

    `parameters` gives values to `declare query_parameters`; `max_rows` bounds the rows further than the
    server's own limit does. With `nested` dynamic values come as JSON, not as text of it.
    """

    text: str
    time_range: TimeRange = (None, None)
    workspaces: tuple[str, ...] = ()
    parameters: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    max_rows: int | None = None
    nested: bool = False


@dataclass(frozen=True, slots=True)
class ResultTable:
    """One table of an answer: columns as wire names and types, rows as the JSON text of their array."""

    name: str
    columns: tuple[tuple[str, str], ...]
    rows: bytes
    row_count: int


@dataclass(frozen=True, slots=True)
class QueryResult:
    """The answer to one query. `partial` says what was cut off, if anything was."""

    tables: tuple[ResultTable, ...]
    render: Render | None
    seconds: float
    warnings: tuple[Problem, ...] = ()
    partial: Problem | None = None

    def statistics(self) -> dict[str, Any]:
        """What `include-statistics` shows."""
        return {
            "query": {
                "executionTime": round(self.seconds, 6),
                "datasetStatistics": [
                    {"table_row_count": table.row_count, "table_size": len(table.rows)}
                    for table in self.tables
                ],
            }
        }
