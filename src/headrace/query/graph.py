"""Azure Resource Graph: queries of what there is, and not of logs.

`POST /providers/Microsoft.ResourceGraph/resources`. Source: Azure Resource Graph REST API, 'Resources'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headrace.errors import Problem
from headrace.identity.model import ARM, Caller
from headrace.kql.api import KqlError
from headrace.kql.types import KustoType, Schema, SchemaColumn
from headrace.query import errors
from headrace.query.engine import QueryEngine
from headrace.query.inline import InlineTable, InlineTables
from headrace.query.model import QueryRequest, QueryResult, ResultTable
from headrace.query.readers import Readers
from headrace.query.requests import decode, read_body
from headrace.settings import QuerySettings
from headrace.wire import correlation
from headrace.wire.problems import HttpError, json_response
from headrace.wire.routing import AnyCaseRoute
from headrace.wire.targets import query_value
from headrace.wire.versions import require_arm_version

PATH = "/providers/Microsoft.ResourceGraph/resources"
MOST_ROWS = 1000
"""Rows of a page, by default too."""

_FIRST_OF_OBJECTS = "2020-04-01-preview"
"""The first api-version whose rows are objects where nothing else is asked for."""

_DYNAMIC = frozenset({"sku", "plan", "properties", "tags", "identity", "zones", "extendedLocation"})
_COLUMNS = (
    "id",
    "name",
    "type",
    "tenantId",
    "kind",
    "location",
    "resourceGroup",
    "subscriptionId",
    "managedBy",
    "sku",
    "plan",
    "properties",
    "tags",
    "identity",
    "zones",
    "extendedLocation",
)
_SCHEMA = Schema(
    tuple(
        SchemaColumn(name, KustoType.DYNAMIC if name in _DYNAMIC else KustoType.STRING) for name in _COLUMNS
    )
)
_TYPES = {
    "int": "integer",
    "long": "integer",
    "real": "number",
    "decimal": "number",
    "bool": "boolean",
    "dynamic": "object",
}
_CONTAINERS = frozenset(
    {"microsoft.resources/subscriptions", "microsoft.resources/subscriptions/resourcegroups"}
)


@dataclass(frozen=True, slots=True)
class Described:
    """A resource, a group or a subscription. `values` are its columns' texts, JSON for the dynamic ones."""

    id: str
    type: str
    subscription: str
    values: dict[str, str]


class _Options(
    msgspec.Struct,
    frozen=True,
    rename={"top": "$top", "skip": "$skip", "skip_token": "$skiptoken", "result_format": "resultformat"},
):
    top: int = MOST_ROWS
    skip: int = 0
    skip_token: str | None = None
    result_format: str | None = None


class _Body(msgspec.Struct, frozen=True):
    query: str
    subscriptions: list[str] | None = None
    options: _Options | None = None


@dataclass(frozen=True, slots=True)
class ResourceGraph:
    """What the route needs; `described` is everything that there is at the moment."""

    engine: QueryEngine
    readers: Readers
    settings: QuerySettings
    described: Callable[[], Iterable[Described]]

    def routes(self) -> list[Route]:
        """The one route, in any letter case."""
        return [AnyCaseRoute(PATH, self.query, methods=["POST"])]

    async def query(self, request: Request) -> Response:
        """A query of the resources, groups and subscriptions that the caller may read."""
        caller = self.readers.authenticate(request, ARM)
        version = require_arm_version(query_value(request.scope["query_string"], "api-version"))
        body = decode(await read_body(request), _Body)
        options = body.options or _Options()
        first = _first(options)
        tables = await run_in_threadpool(self._tables, caller, body.subscriptions)
        result = await self._run(tables, body.query)
        most, as_table = max(1, min(options.top, MOST_ROWS)), _as_table(options, version)
        answer = await run_in_threadpool(_page, result, first, most, as_table=as_table)
        return json_response(answer, headers={correlation.REQUEST_ID.decode(): correlation.new_request_id()})

    def _tables(self, caller: Caller, subscriptions: list[str] | None) -> InlineTables:
        wanted = None if subscriptions is None else {name.lower() for name in subscriptions}
        shown = [
            one
            for one in self.described()
            if (wanted is None or one.subscription in wanted)
            and self.readers.may(caller, f"{one.type}/read", one.id)
        ]
        rows: dict[bool, list[tuple[str | None, ...]]] = {False: [], True: []}
        for one in shown:
            rows[one.type in _CONTAINERS].append(
                tuple(one.values.get(name, None if name in _DYNAMIC else "") for name in _COLUMNS)
            )
        return InlineTables(
            {
                "resources": InlineTable(_SCHEMA, tuple(rows[False])),
                "resourcecontainers": InlineTable(_SCHEMA, tuple(rows[True])),
            }
        )

    async def _run(self, tables: InlineTables, text: str) -> QueryResult:
        wait = self.settings.default_wait_seconds
        try:
            with errors.failures_told(wait):
                return await self.engine.run(tables, QueryRequest(text, nested=True), wait)
        except KqlError as error:
            raise _invalid(error.problems) from None


def _first(options: _Options) -> int:
    """The number of the first row that is wanted. Raises `HttpError` 400."""
    token = options.skip_token
    if token is None:
        return max(0, options.skip)
    if not (token.isascii() and token.isdigit() and len(token) < 10):
        raise errors.bad_argument("The $skipToken is none of this server's.", "options.$skipToken")
    return int(token)


def _as_table(options: _Options, version: str) -> bool:
    if options.result_format is not None:
        return options.result_format.lower() == "table"
    return version < _FIRST_OF_OBJECTS


def _page(result: QueryResult, first: int, most: int, *, as_table: bool) -> dict[str, Any]:
    table = result.tables[0]
    rows: list[list[msgspec.Raw]] = msgspec.json.decode(table.rows, type=list[list[msgspec.Raw]])
    page = rows[first : first + most]
    answer = {
        "totalRecords": len(rows),
        "count": len(page),
        "data": _table(table, page) if as_table else _objects(table, page),
        "facets": [],
        "resultTruncated": "false" if result.partial is None else "true",
    }
    if first + most < len(rows):
        answer["$skipToken"] = str(first + most)
    return answer


def _objects(table: ResultTable, rows: list[list[msgspec.Raw]]) -> list[dict[str, msgspec.Raw]]:
    names = [name for name, _ in table.columns]
    return [dict(zip(names, row, strict=True)) for row in rows]


def _table(table: ResultTable, rows: list[list[msgspec.Raw]]) -> dict[str, Any]:
    columns = [{"name": name, "type": _TYPES.get(kind, "string")} for name, kind in table.columns]
    return {"columns": columns, "rows": rows}


def _invalid(problems: tuple[Problem, ...]) -> HttpError:
    """400 for a query that does not compile; the details have all that is wrong with it."""
    told = [Problem(one.code, errors.located(one)["message"]) for one in problems]
    detail = Problem("InvalidQuery", "Query is invalid: see the other details for the place and the cure.")
    return HttpError(400, Problem("BadRequest", "The query cannot be run.", details=(detail, *told)))
