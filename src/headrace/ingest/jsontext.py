"""What the gateway knows of JSON: whether a text is what the pipeline can parse, and if not, where and why.

The check builds no values: syntax is skipped through by msgspec, everything it leaves open (UTF-8, depth,
the number of objects) is looked at here. RFC 8259 by the letter: no NaN, comments or trailing commas.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

BOM: Final = b"\xef\xbb\xbf"

_SLICE = 128 * 1024
"""What is looked at in one go: it and what is made of it stay in the processor's cache."""
_SHORT = 8 * 1024
_MOST_SPLIT = 1024 * 1024
_BRACE = np.array(ord("{"), np.uint8)
_LOWER = np.array(0x20, np.uint8)
_POSITION = re.compile(r"\(byte (\d+)\)")
_MEMBER = re.compile(r"got `(\w+)` - at `\$\[(\d+)\]`")
_TOP = re.compile(r"got `(\w+)`")
_WORD = re.compile(rb"[-+]?[A-Za-z_][A-Za-z0-9_.]*")


class _AnyObject(msgspec.Struct, gc=False):
    """Stands for any JSON object: its members are skipped, not built."""


_T = TypeVar("_T")
_ARRAY_OF_OBJECTS = msgspec.json.Decoder(list[_AnyObject])
_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_ANYTHING = msgspec.json.Decoder(msgspec.Raw)


class JsonTextError(Exception):
    """A text that is not JSON, or not JSON that Headrace takes; the message is fit for an answer.

    `parser` is what msgspec said of it, empty where it said nothing.
    """

    def __init__(self, message: str, parser: str = "") -> None:
        super().__init__(message)
        self.parser = parser

    @property
    def place(self) -> int | None:
        """The byte at which the parser gave up; None where it would not say, as at the end of the text."""
        found = _POSITION.search(self.parser)
        return int(found[1]) if found else None


class NotObjectsError(Exception):
    """JSON, but not an array of objects.

    `kind` is the JSON type found, `index` the place of the member, None for the top level.
    """

    def __init__(self, kind: str, index: int | None) -> None:
        super().__init__(f"{kind} at {index}")
        self.kind = kind
        self.index = index


def count_objects_of_array(text: bytes, max_depth: int) -> int:
    """The members of a JSON array of objects that nests at most `max_depth` deep, itself being the first level.

    Raises `JsonTextError`, `NotObjectsError`.
    """
    # The bound above is for memory: members told apart take ten times that of members skipped.
    if _SHORT < len(text) <= _MOST_SPLIT:
        members = _decoded(_ARRAY, text)
        if _shallow_objects(members, max_depth):
            return len(members)
    rows = len(_decoded(_ARRAY_OF_OBJECTS, text))
    check_depth(text, max_depth)
    return rows


def _decoded(decoder: msgspec.json.Decoder[list[_T]], text: bytes) -> list[_T]:
    try:
        return decoder.decode(text)
    except msgspec.ValidationError as error:
        raise _not_objects(str(error)) from error
    except msgspec.DecodeError as error:
        raise JsonTextError(explain(text, str(error)), str(error)) from error
    except RecursionError as error:
        raise JsonTextError(_too_deep(None)) from error


def _shallow_objects(members: Sequence[msgspec.Raw], max_depth: int) -> bool:
    """Whether all members are objects that are surely not too deep.

    So many brackets and braces in a row as would be too deep, those in strings too, then always reach over more
    bytes than the longest member has.
    """
    if not members:
        return False
    lengths = np.fromiter(map(len, members), np.int64, len(members))
    codes = np.frombuffer(b"".join(members), np.uint8)
    if codes[lengths.cumsum() - lengths].tobytes() != b"{" * len(members):
        return False
    openings = _openings(codes)
    reaches = openings[max_depth - 1 :] - openings[: 1 - max_depth]
    return not len(reaches) or bool(reaches.min() >= lengths.max())


