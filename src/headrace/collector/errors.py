"""The Data Collector API's own answers: `{"Error": code, "Message": text}`."""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from headrace.wire.problems import JSON_TYPE


class CollectorError(Exception):
    """An answer other than success. `retry_after` is in seconds, None where a repeat would not help."""

    def __init__(self, status: int, code: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.retry_after = retry_after


def error_response(error: CollectorError) -> Response:
    """The answer that an error stands for."""
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    body = msgspec.json.encode({"Error": error.code, "Message": error.message})
    return Response(body, error.status, headers, media_type=JSON_TYPE)
