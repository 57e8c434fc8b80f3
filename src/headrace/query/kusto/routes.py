"""Kusto's HTTP surface: `/v1/rest/auth/metadata`, `/v1/rest/mgmt`, `/v1/rest/query`, `/v2/rest/query`.

A workspace is a database, named by its name, its id or its resource id.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headrace.catalog.model import Workspace
from headrace.clock import Clock
from headrace.errors import Problem, ProblemError
from headrace.identity.model import Caller
from headrace.kql.api import KqlError
from headrace.query import errors
from headrace.query.database import WorkspaceView
from headrace.query.engine import QueryEngine
from headrace.query.kusto.commands import Commands, no_database
from headrace.query.kusto.frames import Exchange, error_body, listing, version1, version2
from headrace.query.kusto.requests import KustoRequest, bad_request, read_request
from headrace.query.log import QueryLog
from headrace.query.model import QueryRequest, QueryResult
from headrace.query.readers import Readers
from headrace.query.requests import read_body
from headrace.settings import QuerySettings
from headrace.wire import correlation
from headrace.wire.addresses import Addresses
from headrace.wire.problems import JSON_TYPE, HttpError, json_response
from headrace.wire.routing import AnyCaseRoute

CLIENT_APP = "db662dc1-0cfe-4e1c-a843-19a68e65be58"
"""The public client id that Kusto's tools sign in with.

Source: `azure-kusto-data`, the cloud's default settings."""

_NO_DATABASE = ("", "netdefaultdb")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class KustoService:
    """What the routes need: the engine, who may read what, and how this server is reached."""

    engine: QueryEngine
    readers: Readers
    settings: QuerySettings
    addresses: Addresses
    tenant: Callable[[], str]
    clock: Clock
    log: QueryLog

    def routes(self) -> list[Route]:
        """The surface's routes, in any letter case."""
        return [
            AnyCaseRoute("/v1/rest/auth/metadata", self.metadata, methods=["GET"]),
            AnyCaseRoute("/v1/rest/mgmt", self.command, methods=["POST"]),
            AnyCaseRoute("/v1/rest/query", partial(self.query, version1), methods=["POST"]),
            AnyCaseRoute("/v2/rest/query", partial(self.query, version2), methods=["POST"]),
        ]

    async def metadata(self, request: Request) -> Response:
        """Where clients sign in, and for which resource; asked without a token."""
        base = self.addresses.base(request.headers.get("host"))
        return json_response(
            {
                "AzureAD": {
                    "LoginEndpoint": base,
                    "LoginMfaRequired": False,
                    "KustoClientAppId": CLIENT_APP,
                    "KustoClientRedirectUri": "http://localhost",
                    "KustoServiceResourceId": base,
                    "FirstPartyAuthorityUrl": f"{base}/{self.tenant()}",
                }
            }
        )

    async def query(self, write: Callable[[QueryResult, Exchange], bytes], request: Request) -> Response:
        """A query, or a command sent to the query address, as some tools do."""
        exchange = self._exchange(request)
        try:
            caller = self.readers.authenticate(request)
            asked = read_request(await read_body(request), self.settings)
            if asked.text.lstrip().startswith("."):
                return await self._listing(caller, asked, exchange)
            return _json(write(await self._run(request, caller, asked, exchange), exchange), exchange)
        except HttpError as error:
            return _refusal(error, exchange)

    async def command(self, request: Request) -> Response:
        """A management command."""
        exchange = self._exchange(request)
        try:
            caller = self.readers.authenticate(request)
            asked = read_request(await read_body(request), self.settings)
            if not asked.text.lstrip().startswith("."):
                raise bad_request("A command begins with a dot. Send queries to /v2/rest/query.", "csl")
            return await self._listing(caller, asked, exchange)
        except HttpError as error:
            return _refusal(error, exchange)

    async def _run(
        self, request: Request, caller: Caller, asked: KustoRequest, exchange: Exchange
    ) -> QueryResult:
        view = self.readers.view(caller, (self._database(caller, asked.database).customer_id,))
        query = QueryRequest(asked.text, parameters=asked.parameters, max_rows=asked.max_rows)
        with self.log.watching(request, exchange.activity, caller, query, view.workspaces) as outcome:
            result = await self._answer(view, query, asked.wait)
            outcome.answered(result)
        return result

    async def _answer(self, view: WorkspaceView, query: QueryRequest, wait: int) -> QueryResult:
        try:
            with errors.failures_told(wait):
                return await self.engine.run(view, query, wait)
        except KqlError as error:
            raise _compile_error(error.problems) from None

    async def _listing(self, caller: Caller, asked: KustoRequest, exchange: Exchange) -> Response:
        commands = Commands(
            self.readers.workspaces(caller),
            view=lambda workspace: self.readers.view(caller, (workspace.customer_id,)),
            database=lambda: self._database(caller, asked.database),
        )
        try:
            return _json(listing(await run_in_threadpool(commands.run, asked.text)), exchange)
        except ProblemError as error:
            raise HttpError(400, error.problems[0]) from None

    def _database(self, caller: Caller, name: str) -> Workspace:
        """The workspace that a request names; the only one when it names none."""
        if name.lower() not in _NO_DATABASE:
            try:
                return self.readers.workspace(caller, name).workspaces[0]
            except HttpError as error:
                if error.status != 404:
                    raise
                # Clients take 404 for an address that does not exist.
                raise HttpError(400, no_database(name)) from None
        mine = self.readers.workspaces(caller)
        if len(mine) != 1:
            hint = (
                f"There are: {', '.join(one.name for one in mine[:20])}."
                if mine
                else "There is none for you."
            )
            raise bad_request(f"Name a workspace as the database. {hint}", "db")
        return mine[0]

    def _exchange(self, request: Request) -> Exchange:
        given = request.headers.get("x-ms-client-request-id", "")[:200]
        return Exchange(correlation.new_request_id(), given, self.clock.now())


def _json(body: bytes, exchange: Exchange) -> Response:
    return Response(body, 200, {"x-ms-activity-id": exchange.activity}, media_type=JSON_TYPE)


def _compile_error(problems: tuple[Problem, ...]) -> HttpError:
    """400 with the first problem in front and all of them inside."""
    first = problems[0]
    place = f" at line {first.span.line}, column {first.span.column}" if first.span is not None else ""
    kind = "Syntax" if errors.is_syntax(first) else "Semantic"
    message = f"{kind} error: {first.code}{place}: {first.message}"
    return HttpError(400, Problem("General_BadRequest", message, hint=first.hint, details=problems))


def _refusal(error: HttpError, exchange: Exchange) -> Response:
    problem = error.problem
    kind = "KustoBadRequestException" if error.status < 500 else "KustoServiceException"
    if problem.details and error.status == 400:
        kind = "SyntaxException" if errors.is_syntax(problem.details[0]) else "SemanticException"
    headers = {"x-ms-activity-id": exchange.activity, **error.headers}
    body = error_body(problem, kind, exchange.activity, permanent=error.status < 500 and error.status != 429)
    return Response(msgspec.json.encode(body), error.status, headers, media_type=JSON_TYPE)
