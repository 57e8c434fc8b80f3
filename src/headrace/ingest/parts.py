"""Long bodies, checked part by part: what a thread does in one go holds up all others of the process.

An array is cut where a member seems to end. The parts, each made an array of its own, are right and hold objects alone
exactly when the whole does: whatever is no array before its last bracket is none with one that ends it earlier.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence

from headrace.ingest import jsontext
from headrace.ingest.admission import Admitted, admit
from headrace.ingest.jsontext import BOM, JsonTextError, NotObjectsError
from headrace.settings import IngestSettings
from headrace.wire import gzip
from headrace.wire.gzip import Inflated
from headrace.wire.problems import http_error

PART_BYTES = 128 * 1024
"""What is checked in one go, where members end often enough. That takes about a millisecond."""

_OPENING = re.compile(rb"[ \t\r\n]*\[")
_BORDER = re.compile(rb"\}[ \t\r\n]*,[ \t\r\n]*\{")
_BORDER_BYTES = 16 * 1024
_MOST_TRIES = 3
_CUT_BYTES = 16
"""What is found wrong no farther from a part's end may be so because the part was cut there."""
_BREATH_SECONDS = 0.0001

Look = Callable[[bytes], None]
"""Is shown each part, a JSON array of objects, and may refuse it with an error of its own."""


def breathe() -> None:
    """Let other threads come to turn."""
    time.sleep(_BREATH_SECONDS)


def admit_by_parts(
    body: bytes, encoding: str, settings: IngestSettings, look: Look, pause: Callable[[], None] = breathe
) -> Admitted:
    """The same as `admit` in mode `headrace`, and all of the body was shown to `look`; `pause` is called in between.

    The first fault of JSON is told from its part. What else is wrong or unusual is left to `admit`, in one go.
    """
    try:
        inflated = (
            gzip.inflate_in_steps(body, settings.max_inflated_bytes, pause)
            if encoding == "gzip"
            else Inflated(body, 1)
        )
    except (gzip.GzipError, gzip.TooLargeError):
        return admit(body, encoding, settings, "headrace")
    text = inflated.content
    opening = _OPENING.match(text)
    if inflated.members == 1 and opening is not None and len(text) <= settings.max_inflated_bytes:
        rows = _rows(text, opening.end(), settings, look, pause)
        if rows is not None:
            return Admitted(body, encoding, len(text), rows)
    admitted = admit(body, encoding, settings, "headrace")
    look(text.removeprefix(BOM))
    return admitted


def _rows(
    text: bytes, first: int, settings: IngestSettings, look: Look, pause: Callable[[], None]
) -> int | None:
    """The members of a JSON array of objects, of which the first is to start at `first`.

    None where that is not what it is, or may be too much. Raises `HttpError` 400 for what is no JSON.
    """
    rows = objects = 0
    start: int | None = first
    try:
        while start is not None:
            begin = start
            part, found, start = _part(text, begin, settings.max_depth, pause)
            objects += part.count(b"{")
            if objects > settings.max_rows:
                return None
            jsontext.check_utf8(part)
            look(part)
            rows += found
            pause()
    except _FaultError as fault:
        message = jsontext.explain(text, str(fault), begin - 1)
        raise http_error(400, "MalformedJson", message) from fault
    except (JsonTextError, NotObjectsError):
        return None
    return rows


class _FaultError(Exception):
    """What no other cut would mend; its message is the parser's, about the part."""


def _part(
    text: bytes, start: int, max_depth: int, pause: Callable[[], None]
) -> tuple[bytes, int, int | None]:
    """The part from `start` on as an array, its members, and where the next one starts, if there is one.

    Raises `_FaultError`, and as `jsontext.count_objects_of_array`.
    """
    size = PART_BYTES
    while start + size < len(text):
        for border in _borders(text, start, start + size):
            part = b"[%b]" % text[start : border.start() + 1]
            try:
                return part, jsontext.count_objects_of_array(part, max_depth), border.end() - 1
            except JsonTextError as error:
                if error.place is not None and error.place < len(part) - _CUT_BYTES:
                    raise _fault(error, part) from error
                pause()
            except NotObjectsError:
                pause()
        size *= 2
    part = b"[" + text[start:]
    try:
        return part, jsontext.count_objects_of_array(part, max_depth), None
    except JsonTextError as error:
        raise _fault(error, part) from error


def _fault(error: JsonTextError, part: bytes) -> Exception:
    """What is to be raised for a part that is wrong by itself. Raises `JsonTextError` where it is no UTF-8 anyway."""
    jsontext.check_utf8(part)
    return _FaultError(error.parser) if error.parser else error


def _borders(text: bytes, start: int, end: int) -> Sequence[re.Match[bytes]]:
    """Where a member may end and another begin, the last ones before `end`, from there back."""
    found = list(_BORDER.finditer(text, max(start, end - _BORDER_BYTES), end))
    return found[: -_MOST_TRIES - 1 : -1]
