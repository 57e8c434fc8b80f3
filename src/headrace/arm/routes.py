"""The control plane's addresses: one route takes every path of a resource and hands it to the router."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from headrace.arm.dispatch import Found
from headrace.arm.ids import is_arm_path
from headrace.arm.model import Answer, ArmDeps
from headrace.arm.router import Router
from headrace.store.database import StoreError
from headrace.wire.bodies import BodyTooLargeError, read_bounded
from headrace.wire.correlation import client_request_id, new_request_id
from headrace.wire.problems import HttpError, error_response, http_error, json_response

MAX_BODY = 4 * 1024 * 1024
MAX_QUERY = 16 * 1024
MAX_PARAMETERS = 64


def arm_routes(deps: ArmDeps) -> list[BaseRoute]:
    """The route of all paths that begin with `subscriptions`, `providers` or `tenants`, in any case."""
    return [ArmRoute(Router(deps))]


class ArmRoute(BaseRoute):
    """Matches by the path's first segment, in any case and with doubled slashes; answers every method."""

    def __init__(self, router: Router) -> None:
        self._router = router

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """See Starlette's routing."""
        if scope["type"] == "http" and is_arm_path(scope["path"]):
            return Match.FULL, {}
        return Match.NONE, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; every failure is one of ARM's error bodies."""
        request = Request(scope, receive)
        response = await self._respond(request)
        request_id = new_request_id()
        response.headers["x-ms-request-id"] = request_id
        # One id for the calls that belong together, where the client gives one.
        correlation = _sent_id(request, "x-ms-correlation-request-id") or request_id
        response.headers["x-ms-correlation-request-id"] = correlation
        response.headers["Cache-Control"] = "no-cache"
        client_id = _sent_id(request, "x-ms-client-request-id")
        if client_id:
            response.headers["x-ms-client-request-id"] = client_id
        if request.method == "HEAD":
            response = Response(status_code=response.status_code, headers=_headers_alone(response))
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        async def read_body(found: Found) -> dict[str, Any]:
            return await read_object(request, found.kind.parse)

        try:
            query = read_query(request.scope.get("query_string", b""))
            headers = {name.lower(): value for name, value in request.headers.items()}
            path = request.scope.get("raw_path") or request.scope["path"]
            answer = await self._router.answer(request.method, path, query, headers, read_body)
        except HttpError as error:
            return error_response(error)
        except (SQLAlchemyError, StoreError):
            busy = "The resource store cannot be used at the moment: try again."
            return error_response(http_error(503, "ServiceUnavailable", busy, headers={"Retry-After": "1"}))
        return respond(answer)


def respond(answer: Answer) -> Response:
    """The response that an answer stands for."""
    if answer.body is None:
        return Response(status_code=answer.status, headers=dict(answer.headers))
    return json_response(answer.body, answer.status, answer.headers)


def _sent_id(request: Request, name: str) -> str:
    header = request.headers.get(name)
    return client_request_id(header.encode("latin-1", "replace")) if header else ""


def _headers_alone(response: Response) -> dict[str, str]:
    left_out = ("content-length", "content-type")
    return {name: value for name, value in response.headers.items() if name not in left_out}


def read_query(raw: bytes) -> dict[str, str]:
    """The query's parameters with lower-case names; names may be percent-encoded. Raises `HttpError` 400."""
    try:
        text = raw.decode("ascii")
        if len(text) > MAX_QUERY:
            raise ValueError(text)
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS)
    except ValueError:
        raise http_error(
            400, "InvalidRequestUri", "The query is not UTF-8, or it is longer than any call needs."
        ) from None
    return {name.lower(): value for name, value in pairs}


async def read_object(request: Request, parse: Callable[[bytes], dict[str, Any]]) -> dict[str, Any]:
    """The request's body, as `parse` reads it. Raises `HttpError` 400 or 413."""
    if request.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise http_error(415, "UnsupportedMediaType", "Management calls are sent without Content-Encoding.")
    try:
        return parse(await read_bounded(request, MAX_BODY))
    except ClientDisconnect:
        raise http_error(400, "InvalidRequestContent", "The request's body ended early.") from None
    except BodyTooLargeError:
        message = f"The request content size exceeds the maximum size of {MAX_BODY} bytes."
        raise http_error(413, "RequestContentTooLarge", message) from None
