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
from headrace.identity.model import Caller
from headrace.kql.api import KqlError, Render
from headrace.query import errors
from headrace.query.database import WorkspaceView
from headrace.query.engine import QueryEngine
from headrace.query.log import Outcome, QueryLog
from headrace.query.metadata import describe
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
from headrace.query.routing import any_case_route
from headrace.settings import QuerySettings
from headrace.wire import correlation
from headrace.wire.problems import JSON_TYPE, HttpError, error_object, http_error, json_response


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
            any_case_route("/v1/$batch", self.batch, "POST"),
            any_case_route("/v1/workspaces/{workspace}/query", self.query, "GET", "POST"),
            # Azure's address for queries of tables with the plans Basic and Auxiliary.
            any_case_route("/v1/workspaces/{workspace}/search", self.query, "POST"),
            any_case_route("/v1/{workspace:path}/query", self.query, "GET", "POST"),
            any_case_route("/v1/workspaces/{workspace}/metadata", self.metadata, "GET", "POST"),
            any_case_route("/v1/{workspace:path}/metadata", self.metadata, "GET", "POST"),
            any_case_route("/{path:path}", self.nowhere, "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"),
        ]

    async def nowhere(self, _request: Request) -> Response:
        """404 for a path or method that the API does not have."""
        raise _path_not_found()

    async def query(self, request: Request) -> Response:
        """One query against the workspace in the path."""
        caller = self.readers.authenticate(request)
        url = dict(request.query_params)
        now = self.clock.now()
        posted = request.method == "POST"
        asked = read_query(await read_body(request), url, now) if posted else read_url_query(url, now)
        preferences = read_preferences(request.headers.get("prefer"), self.settings)
        request_id = correlation.new_request_id()
        headers = {correlation.REQUEST_ID.decode(): request_id}
        try:
            status, body = await self._answer(
                request, request_id, caller, request.path_params["workspace"], asked, preferences
            )
        except HttpError as error:
            error.headers.update(headers)
            raise
        return Response(body, status, headers, media_type=JSON_TYPE)

    async def metadata(self, request: Request) -> Response:
        """What can be queried in the workspace in the path."""
        caller = self.readers.authenticate(request)
        view = self.readers.view(caller, (request.path_params["workspace"],))
        body = await run_in_threadpool(lambda: msgspec.json.encode(describe(view)))
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
            header = next((v for k, v in (item.headers or {}).items() if k.lower() == "prefer"), None)
            preferences = read_preferences(header, self.settings)
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
            return 400, msgspec.json.encode({"error": errors.compile_error(error.problems)})
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
    empty = dict.fromkeys(
        (
            "title",
            "xColumn",
            "yColumns",
            "series",
            "legend",
            "xTitle",
            "yTitle",
            "xAxis",
            "yAxis",
            "ymin",
            "ymax",
        )
    )
    known = {"accumulate": False, "isQuerySorted": False, "kind": "default", "annotation": "", "by": None}
    return {"visualization": render.visualization, **empty, **known, **render.properties}
