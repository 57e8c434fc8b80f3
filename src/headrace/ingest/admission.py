"""Admission: whether a body is what the pipeline can take, before a byte of it is kept.

What is admitted, the pipeline's JSON engine parses. Azure's two silent losses, a bare object and members that
are no objects, are refused in mode `headrace`; in mode `compatible` they are left out and counted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from headrace.ingest import jsontext
from headrace.ingest.jsontext import BOM, JsonTextError, NotObjectsError
from headrace.settings import MIB, IngestSettings
from headrace.wire import gzip
from headrace.wire.problems import HttpError, http_error

_SMALLEST_OBJECT = 3
_CURE = 'Send a JSON array of objects: [{"TimeGenerated": "2026-01-31T12:00:00Z", ...}, ...].'


@dataclass(frozen=True, slots=True)
class Admitted:
    """A body as it goes into the journal.

    `body` are the wire bytes as received, in `encoding` (empty or `gzip`), save for three cases in which the
    same objects are written anew: a byte order mark, several gzip members, members left out. `length` are
    the bytes of its JSON, `rows` the members of its array; with no rows there is nothing to keep. `dropped`
    counts what mode `compatible` left out. `inflated` is what a body in gzip inflates to.
    """

    body: bytes
    encoding: str
    length: int
    rows: int
    dropped: int = 0
    inflated: bytes | None = field(default=None, compare=False, repr=False)


def admit(
    body: bytes, encoding: str, settings: IngestSettings, mode: Literal["headrace", "compatible"]
) -> Admitted:
    """Check a body that came with this Content-Encoding (empty or `gzip`).

    Raises `HttpError`: 400 `MalformedGzip`, `MalformedJson` or `InvalidFormat`, each with place and cure, and
    413 `PayloadSizeLimitExceeded` beyond the bounds of size and objects.
    """
    if not body:
        raise http_error(400, "InvalidFormat", f"The request has no body. {_CURE}")
    text, as_received = _plain(body, encoding, settings)
    try:
        jsontext.check_utf8(text)
        _check_objects(text, settings.max_rows)
        rows = jsontext.count_objects_of_array(text, settings.max_depth)
    except NotObjectsError as error:
        if mode == "headrace":
            raise _refused_or_malformed(error, text) from error
        return _without_others(text, encoding, settings, error)
    except JsonTextError as error:
        raise _malformed(error, body, encoding) from error
    if as_received:
        return Admitted(body, encoding, len(text), rows, inflated=text if encoding else None)
    return _written_anew(text, encoding, rows, 0)


def _plain(body: bytes, encoding: str, settings: IngestSettings) -> tuple[bytes, bool]:
    """The JSON text of a body, and whether the journal can keep the body as it came."""
    limit = settings.max_inflated_bytes
    as_received = True
    if encoding == "gzip":
        try:
            inflated = gzip.inflate(body, limit)
        except gzip.GzipError as error:
            raise http_error(400, "MalformedGzip", str(error)) from error
        except gzip.TooLargeError as error:
            raise _too_large(f"{limit} bytes ({limit / MIB:g} MB) after decompression") from error
        text = inflated.content
        as_received = inflated.members == 1
    else:
        text = body
        if len(text) > limit:
            raise _too_large(f"{limit} bytes ({limit / MIB:g} MB)")
    if text.startswith(BOM):
        return text[len(BOM) :], False
    return text, as_received


def _check_objects(text: bytes, limit: int) -> None:
    """Bounds the memory that the check itself takes: a few bytes of JSON can be an object."""
    if len(text) <= _SMALLEST_OBJECT * limit or text.count(b"{") <= limit:
        return
    jsontext.check_syntax(text)
    if jsontext.count_objects(text) > limit:
        raise _too_large(f"{limit} objects in one call, nested ones counted")


def _without_others(text: bytes, encoding: str, settings: IngestSettings, error: NotObjectsError) -> Admitted:
    """What mode `compatible` keeps: the objects of the array, nothing of a bare object."""
    try:
        jsontext.check_syntax(text)
        jsontext.check_depth(text, settings.max_depth)
        if error.index is None:
            if error.kind != "object":
                raise _refused(error)
            return Admitted(b"", "", len(text), 0, dropped=1)
        if text.count(b",") >= settings.max_rows:
            raise _too_large(f"{settings.max_rows} values in an array that holds not only objects")
        members = jsontext.split_array(text) or []
    except JsonTextError as malformed:
        raise _malformed(malformed, text, "") from malformed
    objects = [member for member in members if member[:1] == b"{"]
    kept = b"[" + b",".join(objects) + b"]"
    return _written_anew(kept, encoding, len(objects), len(members) - len(objects))


def _written_anew(text: bytes, encoding: str, rows: int, dropped: int) -> Admitted:
    body = gzip.deflate(text) if encoding == "gzip" else text
    return Admitted(body, encoding, len(text), rows, dropped)


def _refused_or_malformed(error: NotObjectsError, text: bytes) -> HttpError:
    """The check stops at what is no object; a fault of syntax behind it (lines of JSON) is told first."""
    try:
        jsontext.check_syntax(text)
    except JsonTextError as malformed:
        return _malformed(malformed, text, "")
    return _refused(error)


def _refused(error: NotObjectsError) -> HttpError:
    if error.index is None:
        message = (
            f"The body is a single object, but this API takes an array of objects: put it into [ ]. {_CURE}"
            if error.kind == "object"
            else f"The body is JSON, but not an array: its type is {error.kind}. {_CURE}"
        )
    else:
        message = (
            f"The array's member at index {error.index} is not an object: its type is {error.kind}. "
            f"Nothing was stored. {_CURE}"
        )
    return http_error(400, "InvalidFormat", message)


def _malformed(error: JsonTextError, body: bytes, encoding: str) -> HttpError:
    if not encoding and body[:2] == b"\x1f\x8b":
        return http_error(
            400,
            "MalformedJson",
            "The body is gzip, but the header Content-Encoding: gzip is missing. Add it.",
        )
    return http_error(400, "MalformedJson", str(error))


def _too_large(limit: str) -> HttpError:
    return http_error(
        413,
        "PayloadSizeLimitExceeded",
        f"The body is beyond the limit of {limit}. Send it in smaller parts.",
    )
