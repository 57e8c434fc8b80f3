"""`GET /metrics`: Prometheus text, joined from all processes."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from starlette.types import Receive, Scope, Send

from headrace.observe.exchange import all_numbers
from headrace.observe.metrics import Snapshot, render
from headrace.wire.asgi import answer_bytes, answer_error
from headrace.wire.problems import http_error


class MetricsPage:
    """An ASGI application. `folder` is the one of the processes' sockets.

    `reach` says who is answered: anyone (`open`), or only callers on this machine (`local`). `own` gives the numbers of
    the process that answers, by its name.
    """

    def __init__(
        self, folder: Path, reach: Literal["open", "local"], own: Mapping[str, Callable[[], Snapshot]]
    ) -> None:
        self._folder = folder
        self._reach = reach
        self._own = own

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if self._reach == "local" and not _is_local(scope):
            message = "Metrics are for callers on this machine: see the setting server.metrics."
            await answer_error(send, http_error(403, "Forbidden", message))
            return
        if scope["method"] not in ("GET", "HEAD"):
            message = "Metrics are read with GET."
            await answer_error(
                send, http_error(405, "MethodNotAllowed", message, headers={"Allow": "GET, HEAD"})
            )
            return
        numbers = await all_numbers(self._folder, self._own)
        # Thousands of rules make a long text; calls of the ingestion API should not wait for it.
        text, content_type = await asyncio.to_thread(render, numbers)
        await answer_bytes(
            send, 200, [(b"content-type", content_type.encode())], text if scope["method"] == "GET" else b""
        )


def _is_local(scope: Scope) -> bool:
    client = scope.get("client")
    try:
        return client is not None and ipaddress.ip_address(client[0]).is_loopback
    except ValueError:
        return False
