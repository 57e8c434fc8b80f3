"""Values of templates: JSON, and how functions look at it."""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.arm.templates.errors import TemplateError

_SHOWN = 160


def type_name(value: Any) -> str:
    """A value's type as parameters name it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int"
    if isinstance(value, float):
        return "float"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def shown(value: Any) -> str:
    """A value for a message, cut where it is long."""
    text = value if isinstance(value, str) else as_text(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def as_text(value: Any) -> str:
    """A value as `string()` writes it."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "True" if value else "False"
    if isinstance(value, (int, float)):
        return str(value)
    return msgspec.json.encode(value).decode()


def need_text(function: str, value: Any) -> str:
    """The value, which must be a text."""
    if not isinstance(value, str):
        raise TemplateError(f"The template function '{function}' expects a string, not {type_name(value)}.")
    return value


def need_int(function: str, value: Any) -> int:
    """The value, which must be a whole number."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TemplateError(f"The template function '{function}' expects an integer, not {type_name(value)}.")
    return value


def need_bool(function: str, value: Any) -> bool:
    """The value, which must be true or false."""
    if not isinstance(value, bool):
        raise TemplateError(f"The template function '{function}' expects a boolean, not {type_name(value)}.")
    return value


def need_list(function: str, value: Any) -> list[Any]:
    """The value, which must be an array."""
    if not isinstance(value, list):
        raise TemplateError(f"The template function '{function}' expects an array, not {type_name(value)}.")
    return value


def need_object(function: str, value: Any) -> dict[str, Any]:
    """The value, which must be an object."""
    if not isinstance(value, dict):
        raise TemplateError(f"The template function '{function}' expects an object, not {type_name(value)}.")
    return value


def find_key(value: dict[str, Any], key: str) -> str | None:
    """The object's key that is this one, exactly or else in another letter case."""
    if key in value:
        return key
    lowered = key.lower()
    return next((known for known in value if known.lower() == lowered), None)


def member(value: Any, key: Any) -> Any:
    """`value[key]`. Raises `TemplateError` when it is not there."""
    if isinstance(value, dict) and isinstance(key, str):
        found = find_key(value, key)
        if found is None:
            raise TemplateError(
                f"The language expression property '{shown(key)}' doesn't exist, available properties are "
                f"'{shown(', '.join(value))}'."
            )
        return value[found]
    if isinstance(value, list) and isinstance(key, int) and not isinstance(key, bool):
        if not 0 <= key < len(value):
            raise TemplateError(
                f"The language expression property array index '{key}' is out of bounds: there are {len(value)}."
            )
        return value[key]
    raise TemplateError(
        f"The language expression property '{shown(key)}' can't be evaluated: it is asked of {type_name(value)}."
    )


def same(left: Any, right: Any) -> bool:
    """Whether two values are equal: texts by their letters, true is not 1."""
    if isinstance(left, bool) != isinstance(right, bool):
        return False
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)
