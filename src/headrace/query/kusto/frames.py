"""Answers as Kusto's clients read them: version 2 frames for queries, version 1 tables for commands.

The order of properties matters: streaming readers want a frame's type first and a table's columns before its
rows. Source: Azure Data Explorer, 'Query V2 HTTP response' and 'Query/management HTTP response'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from headrace.clock import iso
from headrace.errors import Problem
from headrace.kql.api import Render
from headrace.kql.types import DOTNET_TYPES
from headrace.query.model import QueryResult, ResultTable

Columns = Sequence[tuple[str, str]]
"""Names and KQL types."""

_DOTNET: Final = {kusto.value: name.rpartition(".")[2] for kusto, name in DOTNET_TYPES.items()}
""".NET's names of KQL's types, without their namespace."""

_PROPERTIES: Final = (("TableId", "int"), ("Key", "string"), ("Value", "dynamic"))
_COMPLETION: Final = (
    ("Timestamp", "datetime"),
    ("ClientRequestId", "string"),
    ("ActivityId", "guid"),
    ("SubActivityId", "guid"),
    ("ParentActivityId", "guid"),
    ("Level", "int"),
    ("LevelName", "string"),
    ("StatusCode", "int"),
    ("StatusCodeName", "string"),
    ("EventType", "int"),
    ("EventTypeName", "string"),
    ("Payload", "string"),
)
_STATUS: Final = (
    ("Timestamp", "datetime"),
    ("Severity", "int"),
    ("SeverityName", "string"),
    ("StatusCode", "int"),
    ("StatusDescription", "string"),
    ("Count", "int"),
    ("RequestId", "guid"),
    ("ActivityId", "guid"),
    ("SubActivityId", "guid"),
    ("ClientActivityId", "string"),
)
_CONTENTS: Final = (
    ("Ordinal", "long"),
    ("Kind", "string"),
    ("Name", "string"),
    ("Id", "string"),
    ("PrettyName", "string"),
)


@dataclass(frozen=True, slots=True)
class Exchange:
    """What an answer repeats of its request: both ids, and the time in microseconds since 1970."""

    activity: str
    client_request_id: str
    now: int


@dataclass(frozen=True, slots=True)
class Listing:
    """The rows that a management command shows."""

    columns: Columns
    rows: Sequence[Sequence[Any]]


def version2(result: QueryResult, exchange: Exchange) -> bytes:
    """A query's answer as an array of frames."""
    frames: list[dict[str, Any]] = [
        {"FrameType": "DataSetHeader", "IsProgressive": False, "Version": "v2.0"},
        _frame(0, "QueryProperties", "@ExtendedProperties", _PROPERTIES, _properties(result)),
    ]
    for number, table in enumerate(result.tables, 1):
        rows = _rows(table, result if number == len(result.tables) else None)
        frames.append(_frame(number, "PrimaryResult", table.name, table.columns, rows))
    frames.append(
        _frame(
            len(result.tables) + 1,
            "QueryCompletionInformation",
            "QueryCompletionInformation",
            _COMPLETION,
            [_completion(result, exchange)],
        )
    )
    end = {"FrameType": "DataSetCompletion", "HasErrors": result.partial is not None, "Cancelled": False}
    if result.partial is not None:
        end["OneApiErrors"] = [_one_api_error(result.partial)]
    frames.append(end)
    return msgspec.json.encode(frames)


def version1(result: QueryResult, exchange: Exchange) -> bytes:
    """A query's answer as tables: the results, their properties, the status and the table of contents."""
    tables = [
        _table(f"Table_{number}", table.columns, msgspec.Raw(table.rows))
        for number, table in enumerate(result.tables)
    ]
    extras = (
        ("QueryProperties", "@ExtendedProperties", [("Value", "string")], [[_visualization(result.render)]]),
        ("QueryStatus", "QueryStatus", _STATUS, [_status(result, exchange)]),
    )
    contents = [_content(number, "QueryResult", table) for number, table in enumerate(result.tables)]
    for kind, name, columns, rows in extras:
        contents.append([len(tables), kind, name, exchange.activity, ""])
        tables.append(_table(f"Table_{len(tables)}", columns, rows))
    tables.append(_table(f"Table_{len(tables)}", _CONTENTS, contents))
    body: dict[str, Any] = {"Tables": tables}
    if result.partial is not None:
        body["Exceptions"] = [result.partial.message]
    return msgspec.json.encode(body)


