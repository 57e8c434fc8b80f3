"""Constant regular expressions, checked when a text is compiled: a wrong one would fail on the first row."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import re2

from headrace.kql.plan.expressions import Expr, Literal

_PLACES: Mapping[str, int] = MappingProxyType(
    {
        "__matches_regex": 1,
        "countof": 1,
        "extract": 0,
        "extract_all": 0,
        "indexof_regex": 1,
        "replace_regex": 1,
        "trim": 0,
        "trim_end": 0,
        "trim_start": 0,
    }
)
"""Which argument of each function is a pattern."""
_NAMED_GROUP = re.compile(
    r"""
    \\Q.*?(?:\\E|\Z) | \\.                              # what is quoted
    | \[\^?\]?(?:\[:\^?\w+:\] | \\. | [^\]\\])*\]      # a class
    | (?P<group>\(\?<(?=\w))
    """,
    re.DOTALL | re.VERBOSE,
)
"""The start of a group with a name, and what only looks like one."""
_LOOKS = ("(?=", "(?!", "(?<=", "(?<!")


def pattern_place(name: str, arguments: Sequence[Expr]) -> int | None:
    """The place of a call's pattern; None if it takes none, or takes its text as it is."""
    place = _PLACES.get(name)
    if name == "countof":
        kind = arguments[2].constant if len(arguments) > 2 else None
        return place if kind is not None and kind.value == "regex" else None
    return place if place is not None and place < len(arguments) else None


def spelled(pattern: str) -> str:
    """The pattern with its named groups in the one spelling that every engine takes: `(?P<name>` for `(?<name>`."""
    return _NAMED_GROUP.sub(lambda found: "(?P<" if found["group"] else found[0], pattern)


def plain_groups(name: str, arguments: Sequence[Expr]) -> Sequence[Expr]:
    """The arguments with a constant pattern `spelled`."""
    place = pattern_place(name, arguments)
    pattern = arguments[place] if place is not None else None
    if place is None or not isinstance(pattern, Literal) or "(?<" not in str(pattern.value):
        return arguments
    plain = Literal(pattern.type, spelled(str(pattern.value)))
    return [*arguments[:place], plain, *arguments[place + 1 :]]


def pattern_fault(pattern: str, groups: int = 0) -> str | None:
    """Why a text is no pattern of RE2 with that many groups at least; None if it is one."""
    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(pattern, options)
    except UnicodeError:
        return "it is not Unicode"
    except re2.error as error:
        if any(look in pattern for look in _LOOKS):
            return "look-around is not supported"
        reason = error.args[0] if error.args else b""
        return reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
    if compiled.groups < groups:
        return f"it needs {groups} groups and has {compiled.groups}"
    return None


def capture_groups(pattern: str) -> int:
    """How many groups of a pattern capture. `pattern_fault` finds no fault in it."""
    return int(re2.compile(pattern).groups)
