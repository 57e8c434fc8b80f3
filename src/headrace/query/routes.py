"""The Logs Query API: workspace queries by POST and GET, resource queries, and `$batch`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headrace.clock import Clock
from headrace.identity.model import ARM, Caller
from headrace.kql.api import KqlError, Render
from headrace.query import errors
from headrace.query.database import WorkspaceView
from headrace.query.engine import QueryEngine
from headrace.query.log import Outcome, QueryLog
from headrace.query.metadata import describe, selected
from headrace.query.model import Preferences, QueryRequest, QueryResult
from headrace.query.readers import Readers
from headrace.query.requests import (
    BatchItem,
    item_query,
    read_batch,
    read_body,
    read_preferences,
    read_query,
    read_url_query,
)
from headrace.settings import QuerySettings
from headrace.wire import correlation
from headrace.wire.problems import JSON_TYPE, HttpError, error_object, http_error, json_response
from headrace.wire.routing import AnyCaseRoute
from headrace.wire.targets import query_value
from headrace.wire.versions import require_arm_version

_ARM_PATHS = (
    "/subscriptions/{resource:path}/providers/microsoft.insights/logs",
    "/subscriptions/{resource:path}/api/query",
    "/subscriptions/{resource:path}/query",
)
_RENDERED = (
    "title",
    "xColumn",
    "yColumns",
    "series",
    "anomalyColumns",
    "legend",
    "xTitle",
    "yTitle",
    "xAxis",
    "yAxis",
    "ymin",
    "ymax",
    "xmin",
    "xmax",
    "ysplit",
)
_RENDERED_BY_DEFAULT = {
    "accumulate": False,
    "isQuerySorted": False,
    "kind": "default",
    "annotation": "",
    "by": None,
}


def _path_not_found() -> HttpError:
    return http_error(404, "PathNotFoundError", "The requested path does not exist")


@dataclass(frozen=True, slots=True)
class QueryService:
    """What the routes need: the engine, who may read what, and who takes note of queries."""

    engine: QueryEngine
    readers: Readers
    settings: QuerySettings
    clock: Clock
    log: QueryLog

    def routes(self) -> list[Route]:
        """The API's routes, `/v1` included and in any letter case; the last takes every other path."""
        return [
            AnyCaseRoute("/v1/$batch", self.batch, methods=["POST"]),
            AnyCaseRoute("/v1/workspaces/{workspace}/query", self.query, methods=["GET", "POST"]),
            # Azure's address for queries of tables with the plans Basic and Auxiliary.
            AnyCaseRoute("/v1/workspaces/{workspace}/search", self.query, methods=["POST"]),
            AnyCaseRoute("/v1/{workspace:path}/query", self.query, methods=["GET", "POST"]),
            AnyCaseRoute("/v1/workspaces/{workspace}/metadata", self.metadata, methods=["GET", "POST"]),
            AnyCaseRoute("/v1/{workspace:path}/metadata", self.metadata, methods=["GET", "POST"]),
            *(AnyCaseRoute(path, self.arm_query, methods=["GET", "POST"]) for path in _ARM_PATHS),
            AnyCaseRoute(
                "/{path:path}", self.nowhere, methods=["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
            ),
        ]

    async def nowhere(self, _request: Request) -> Response:
        """404 for a path or method that the API does not have."""
        raise _path_not_found()

    async def query(self, request: Request) -> Response:
        """One query against the workspace or the resource in the path."""
        caller = self.readers.authenticate(request)
        return await self._query(request, caller, request.path_params["workspace"])

    async def arm_query(self, request: Request) -> Response:
        """The same by management's address of the resource, with a token and an api-version as they are there."""
        caller = self.readers.authenticate(request, ARM)
        require_arm_version(query_value(request.scope["query_string"], "api-version"))
        return await self._query(request, caller, f"subscriptions/{request.path_params['resource']}")

    async def _query(self, request: Request, caller: Caller, name: str) -> Response:
        url = {parameter.lower(): value for parameter, value in request.query_params.items()}
        now = self.clock.now()
        posted = request.method == "POST"
        asked = read_query(await read_body(request), url, now) if posted else read_url_query(url, now)
        preferences = read_preferences(request.headers.getlist("prefer"), self.settings)
        request_id = correlation.new_request_id()
        headers = {correlation.REQUEST_ID.decode(): request_id}
        try:
            status, body = await self._answer(request, request_id, caller, name, asked, preferences)
        except HttpError as error:
            error.headers.update(headers)
            raise
        if status == 400:
            headers["x-ms-error-code"] = errors.BAD_ARGUMENT
        return Response(body, status, headers, media_type=JSON_TYPE)

    async def metadata(self, request: Request) -> Response:
        """What can be queried of the workspace or resource in the path; `select` names the lists that are wanted."""
        caller = self.readers.authenticate(request)
        view = self.readers.view(caller, (request.path_params["workspace"],))
        wanted = request.query_params.get("select", "")
        body = await run_in_threadpool(lambda: msgspec.json.encode(selected(describe(view), wanted)))
        return Response(body, media_type=JSON_TYPE)

    async def batch(self, request: Request) -> Response:
        """Several queries; each has an answer of its own under its id."""
        caller = self.readers.authenticate(request)
        items = read_batch(await read_body(request))
        ids = [correlation.new_request_id() for _ in items]
        answers = await asyncio.gather(
            *(self._item(request, number, caller, item) for number, item in zip(ids, items, strict=True))
        )
        responses = [
            {
                "id": item.id,
                "status": status,
                "headers": {correlation.REQUEST_ID.decode(): number},
                "body": msgspec.Raw(body),
            }
            for number, item, (status, body) in zip(ids, items, answers, strict=True)
        ]
        return json_response({"responses": responses})

    async def _item(
        self, request: Request, request_id: str, caller: Caller, item: BatchItem
    ) -> tuple[int, bytes]:
        try:
            if item.path.strip("/").lower() not in ("query", "search"):
                raise _path_not_found()
            asked = item_query(item, self.clock.now())
            headers = [value for name, value in (item.headers or {}).items() if name.lower() == "prefer"]
            preferences = read_preferences(headers, self.settings)
            return await self._answer(request, request_id, caller, item.workspace, asked, preferences)
        except HttpError as error:
            return error.status, msgspec.json.encode({"error": error_object(error.problem)})

    async def _answer(
        self,
        request: Request,
        request_id: str,
        caller: Caller,
        workspace: str,
        asked: QueryRequest,
        preferences: Preferences,
    ) -> tuple[int, bytes]:
        view = self.readers.view(caller, (workspace, *asked.workspaces))
        with self.log.watching(request, request_id, caller, asked, view.workspaces) as outcome:
            return await self._run(view, asked, preferences, outcome)

    async def _run(
        self, view: WorkspaceView, asked: QueryRequest, preferences: Preferences, outcome: Outcome
    ) -> tuple[int, bytes]:
        try:
            with errors.failures_told(preferences.wait):
                result = await self.engine.run(view, asked, preferences.wait)
        except KqlError as error:
            outcome.status = 400
            return 400, msgspec.json.encode({"error": errors.compile_error(error.problems, asked.text)})
        outcome.answered(result)
        return 200, _encode(result, preferences)


def _encode(result: QueryResult, preferences: Preferences) -> bytes:
    answer: dict[str, Any] = {
        "tables": [
            {
                "name": table.name,
                "columns": [{"name": name, "type": kind} for name, kind in table.columns],
                "rows": msgspec.Raw(table.rows),
            }
            for table in result.tables
        ]
    }
    if preferences.statistics:
        answer["statistics"] = result.statistics()
    if preferences.render and result.render is not None:
        answer["render"] = _render(result.render)
    if preferences.data_sources:
        answer["dataSources"] = []
    if result.partial is not None:
        answer["error"] = errors.partial_error(result.partial)
    return msgspec.json.encode(answer)


def _render(render: Render) -> dict[str, Any]:
    """Every property that clients look for, under the name that they look for."""
    empty = {"visualization": render.visualization, **dict.fromkeys(_RENDERED), **_RENDERED_BY_DEFAULT}
    names = {name.lower(): name for name in empty}
    return empty | {names.get(name.lower(), name): value for name, value in render.properties.items()}
