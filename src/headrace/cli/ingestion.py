"""Calls of the ingestion API, as `headrace send` and `headrace dead-letters replay` make them."""

from __future__ import annotations

import hashlib
import uuid
from typing import TYPE_CHECKING
from urllib.parse import quote

from headrace.cli.client import INGESTION_SCOPE, Server

if TYPE_CHECKING:
    import httpx

_VERSION = "2023-01-01"

REPEAT = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses after which the same call may be made once more."""


def stream_url(server: Server, rule: str, stream: str) -> str:
    """The address of a rule's stream; `rule` is an immutableId."""
    base = server.variable("HEADRACE_INGEST_URL")
    return f"{base}/dataCollectionRules/{quote(rule, '')}/streams/{quote(stream, '')}"


def post_rows(server: Server, url: str, body: bytes, encoding: str, request_id: str) -> httpx.Response:
    """One call, whatever its answer. Raises `ProblemError` when the server cannot be reached or gives no token."""
    headers = {
        "Authorization": f"Bearer {server.token(INGESTION_SCOPE)}",
        "Content-Type": "application/json",
        "x-ms-client-request-id": request_id,
    }
    if encoding:
        headers["Content-Encoding"] = encoding
    return server.request("POST", url, params={"api-version": _VERSION}, content=body, headers=headers)


def lasting_id(text: str) -> str:
    """The request id that follows from a text: with it a server can tell a repetition of the same call."""
    return str(uuid.UUID(bytes=hashlib.sha256(text.encode()).digest()[:16]))


def pause_before_next(answer: httpx.Response, pause: float, longest: float) -> float:
    """Seconds until the next try: what the answer asks for, `longest` at most, or else `pause`."""
    given = answer.headers.get("retry-after", "")
    return min(float(given), longest) if given.isdigit() else pause
