"""JSON bodies as typed records, for every reader of requests of this room."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

_T = TypeVar("_T")


class BodyError(ValueError):
    """A body that is no JSON (`malformed`), or JSON of another shape; the message says what is wrong with it."""

    def __init__(self, reason: str, *, malformed: bool) -> None:
        super().__init__(reason)
        self.malformed = malformed


def decode(content: bytes | str, kind: type[_T], *, any_case: bool = False) -> _T:
    """JSON as `kind`; with `any_case` the names of properties may have any, and those of `kind` are lower-case.

    Raises `BodyError`.
    """
    try:
        value = msgspec.json.decode(content)
        if any_case:
            value = _folded(value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BodyError(str(error), malformed=True) from None
    except RecursionError:
        raise BodyError("it is nested too deeply", malformed=True) from None
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise BodyError(str(error), malformed=False) from None


def _folded(value: Any) -> Any:
    """JSON values with all names of properties in lower case."""
    if isinstance(value, dict):
        return {name.lower(): _folded(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_folded(inner) for inner in value]
    return value
