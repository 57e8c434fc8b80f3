"""Simple XPath: the steps that name one element, attribute or text of an XML document.

Taken are child steps (`/a/b`), any depth (`//b`), `*`, attributes (`@name`), `text()`, and in brackets a place
counted from 1, `[@name='value']` or `[child='value']`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_STEPS = 32
_STEP = re.compile(r"(?P<slashes>/{1,2})?(?P<name>@[\w.:\-]+|text\(\)|\*|[\w.:\-]+)")
_CONDITION = re.compile(
    r"\[\s*(?:(?P<place>\d{1,6})|(?P<name>@?[\w.:\-]+)\s*=\s*(?:'(?P<one>[^']*)'|\"(?P<two>[^\"]*)\"))\s*\]"
)


@dataclass(frozen=True, slots=True)
class Condition:
    """What a bracket asks: the `place` among those found, or the value of an attribute or child called `name`."""

    place: int | None
    name: str = ""
    value: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One step: a child's name, `*`, `@attribute` or `text()`; `anywhere` looks at every depth below."""

    name: str
    anywhere: bool
    conditions: tuple[Condition, ...]


def parse_path(text: str) -> tuple[Step, ...]:
    """The steps of a path. Raises `ValueError` with the reason, in a user's words."""
    steps: list[Step] = []
    position = 0
    while position < len(text):
        match = _STEP.match(text, position)
        if match is None or (steps and match["slashes"] is None):
            raise ValueError(f"it stops being a simple path at '{text[position : position + 40]}'")
        if steps and (steps[-1].name.startswith("@") or steps[-1].name == "text()"):
            raise ValueError(f"nothing can stand below '{steps[-1].name}'")
        position = match.end()
        conditions: list[Condition] = []
        while (bracket := _CONDITION.match(text, position)) is not None:
            conditions.append(_condition(bracket))
            position = bracket.end()
        steps.append(Step(match["name"], match["slashes"] == "//", tuple(conditions)))
        if len(steps) > MAX_STEPS:
            raise ValueError(f"it has more than {MAX_STEPS} steps")
    if not steps:
        raise ValueError("it is empty")
    return tuple(steps)


def _condition(match: re.Match[str]) -> Condition:
    if match["place"] is not None:
        return Condition(int(match["place"]))
    return Condition(None, match["name"], match["one"] if match["one"] is not None else match["two"])
