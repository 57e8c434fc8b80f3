"""Sees what an application answers, and tells the audit log; writes that succeeded are durable there first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headrace.observe.audit.events import AuditEvent, Auditor
from headrace.observe.log_errors import Repeats

READS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Answered:
    """A request and what it was answered. Header names are lower-case; `path` is as it was sent."""

    method: str
    path: bytes
    headers: dict[bytes, bytes]
    address: str
    status: int
    code: str
    request_id: str

    @property
    def refused(self) -> bool:
        """Whether the caller was not let in."""
        return self.status in (401, 403)


Describe = Callable[[Answered], AuditEvent | None]
"""The event that an answer makes; None for what is of no interest."""


class Audited:
    """An ASGI application around another. Refusals of one kind are told a few times an hour."""

    def __init__(self, app: ASGIApp, auditor: Auditor, describe: Describe, now: Callable[[], int]) -> None:
        self._app = app
        self._auditor = auditor
        self._describe = describe
        self._now = now
        self._repeats = Repeats(limit=20)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self._tell(scope, message)
            await send(message)

        await self._app(scope, receive, told)

    async def _tell(self, scope: Scope, message: Message) -> None:
        method, status = scope["method"], message["status"]
        if method in READS and status not in (401, 403):
            return
        sent = {name.lower(): value for name, value in message.get("headers", ())}
        headers = dict(scope["headers"])
        client = scope.get("client")
        forwarded = headers.get(b"x-forwarded-for", b"").decode("latin-1")
        event = self._describe(
            Answered(
                method,
                scope.get("raw_path") or scope["path"].encode(),
                headers,
                forwarded or (str(client[0]) if client else ""),
                status,
                sent.get(b"x-ms-error-code", b"").decode("latin-1"),
                sent.get(b"x-ms-request-id", b"").decode("latin-1"),
            )
        )
        if event is None:
            return
        if status < 400:
            await self._auditor.record(event)
            return
        kind = (event.address, event.principal, event.operation, event.scope, event.code)
        text = self._repeats.message(kind, self._now(), event.details)
        if text is not None:
            self._auditor.tell(msgspec.structs.replace(event, details=text))