def _openings(codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Where [ and { are, whose codes differ in one bit."""
    # Methods and arrays of one code: half of what numpy's functions and plain numbers cost for a small body.
    places = [
        ((codes[start : start + _SLICE] | _LOWER) == _BRACE).nonzero()[0] + start
        for start in range(0, len(codes), _SLICE)
    ]
    return places[0] if len(places) == 1 else np.concatenate(places)


def split_array(text: bytes) -> list[bytes] | None:
    """The texts of the members of a JSON array; None when the text is JSON, but no array.

    Raises `JsonTextError`.
    """
    try:
        return [bytes(member) for member in _ARRAY.decode(text)]
    except msgspec.ValidationError:
        return None
    except msgspec.DecodeError as error:
        raise JsonTextError(explain(text, str(error)), str(error)) from error
    except RecursionError as error:
        raise JsonTextError(_too_deep(None)) from error


def check_syntax(text: bytes) -> None:
    """Nothing when `text` is one JSON value of any kind; raises `JsonTextError` otherwise."""
    try:
        _ANYTHING.decode(text)
    except msgspec.DecodeError as error:
        raise JsonTextError(explain(text, str(error)), str(error)) from error
    except RecursionError as error:
        raise JsonTextError(_too_deep(None)) from error


def check_utf8(text: bytes) -> None:
    """Nothing when `text` is UTF-8; raises `JsonTextError` otherwise."""
    if text.isascii():
        return
    view = memoryview(text)
    start = 0
    # By slices: the decoded text of one slice stays in the processor's cache, that of a whole body does not.
    while start < len(text):
        final = start + _SLICE >= len(text)
        try:
            _, taken = codecs.utf_8_decode(view[start : start + _SLICE], "strict", final)
        except UnicodeDecodeError as error:
            raise JsonTextError(_not_utf8(text, start + error.start)) from error
        start += taken


def check_depth(text: bytes, limit: int) -> None:
    """Nothing when JSON that is syntactically right nests at most `limit` deep, its array being the first
    level; raises `JsonTextError` otherwise.
    """
    if len(text) <= 2 * limit or (len(text) <= _SHORT and text.count(b"[") + text.count(b"{") <= limit):
        return
    depth = 0
    for brackets in _brackets(text):
        # The codes of [ and { end in 1011, those of ] and } in 1101: one up, one down.
        levels = np.cumsum(3 - (brackets & 6).astype(np.int8), dtype=np.int64)
        if depth + int(levels.max()) > limit:
            raise JsonTextError(_too_deep(limit))
        depth += int(levels[-1])


def count_objects(text: bytes) -> int:
    """The objects in JSON that is syntactically right, nested ones counted."""
    return sum(int(np.count_nonzero(brackets == ord("{"))) for brackets in _brackets(text))


def _brackets(text: bytes) -> Iterator[npt.NDArray[np.uint8]]:
    """The brackets and braces of JSON that stand outside its strings, in order, as arrays that are not empty."""
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    codes = np.frombuffer(text, np.uint8)
    inside = np.uint8(0)
    for start in range(0, len(codes), _SLICE):
        part = codes[start : start + _SLICE]
        quotes = (part == ord('"')).view(np.uint8)
        # [ ] { } and, of no meaning here, backslash and |.
        places = np.flatnonzero((part | 0x20) - ord("{") <= ord("}") - ord("{"))
        # Whether the number of quotes before each place, and before the slice's end, is odd.
        odd = np.bitwise_xor.accumulate(np.bitwise_xor.reduceat(quotes, np.append(0, places))) ^ inside
        found = part[places[odd[:-1] == 0]]
        inside = odd[-1]
        found = found[found & 1 == 1]
        if len(found):
            yield found


def _not_objects(message: str) -> NotObjectsError:
    member = _MEMBER.search(message)
    if member:
        return NotObjectsError(_kind(member[1]), int(member[2]))
    top = _TOP.search(message)
    return NotObjectsError(_kind(top[1]) if top else "value", None)


def _kind(name: str) -> str:
    return {"int": "number", "float": "number", "str": "string", "bool": "boolean"}.get(name, name)


def _too_deep(limit: int | None) -> str:
    levels = "far too deep" if limit is None else f"more than {limit} levels deep"
    return f"The JSON of the body nests {levels}. Flatten it, or send the inner part as a string."


def _not_utf8(text: bytes, position: int) -> str:
    if text[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "The body is UTF-16. Send it as UTF-8."
    return (
        f"The body is not UTF-8 {_place(text, position)}: the byte {text[position]:02x} does not fit there. "
        "Send it as UTF-8."
    )


def explain(text: bytes, message: str, skipped: int = 0) -> str:
    """What is wrong with a text that msgspec refused with `message`, where, and the cure.

    Nothing of the text is quoted but a single character. The parser was not shown the first `skipped` bytes.
    """
    found = _POSITION.search(message)
    if found is None:
        return _explain_truncated(text)
    position = min(int(found[1]) + skipped, len(text))
    if "trailing characters" in message:
        position -= 1
    return f"The body is not JSON {_place(text, position)}: {_reason(text, position, message)}"


def _explain_truncated(text: bytes) -> str:
    tail = text.rstrip()[-12:]
    # msgspec wants room for a low surrogate and says 'truncated' where there is none.
    if re.search(rb"\\u[dD][89abAB][0-9a-fA-F]{2}", tail):
        return (
            "The body is not JSON near its end: a lone UTF-16 surrogate in a \\u escape. "
            "Write surrogates in pairs."
        )
    if not tail:
        return "The body holds nothing but white space. Send a JSON array of objects."
    return (
        f"The body is not JSON: it ends at byte {len(text)} in the middle of a value. "
        "It was cut short, or a closing bracket, brace or quote is missing."
    )


_CURES: Final = (
    ("trailing comma", "a comma before the closing bracket or brace. Take it out."),
    ("trailing characters", "something follows the end of the array. Send one array and nothing behind it."),
    (
        "surrogate",
        "a lone UTF-16 surrogate in a \\u escape. Write surrogates in pairs, or the character itself.",
    ),
    ("hex escape", "a lone UTF-16 surrogate in a \\u escape. Write surrogates in pairs."),
    ("unicode escape", "a \\u escape without four hex digits."),
    ("escaped character", 'a backslash that escapes nothing. Inside a string write it as "\\\\".'),
    (
        "invalid number",
        "not a JSON number. Numbers have no leading zeros and digits on both sides of the point.",
    ),
    ("expected ':'", "a colon is missing between a property's name and its value."),
    ("keys must be strings", 'names of properties stand in double quotes: {"name": ...}.'),
    ("expected '\"'", 'names of properties stand in double quotes: {"name": ...}.'),
)
_CONSTANTS: Final = {b"nan", b"infinity", b"inf"}
_WRONG_CASE: Final = {b"true", b"false", b"null", b"none", b"undefined", b"nil"}


def _reason(text: bytes, position: int, message: str) -> str:
    for phrase, cure in _CURES:
        if phrase in message:
            return cure
    if "expected ','" in message:
        return "a comma or a closing bracket or brace is missing."
    return _unexpected(text, position)


def _unexpected(text: bytes, position: int) -> str:
    word = _word_at(text, position)
    if word is not None:
        bare = word.lower().lstrip(b"+-")
        if bare in _CONSTANTS:
            return "JSON has no NaN and no Infinity. Send null."
        if bare in _WRONG_CASE:
            return "JSON writes true, false and null, in lower case."
    if position >= len(text):
        return "the body ends there in the middle of a value."
    code = text[position]
    if code < 0x20:
        return f"a control character (\\u{code:04x}) inside a string or between values. Escape it in strings."
    if code == ord("'"):
        return "strings stand in double quotes, not in single ones."
    if code in b"/#":
        return "JSON has no comments."
    if 0x20 < code < 0x7F:
        return f"the character {chr(code)!r} cannot stand there."
    return "the character cannot stand there."


def _word_at(text: bytes, position: int) -> bytes | None:
    start = position
    while (
        start > 0
        and position - start < 12
        and (text[start - 1 : start].isalnum() or text[start - 1] in b"+-_")
    ):
        start -= 1
    found = _WORD.match(text, start, start + 32)
    return found[0] if found else None


def _place(text: bytes, position: int) -> str:
    line = text.count(b"\n", 0, position) + 1
    begin = text.rfind(b"\n", 0, position) + 1
    column = len(text[begin:position].decode("utf-8", "replace")) + 1
    return f"at line {line}, column {column} (byte {position})"
