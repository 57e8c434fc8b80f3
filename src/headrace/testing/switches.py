"""The server's side of faults that tests ask for: only there where `faults.enabled` is set.

A gateway then has `FaultyGateway` in front, and all of its connections are `CuttableProtocol`s: `ingest/connection.py`,
the common way in, is left out rather than slowed down.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, assert_never

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headrace.identity.admin import ACTION
from headrace.identity.model import TokenError
from headrace.identity.surface import Admin, invalid
from headrace.ingest import errors
from headrace.ingest.body import ClientGoneError, drain_body
from headrace.ingest.call import Call
from headrace.serving import GuardedProtocol
from headrace.testing.faultbook import Answer, Cut, Delay, Fault, FaultBook
from headrace.wire.asgi import Headers, answer_error
from headrace.wire.problems import HttpError, http_error, json_response
from headrace.wire.targets import path_segments

_CUT = "headrace.cut"
_ASKED = "A test asked this server for this answer; nothing is wrong with the request."
_ASKED_AFTER = "A test asked this server for this answer; the request was kept all the same."
_CODES: Mapping[int, str] = {
    403: "OperationFailed",
    404: "NotFound",
    408: "TimeoutExpired",
    413: "ContentLengthLimitExceeded",
    429: "TooManyRequests",
    500: "InternalServerError",
    502: "BadGateway",
    503: "ServiceUnavailable",
    504: "GatewayTimeout",
}
_RETRY_SECONDS: Mapping[int, int] = {429: 1, 503: 1}


class CuttableProtocol(GuardedProtocol):
    """Lets the application reset the connection, by what stands in the request's state."""

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self.scope["state"][_CUT] = self.transport.abort


class FaultyGateway:
    """An ASGI application in front of `gateway`: calls of the ingestion API meet the faults of `book`.

    `authority` gives the address that tokens come from, for the server as the request's Host names it. A body is read
    for `body_seconds` at most before an error is answered.
    """

    def __init__(
        self, gateway: ASGIApp, book: FaultBook, authority: Callable[[str | None], str], body_seconds: float
    ) -> None:
        self._gateway = gateway
        self._book = book
        self._authority = authority
        self._body_seconds = body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection's request."""
        if not _is_ingestion(scope):
            await self._gateway(scope, receive, send)
            return
        fault = self._book.take(after=False)
        if isinstance(fault, Delay):
            await asyncio.sleep(fault.seconds)
        elif fault is not None:
            headers = list(Call(dict(scope["headers"]), "").ids)
            try:
                if isinstance(fault, Answer) and not await drain_body(receive, self._body_seconds):
                    headers.append((b"connection", b"close"))
                await self._replace(fault, scope, receive, send, headers)
            except ClientGoneError:
                pass
            return
        await self._gateway(scope, receive, self._afterwards(scope, receive, send))

    def _afterwards(self, scope: Scope, receive: Receive, send: Send) -> Send:
        """A `send` by which a call that was kept meets the faults that are for afterwards."""
        replaced = False

        async def sending(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start" and message["status"] == 204:
                fault = self._book.take(after=True)
                if isinstance(fault, Delay):
                    await asyncio.sleep(fault.seconds)
                elif fault is not None:
                    replaced = True
                    await self._replace(fault, scope, receive, send, message["headers"])
            if not replaced:
                await send(message)

        return sending

    async def _replace(
        self, fault: Answer | Cut, scope: Scope, receive: Receive, send: Send, headers: Headers
    ) -> None:
        """What the client gets in place of its answer."""
        if isinstance(fault, Answer):
            host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
            await answer_error(send, _error(fault, self._authority(host or None)), headers)
        elif isinstance(fault, Cut):
            scope["state"][_CUT]()
            while (await receive())["type"] != "http.disconnect":
                pass
        else:
            assert_never(fault)


def _error(fault: Answer, authority: str) -> HttpError:
    """The documented answer of a status; its message says where it comes from."""
    message = _ASKED_AFTER if fault.after else _ASKED
    if fault.status == 401:
        return errors.token_refused(TokenError("expired", message), authority)
    seconds = _RETRY_SECONDS.get(fault.status) if fault.retry_after is None else fault.retry_after
    headers = {} if seconds is None else {"Retry-After": str(seconds)}
    return http_error(fault.status, _CODES[fault.status], message, headers=headers)


def _is_ingestion(scope: Scope) -> bool:
    if scope["type"] != "http" or scope["method"] != "POST":
        return False
    segments = path_segments(scope.get("raw_path") or scope["path"].encode())
    return len(segments) == 4 and segments[0].lower() == "datacollectionrules"


def fault_routes(admin: Admin, book: FaultBook) -> list[Route]:
    """How tests ask for faults. Rights as for `/headrace/apps`.

    - `POST /headrace/faults` `{"fault": "answer", "status", "retryAfter"?}`, `{"fault": "delay", "seconds"}` or
      `{"fault": "cut"}`, each with `"times"?: count or null, "after"?: bool`: 201 with the same, `id` and `hits`.
    - `GET /headrace/faults`: `{"value": [fault...]}`, oldest first.
    - `DELETE /headrace/faults`: 204, all are gone; `DELETE /headrace/faults/{id}`: 204, this one is.
    """

    async def arm(_admin: Admin, _request: Request, body: Mapping[str, Any]) -> Response:
        try:
            fault = msgspec.convert(body, Fault)
        except msgspec.ValidationError as error:
            raise invalid("body", f"This is no fault: {error}.") from error
        return json_response(book.arm(fault).document(), 201)

    async def show(_admin: Admin, _request: Request, _body: Mapping[str, Any]) -> Response:
        return json_response({"value": [one.document() for one in book.armed()]})

    async def clear(_admin: Admin, request: Request, _body: Mapping[str, Any]) -> Response:
        book.clear(request.path_params.get("id"))
        return Response(status_code=204)

    return [
        admin.route("/headrace/faults", "POST", arm, ACTION),
        admin.route("/headrace/faults", "GET", show, ACTION),
        admin.route("/headrace/faults", "DELETE", clear, ACTION),
        admin.route("/headrace/faults/{id}", "DELETE", clear, ACTION),
    ]
