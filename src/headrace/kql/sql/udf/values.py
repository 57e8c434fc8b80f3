"""Reading and writing the values that cross the border as text."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Json = Any

_MAX_TEXT = 64 * 1024 * 1024


def parse(text: str | None) -> Json:
    """The value of JSON text, None for null and for what is no JSON."""
    if text is None or len(text) > _MAX_TEXT:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def dump(value: Json) -> str | None:
    """JSON text without blanks, None for null."""
    if value is None:
        return None
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except (ValueError, RecursionError):
        return None


def parse_array(text: str | None) -> list[Json] | None:
    """The elements of an array, None for anything else."""
    value = parse(text)
    return value if isinstance(value, list) else None


def parse_bag(text: str | None) -> dict[str, Json] | None:
    """The members of an object, None for anything else."""
    value = parse(text)
    return value if isinstance(value, dict) else None


def identity(value: Json) -> Json:
    """What makes two JSON values the same: 1 and 1.0 are, true and 1 are not."""
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, int | float):
        return ("number", value)
    if isinstance(value, str):
        return ("text", value)
    return ("json", json.dumps(value, sort_keys=True))


def as_int(text: str | None) -> int | None:
    """A whole number, None for anything else."""
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        return None


def as_float(text: str | None) -> float | None:
    """A number, None for anything else."""
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        return None


def as_bool(value: bool | None) -> str | None:
    """`true` or `false`, None for null."""
    if value is None:
        return None
    return "true" if value else "false"


def text_of(value: Json) -> str:
    """What `tostring` makes of an element."""
    if value is None:
        return ""
    return value if isinstance(value, str) else (dump(value) or "")


def guarded(function: Callable[..., str | None]) -> Callable[..., str | None]:
    """The function, giving null where a value is beyond what it can do."""

    def run(*arguments: str | None) -> str | None:
        try:
            return function(*arguments)
        except (ArithmeticError, ValueError, TypeError, LookupError, RecursionError, MemoryError):
            return None

    return run
