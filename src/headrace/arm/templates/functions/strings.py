"""Functions of texts; some take arrays and objects as well."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote, urljoin

from headrace.arm.templates.errors import TemplateError
from headrace.arm.templates.evaluate import MAX_TEXT, Evaluator, Function
from headrace.arm.templates.jsonc import parse_json
from headrace.arm.templates.values import (
    as_text,
    find_key,
    need_int,
    need_list,
    need_text,
    same,
    type_name,
)

_MOST_PADDING = 1000
_MOST_MARKS = 100
_SLOT = re.compile(r"\{\{|\}\}|\{(?P<index>\d{1,3})(?:,(?P<width>-?\d{1,4}))?(?::(?P<form>[^{}]*))?\}|[{}]")


def concat(_run: Evaluator, arguments: list[Any]) -> Any:
    """Texts to one text, or arrays to one array."""
    if any(isinstance(item, list) for item in arguments):
        return [part for item in arguments for part in need_list("concat", item)]
    if any(isinstance(item, dict) for item in arguments):
        raise TemplateError("The template function 'concat' joins strings or arrays, not objects.")
    return "".join(as_text(item) for item in arguments)


def format_text(_run: Evaluator, arguments: list[Any]) -> str:
    """`format('{0}-{1:D3}', 'a', 7)`."""
    pattern, *values = arguments
    size = len(need_text("format", pattern))

    def fill(slot: re.Match[str]) -> str:
        nonlocal size
        if slot[0] in ("{{", "}}"):
            return slot[0][0]
        if slot["index"] is None or int(slot["index"]) >= len(values):
            raise TemplateError(f"The template function 'format' has no value for '{slot[0]}'.")
        text = _formatted(values[int(slot["index"])], slot["form"])
        width = int(slot["width"] or 0)
        size += max(len(text), abs(width))
        if size > MAX_TEXT:
            raise TemplateError(f"The template makes a text of more than {MAX_TEXT} characters.")
        return text.ljust(-width) if width < 0 else text.rjust(width)

    return _SLOT.sub(fill, pattern)


def _formatted(value: Any, form: str | None) -> str:
    if not form:
        return as_text(value)
    match = re.fullmatch(r"([DdXxNnFf])(\d{0,2})|(0{1,40})", form)
    if match is None or isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TemplateError(
            f"The template function 'format' cannot write {type_name(value)} as '{form}': numbers take "
            "D, X, N, F with a count of digits, and 000."
        )
    if match[3]:
        return f"{value:0{len(form)}d}" if isinstance(value, int) else f"{round(value):0{len(form)}d}"
    letter, digits = match[1], int(match[2] or 0)
    if letter in "Dd":
        return f"{int(value):0{max(digits, 1)}d}"
    if letter in "Xx":
        return f"{int(value):0{max(digits, 1)}{letter}}"
    places = digits if match[2] else 2
    return f"{value:,.{places}f}" if letter in "Nn" else f"{value:.{places}f}"


def _replace(_run: Evaluator, arguments: list[Any]) -> str:
    text, old, new = (need_text("replace", item) for item in arguments)
    if not old:
        raise TemplateError("The template function 'replace' needs something to replace.")
    if len(text) + text.count(old) * len(new) > MAX_TEXT:
        raise TemplateError(f"The template makes a text of more than {MAX_TEXT} characters.")
    return text.replace(old, new)


def _split(_run: Evaluator, arguments: list[Any]) -> list[str]:
    text = need_text("split", arguments[0])
    marks = arguments[1] if isinstance(arguments[1], list) else [arguments[1]]
    marks = [need_text("split", mark) for mark in marks]
    if len(marks) > _MOST_MARKS:
        raise TemplateError(f"The template function 'split' takes at most {_MOST_MARKS} separators.")
    pattern = "|".join(re.escape(mark) for mark in marks if mark)
    return re.split(pattern, text) if pattern else [text]


def _join(_run: Evaluator, arguments: list[Any]) -> str:
    parts, mark = [as_text(item) for item in need_list("join", arguments[0])], need_text("join", arguments[1])
    if len(parts) * len(mark) > MAX_TEXT:
        raise TemplateError(f"The template makes a text of more than {MAX_TEXT} characters.")
    return mark.join(parts)


def _pad_left(_run: Evaluator, arguments: list[Any]) -> str:
    text, width = as_text(arguments[0]), need_int("padLeft", arguments[1])
    filler = need_text("padLeft", arguments[2]) if len(arguments) > 2 else " "
    if len(filler) != 1 or not 0 <= width <= _MOST_PADDING:
        raise TemplateError(
            f"The template function 'padLeft' takes one character and a width of {_MOST_PADDING} at most."
        )
    return text.rjust(width, filler)


def _substring(_run: Evaluator, arguments: list[Any]) -> str:
    text, start = need_text("substring", arguments[0]), need_int("substring", arguments[1])
    length = need_int("substring", arguments[2]) if len(arguments) > 2 else len(text) - start
    if start < 0 or length < 0 or start + length > len(text):
        raise TemplateError(
            f"The template function 'substring' asks for {length} characters from {start} on of a text of "
            f"{len(text)}."
        )
    return text[start : start + length]


def _place(name: str, find: Callable[[str, str], int]) -> Function:
    def run(_run: Evaluator, arguments: list[Any]) -> int:
        value, wanted = arguments
        if isinstance(value, list):
            places = [place for place, item in enumerate(value) if same(item, wanted)]
            return -1 if not places else places[0] if name == "indexOf" else places[-1]
        return find(need_text(name, value).lower(), need_text(name, wanted).lower())

    return Function(name, 2, 2, run)


def _ends(name: str, check: Callable[[str, str], bool]) -> Function:
    def run(_run: Evaluator, arguments: list[Any]) -> bool:
        text, wanted = (need_text(name, item).lower() for item in arguments)
        return check(text, wanted)

    return Function(name, 2, 2, run)


def _contains(_run: Evaluator, arguments: list[Any]) -> bool:
    value, wanted = arguments
    if isinstance(value, list):
        return any(same(item, wanted) for item in value)
    if isinstance(value, dict):
        return find_key(value, need_text("contains", wanted)) is not None
    return as_text(wanted) in need_text("contains", value)


def _text(name: str, change: Callable[[str], str]) -> Function:
    return Function(name, 1, 1, lambda _run, arguments: change(need_text(name, arguments[0])))


def _unbase64(name: str, text: str) -> str:
    try:
        return base64.b64decode(text.encode("ascii"), validate=True).decode()
    except (binascii.Error, UnicodeError):
        raise TemplateError(f"The template function '{name}' expects base64 of UTF-8.") from None


def _json(name: str, text: str) -> Any:
    try:
        return parse_json(text.encode("utf-8", "replace"))
    except TemplateError as error:
        # The text itself may be a secret: it is not shown.
        raise TemplateError(f"The template function '{name}' cannot read its text: {error}") from None


def _data_uri(text: str) -> str:
    return f"data:text/plain;charset=utf8;base64,{base64.b64encode(text.encode()).decode()}"


def _from_data_uri(text: str) -> str:
    head, comma, content = text.partition(",")
    if not head.startswith("data:") or not comma:
        raise TemplateError("The template function 'dataUriToString' expects a data URI.")
    return _unbase64("dataUriToString", content) if head.endswith(";base64") else unquote(content)


def _uri(_run: Evaluator, arguments: list[Any]) -> str:
    base, relative = (need_text("uri", item) for item in arguments)
    try:
        return urljoin(base, relative)
    except ValueError:
        raise TemplateError("The template function 'uri' expects a URI and a path.") from None


def _string(_run: Evaluator, arguments: list[Any]) -> str:
    value = arguments[0]
    return "" if value is None else as_text(value)


FUNCTIONS = (
    Function("concat", 0, None, concat),
    Function("format", 1, None, format_text),
    Function("replace", 3, 3, _replace),
    Function("split", 2, 2, _split),
    Function("join", 2, 2, _join),
    Function("padLeft", 2, 3, _pad_left),
    Function("substring", 2, 3, _substring),
    _place("indexOf", str.find),
    _place("lastIndexOf", str.rfind),
    _ends("startsWith", lambda text, wanted: text.startswith(wanted)),
    _ends("endsWith", lambda text, wanted: text.endswith(wanted)),
    Function("contains", 2, 2, _contains),
    _text("toLower", str.lower),
    _text("toUpper", str.upper),
    _text("trim", str.strip),
    _text("uriComponent", lambda text: quote(text, safe="-_.!~*'()")),
    _text("uriComponentToString", unquote),
    _text("base64", lambda text: base64.b64encode(text.encode()).decode()),
    _text("base64ToString", lambda text: _unbase64("base64ToString", text)),
    Function(
        "base64ToJson",
        1,
        1,
        lambda _run, a: _json("base64ToJson", _unbase64("base64ToJson", need_text("base64ToJson", a[0]))),
    ),
    _text("dataUri", _data_uri),
    _text("dataUriToString", _from_data_uri),
    Function("uri", 2, 2, _uri),
    Function("json", 1, 1, lambda _run, a: _json("json", need_text("json", a[0]))),
    Function("string", 1, 1, _string),
)
