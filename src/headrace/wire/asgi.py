"""Answers by plain ASGI 3, for the paths where every microsecond counts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from starlette.types import Send

from headrace.wire.problems import JSON_TYPE, HttpError, error_object

Headers = Sequence[tuple[bytes, bytes]]

_JSON = (b"content-type", JSON_TYPE.encode())
_NO_BODY = {"type": "http.response.body", "body": b"", "more_body": False}


async def answer_empty(send: Send, status: int, headers: Headers) -> None:
    """An answer without a body."""
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send(_NO_BODY)


async def answer_bytes(send: Send, status: int, headers: Headers, body: bytes) -> None:
    """An answer with a body of known length."""
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def answer_error(send: Send, error: HttpError, headers: Headers = ()) -> None:
    """The answer that an `HttpError` stands for."""
    await answer_bytes(send, error.status, *error_parts(error, headers))


def error_parts(error: HttpError, headers: Headers = ()) -> tuple[Headers, bytes]:
    """The headers of an error's answer (`x-ms-error-code` and its own behind `headers`) and ARM's error body."""
    extra = _encoded(error.headers.items())
    code = (b"x-ms-error-code", error.problem.code.encode())
    return [*headers, *extra, code, _JSON], msgspec.json.encode({"error": error_object(error.problem)})


def _encoded(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers]
