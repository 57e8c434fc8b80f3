"""Bounds of a request's head, and how one beyond them is refused."""

from __future__ import annotations

from http import HTTPStatus

from headrace.wire.asgi import Headers, error_parts
from headrace.wire.problems import HttpError, http_error

MOST_HEAD_BYTES = 64 * 1024
MOST_TARGET_BYTES = 32 * 1024
"""A query may stand in the target of a GET."""
MOST_HEADERS = 100
MOST_LINES = MOST_HEADERS + 2
"""A head's line feeds: those of the request line and the empty one come to the headers'."""


def target_too_long() -> HttpError:
    """414 for a request target beyond its bound."""
    return http_error(414, "UriTooLong", f"The request's address is longer than {MOST_TARGET_BYTES} bytes.")


def head_too_large() -> HttpError:
    """431 for a head with too many headers or bytes."""
    return http_error(
        431,
        "RequestHeaderFieldsTooLarge",
        f"The request's head has more than {MOST_HEADERS} headers or {MOST_HEAD_BYTES} bytes.",
    )


def no_upgrade() -> HttpError:
    """501 for a body behind a head that asks for another protocol: where it ends only that one would say."""
    message = "This server does not switch protocols. Send the request without the header Upgrade."
    return http_error(501, "NotImplemented", message)


def malformed() -> HttpError:
    """400 for what is no HTTP/1.1."""
    return http_error(400, "BadRequest", "What came is not a request by HTTP/1.1.")


def refusal(error: HttpError, headers: Headers) -> bytes:
    """The bytes of an error's answer, with `headers`."""
    parts, body = error_parts(error, [*headers])
    line = f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\n"
    return rendered(line.encode(), [*parts, (b"content-length", b"%d" % len(body))]) + body


def rendered(line: bytes, headers: Headers) -> bytes:
    """A status line and headers."""
    return line + b"".join([b"%b: %b\r\n" % header for header in headers]) + b"\r\n"