def listing(shown: Listing) -> bytes:
    """A management command's answer."""
    return msgspec.json.encode({"Tables": [_table("Table_0", shown.columns, shown.rows)]})


def error_body(problem: Problem, kind: str, activity: str, *, permanent: bool) -> dict[str, Any]:
    """The one error that ends a request; `kind` is the exception's name in Kusto's client libraries.

    `permanent` says that the same request would fail again.

    Source: Microsoft REST API guidelines' OneApiError, as Azure Data Explorer fills it.
    """
    hint = f" {problem.hint}" if problem.hint else ""
    error: dict[str, Any] = {
        "code": problem.code,
        "message": "Request is invalid and cannot be executed.",
        "@type": f"Kusto.Data.Exceptions.{kind}",
        "@message": f"{problem.message}{hint}",
        "@context": {"activityId": activity},
        "@permanent": permanent,
    }
    if problem.details:
        error["innererror"] = {
            "code": problem.details[0].code,
            "message": problem.details[0].message,
            "@message": "; ".join(detail.message for detail in problem.details),
        }
    return {"error": error}


def _frame(number: int, kind: str, name: str, columns: Columns, rows: Any) -> dict[str, Any]:
    return {
        "FrameType": "DataTable",
        "TableId": number,
        "TableKind": kind,
        "TableName": name,
        "Columns": [{"ColumnName": column, "ColumnType": kusto} for column, kusto in columns],
        "Rows": rows,
    }


def _table(name: str, columns: Columns, rows: Any) -> dict[str, Any]:
    return {
        "TableName": name,
        "Columns": [
            {"ColumnName": column, "DataType": _DOTNET[kusto], "ColumnType": kusto}
            for column, kusto in columns
        ],
        "Rows": rows,
    }


def _content(number: int, kind: str, table: ResultTable) -> list[Any]:
    return [number, kind, table.name, "", ""]


def _properties(result: QueryResult) -> list[list[Any]]:
    return [
        [number, "Visualization", _visualization(result.render if number == 1 else None)]
        for number, _ in enumerate(result.tables, 1)
    ]


def _visualization(render: Render | None) -> str:
    """The text of the visualization's JSON; a property of `render` has a capital there."""
    properties: Mapping[str, Any] = render.properties if render is not None else {}
    shown = {name[:1].upper() + name[1:]: value for name, value in properties.items()}
    kind = render.visualization if render is not None else None
    return msgspec.json.encode({"Visualization": kind, "Title": None, **shown}).decode()


def _rows(table: ResultTable, cut: QueryResult | None) -> msgspec.Raw:
    """A table's rows; the last one's end with the reason where a result is cut off."""
    if cut is None or cut.partial is None:
        return msgspec.Raw(table.rows)
    reason = msgspec.json.encode({"OneApiErrors": [_one_api_error(cut.partial)]})
    comma = b"," if table.row_count else b""
    return msgspec.Raw(table.rows[:-1] + comma + reason + b"]")


def _completion(result: QueryResult, exchange: Exchange) -> list[Any]:
    ids = [exchange.activity] * 3
    if result.partial is None:
        level: list[Any] = [4, "Info", 0, "S_OK (0)"]
    else:
        level = [2, "Error", int(result.partial.code), "E_PARTIAL"]
    text = _report(result)
    return [iso(exchange.now), exchange.client_request_id, *ids, *level, 4, "QueryInfo", text]


def _status(result: QueryResult, exchange: Exchange) -> list[Any]:
    good = result.partial is None
    severity = [4, "Info", 0] if result.partial is None else [2, "Error", int(result.partial.code)]
    text = "Query completed successfully" if good else _report(result)
    ids = [exchange.activity] * 3
    return [iso(exchange.now), *severity, text, 1, *ids, exchange.client_request_id]


def _report(result: QueryResult) -> str:
    """What a completed query says of itself, as JSON text."""
    payload: dict[str, Any] = {
        "ExecutionTime": round(result.seconds, 6),
        "dataset_statistics": result.statistics()["query"]["datasetStatistics"],
        "warnings": [problem.message for problem in result.warnings],
    }
    if result.partial is not None:
        payload["error"] = result.partial.message
    return msgspec.json.encode(payload).decode()


def _one_api_error(problem: Problem) -> dict[str, Any]:
    return {
        "error": {
            "code": "LimitsExceeded",
            "message": "Request is invalid and cannot be executed.",
            "@type": "Kusto.Data.Exceptions.KustoServicePartialQueryFailureLimitsExceededException",
            "@message": problem.message,
            "@permanent": True,
        }
    }
