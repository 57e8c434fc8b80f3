"""The Logs Query API: workspace queries by POST and GET, resource queries, and `$batch`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headrace.catalog.model import Catalog, Workspace
from headrace.clock import Clock
from headrace.identity.access import Access
from headrace.identity.model import QUERY, Caller, TokenError
from headrace.identity.verify import TokenVerifier
from headrace.kql.api import KqlError, Render
from headrace.query import errors
from headrace.query.database import WorkspaceView, find_workspace
from headrace.query.engine import BusyError, QueryEngine, QueryFailedError, QueryTimeoutError
from headrace.query.model import Preferences, QueryRequest, QueryResult
from headrace.query.requests import (
    MAX_BODY_BYTES,
    BatchItem,
    item_query,
    read_batch,
    read_preferences,
    read_query,
    read_url_query,
)
from headrace.settings import QuerySettings
from headrace.wire.problems import JSON_TYPE, HttpError, error_object, http_error, json_response

QUERY_ACTION = "Microsoft.OperationalInsights/workspaces/query/read"
_BUSY_SECONDS = 5


def _route(path: str, endpoint: Callable[[Request], Awaitable[Response]], *methods: str) -> Route:
    """A route whose path matches in any letter case, and with slashes doubled around `/v1`."""
    route = Route(path, endpoint, methods=methods)
    pattern = route.path_regex.pattern.replace("^/v1/", "^/+v1/+")
    route.path_regex = re.compile(pattern, re.IGNORECASE)
    return route


def _path_not_found() -> HttpError:
    return http_error(404, "PathNotFoundError", "The requested path does not exist")


@dataclass(frozen=True, slots=True)
class QueryService:
    """What the routes need: the engine, and views of who may do what and of what there is."""

    engine: QueryEngine
    verifier: TokenVerifier
    access: Callable[[], Access]
    catalog: Callable[[], Catalog]
    settings: QuerySettings
    clock: Clock

    def routes(self) -> list[Route]:
        """The API's routes, `/v1` included and in any letter case; the last takes every other path."""
        return [
            _route("/v1/$batch", self.batch, "POST"),
            _route("/v1/workspaces/{workspace}/query", self.query, "GET", "POST"),
            _route("/v1/{workspace:path}/query", self.query, "GET", "POST"),
            _route("/{path:path}", self.nowhere, "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"),
        ]

    async def nowhere(self, _request: Request) -> Response:
        """404 for a path or method that the API does not have."""
        raise _path_not_found()

    async def query(self, request: Request) -> Response:
        """One query against the workspace in the path."""
        caller = self._authenticate(request)
        url = dict(request.query_params)
        now = self.clock.now()
        if request.method == "POST":
            asked = read_query(await _read_body(request), url, now)
        else:
            asked = read_url_query(url, now)
        preferences = read_preferences(request.headers.get("prefer"), self.settings)
        status, body = await self._answer(caller, request.path_params["workspace"], asked, preferences)
        return Response(body, status, media_type=JSON_TYPE)

    async def batch(self, request: Request) -> Response:
        """Several queries; each has an answer of its own under its id."""
        caller = self._authenticate(request)
        items = read_batch(await _read_body(request))
        answers = await asyncio.gather(*(self._item(caller, item) for item in items))
        responses = [
            {"id": item.id, "status": status, "headers": {}, "body": msgspec.Raw(body)}
            for item, (status, body) in zip(items, answers, strict=True)
        ]
        return json_response({"responses": responses})

    async def _item(self, caller: Caller, item: BatchItem) -> tuple[int, bytes]:
        try:
            if item.path.strip("/").lower() != "query":
                raise _path_not_found()
            asked = item_query(item, self.clock.now())
            header = next((v for k, v in (item.headers or {}).items() if k.lower() == "prefer"), None)
            return await self._answer(caller, item.workspace, asked, read_preferences(header, self.settings))
        except HttpError as error:
            return error.status, msgspec.json.encode({"error": error_object(error.problem)})

    def _authenticate(self, request: Request) -> Caller:
        try:
            return self.verifier.verify(request.headers.get("authorization"), QUERY)
        except TokenError as error:
            raise _token_problem(error) from None

    async def _answer(
        self, caller: Caller, workspace: str, asked: QueryRequest, preferences: Preferences
    ) -> tuple[int, bytes]:
        view = self._view(caller, (workspace, *asked.workspaces))
        try:
            result = await self.engine.run(view, asked, preferences.wait)
        except KqlError as error:
            return 400, msgspec.json.encode({"error": errors.compile_error(error.problems)})
        except QueryTimeoutError:
            raise errors.gateway_timeout(preferences.wait) from None
        except BusyError:
            raise errors.throttled(_BUSY_SECONDS) from None
        except QueryFailedError:
            raise http_error(500, "InternalServerError", "The query failed in the engine.") from None
        return 200, _encode(result, preferences)

    def _view(self, caller: Caller, names: tuple[str, ...]) -> WorkspaceView:
        catalog = self.catalog()
        workspaces: dict[str, Workspace] = {}
        for name in names:
            found = find_workspace(catalog, name)
            if found is None:
                raise errors.workspace_not_found(name)
            if not self._may_query(caller, found):
                raise errors.forbidden(caller.object_id)
            workspaces[found.customer_id] = found
        return WorkspaceView(catalog, tuple(workspaces.values()), partial(self._may_read, caller))

    def _may_query(self, caller: Caller, workspace: Workspace) -> bool:
        return self.access().allows(caller.object_id, QUERY_ACTION, workspace.resource_id)

    def _may_read(self, caller: Caller, workspace: Workspace, table: str) -> bool:
        action = f"Microsoft.OperationalInsights/workspaces/query/{table}/read"
        return self.access().allows(caller.object_id, action, workspace.resource_id)


async def _read_body(request: Request) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise http_error(
                413, "RequestEntityTooLarge", f"A query's body has at most {MAX_BODY_BYTES} bytes."
            )
        chunks.append(chunk)
    return b"".join(chunks)


def _token_problem(error: TokenError) -> HttpError:
    if error.kind == "missing":
        return http_error(
            401, "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing."
        )
    if error.kind == "audience":
        return http_error(403, "InvalidAuthenticationTokenAudience", error.message)
    return http_error(403, "InvalidAuthenticationToken", f"The access token is invalid. {error.message}")


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
