"""Bounds of a request's head, and how one beyond them is refused."""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus

from headrace.wire.asgi import Headers, error_parts
from headrace.wire.problems import HttpError, http_error

MOST_HEAD_BYTES = 64 * 1024
MOST_TARGET_BYTES = 32 * 1024
"""A query may stand in the target of a GET."""
MOST_HEADERS = 100
MOST_LINES = MOST_HEADERS + 2
"""A head's line feeds: those of the request line and the empty one come to the headers'."""

_HOST = re.compile(rb"(?:\[[0-9A-Za-z:.%]+\]|[-0-9A-Za-z._~%!$&'()*+,;=]*)(?::[0-9]*)?")


def names_host(hosts: Sequence[bytes], version: str) -> bool:
    """Whether a request of this version of HTTP names the host that it is for: `hosts` are its headers Host.

    There is to be one, with the form of a host and its port; only HTTP/1.0 may do without. Of two, each part of a
    chain might go by another one.
    Source: RFC 9112, 3.2.
    """
    if not hosts:
        return version == "1.0"
    return len(hosts) == 1 and _HOST.fullmatch(hosts[0].strip(b" \t")) is not None


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


def no_host() -> HttpError:
    """400 for a head that does not say, or not in one way, which host the request is for."""
    message = "A request has one header Host: the host's name, or its address, and the port if it has one."
    return http_error(400, "BadRequest", message)


def refusal(error: HttpError, headers: Headers) -> bytes:
    """The bytes of an error's answer, with `headers`."""
    parts, body = error_parts(error, [*headers])
    line = f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\n"
    return rendered(line.encode(), [*parts, (b"content-length", b"%d" % len(body))]) + body


def rendered(line: bytes, headers: Headers) -> bytes:
    """A status line and headers."""
    return line + b"".join([b"%b: %b\r\n" % header for header in headers]) + b"\r\n"
