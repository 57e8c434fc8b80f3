"""The gateway: the Logs Ingestion API in process, everything else handed on.

`POST /dataCollectionRules/{immutableId}/streams/{stream}?api-version=...` is answered here, by plain ASGI and
without disk or SQL save for the journal. 204 is sent when the payload is durable, and never before. What comes
the common way does not even get here: see `connection.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from starlette.types import ASGIApp, Receive, Scope, Send

from headrace.ingest import errors
from headrace.ingest.body import (
    DRAIN_BYTES,
    BodyTooLargeError,
    ClientGoneError,
    Lease,
    NoRoomError,
    SlowBodyError,
    drain_body,
    read_body,
)
from headrace.ingest.call import Call
from headrace.ingest.intake import Intake, journal_refusal
from headrace.journal.model import JournalBrokenError, JournalFullError
from headrace.wire.asgi import answer_bytes, answer_empty, answer_error
from headrace.wire.problems import HttpError
from headrace.wire.targets import path_segments

_PREFIX = "datacollectionrules"


class _Exchange:
    """A call and the body that it is still sending."""

    __slots__ = ("call", "drained", "given_up", "receive")

    def __init__(self, call: Call, receive: Receive) -> None:
        self.call = call
        self.receive = receive
        self.drained = False
        # One that waits for `100 Continue` has not begun to send, and need not.
        waits = call.header(b"expect").lower() == "100-continue"
        self.given_up = waits or (call.content_length() or 0) > DRAIN_BYTES


class Gateway:
    """The ASGI 3 application of a gateway process.

    `metrics` answers `/metrics`, `collector` `/api/logs`, `proxy` every other request that is not the
    ingestion API's. `ready` says whether recovery is done.
    """

    def __init__(
        self,
        *,
        intake: Intake,
        proxy: ASGIApp,
        ready: Callable[[], bool],
        metrics: ASGIApp | None = None,
        collector: ASGIApp | None = None,
    ) -> None:
        self._intake = intake
        self._proxy = proxy
        self._ready = ready
        self._metrics = metrics
        self._collector = collector

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection's request."""
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        segments = path_segments(raw)
        first = segments[0].lower() if segments else ""
        if first == _PREFIX:
            await self._ingestion(scope, receive, send, segments)
        elif len(segments) == 1 and first in ("healthz", "readyz"):
            await self._health(first, send)
        elif (
            first == "api"
            and len(segments) == 2
            and segments[1].lower() == "logs"
            and self._collector is not None
        ):
            await self._collector(scope, receive, send)
        elif len(segments) == 1 and first == "metrics" and self._metrics is not None:
            await self._metrics(scope, receive, send)
        else:
            await self._proxy(scope, receive, send)

    async def _health(self, name: str, send: Send) -> None:
        good = name == "healthz" or self._ready()
        body = b'{"status":"ok"}' if good else b'{"status":"starting"}'
        await answer_bytes(send, 200 if good else 503, [(b"content-type", b"application/json")], body)

    async def _ingestion(self, scope: Scope, receive: Receive, send: Send, segments: tuple[str, ...]) -> None:
        client = scope.get("client")
        exchange = _Exchange(Call(dict(scope["headers"]), str(client[0]) if client else ""), receive)
        call = exchange.call
        try:
            try:
                check_operation(scope["method"], segments)
                self._intake.check(call, scope["query_string"], segments[1], segments[3])
                await self._take(exchange)
            except HttpError as error:
                await self._refuse(exchange, scope, send, error)
                return
        except ClientGoneError:
            return
        await answer_empty(send, 204, call.ids)

    async def _take(self, exchange: _Exchange) -> None:
        """Read the body and wait until it is durable. Raises `HttpError`, `ClientGoneError`."""
        with Lease(self._intake.budget) as lease:
            body = await self._body(exchange, lease)
            pending = self._intake.keep(exchange.call, body)
            try:
                records = await asyncio.gather(*pending)
            except (JournalFullError, JournalBrokenError) as error:
                raise journal_refusal(error) from error
        self._intake.kept(exchange.call, records)

    async def _body(self, exchange: _Exchange, lease: Lease) -> bytes:
        exchange.given_up = False
        limit = self._intake.settings.max_wire_bytes
        seconds = self._intake.settings.body_timeout_seconds
        try:
            body = await read_body(exchange.receive, limit, seconds, lease)
        except BodyTooLargeError as error:
            exchange.drained = error.drained
            exchange.given_up = not error.drained
            raise errors.wire_body_too_large(limit, error.size) from error
        except NoRoomError as error:
            exchange.drained = error.drained
            raise errors.memory_full() from error
        except SlowBodyError as error:
            exchange.given_up = True
            raise errors.slow_body(seconds) from error
        exchange.drained = True
        return body

    async def _refuse(self, exchange: _Exchange, scope: Scope, send: Send, error: HttpError) -> None:
        """Let the client finish sending, then answer: one that still writes would see a reset instead."""
        headers = exchange.call.ids
        if not (exchange.drained or exchange.given_up):
            exchange.drained = await drain_body(exchange.receive, self._intake.settings.body_timeout_seconds)
        if not exchange.drained and scope.get("http_version", "1.1").startswith("1"):
            headers = [*headers, (b"connection", b"close")]
        note = self._intake.note_refused(exchange.call, error)
        if note is not None:
            with suppress(JournalFullError, JournalBrokenError):
                await note
        self._intake.refused(exchange.call, error)
        await answer_error(send, error, headers)


def check_operation(method: str, segments: tuple[str, ...]) -> None:
    """Whether this is the API's one operation. Raises `HttpError` 404."""
    if method != "POST" or len(segments) != 4 or segments[2].lower() != "streams":
        raise errors.no_such_operation(method)
