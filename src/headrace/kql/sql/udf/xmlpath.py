"""The text that a simple XPath finds in an XML document."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

from headrace.kql.sql.udf.xmltree import Element, read_xml
from headrace.kql.xmlpath import Condition, Step, parse_path

_path = lru_cache(512)(parse_path)
_MOST_FOUND = 10_000
"""How many elements one step may find in a document."""


def _xml_path(text: str | None, path: str | None) -> str | None:
    """The first match's text; None where nothing matches, and for a text that is no XML."""
    root = read_xml(text or "")
    if root is None or not path:
        return None
    document = Element("", {})
    document.children.append(root)
    found = [document]
    for step in _path(path):
        if step.name.startswith("@"):
            return next((e.attributes[step.name[1:]] for e in found if step.name[1:] in e.attributes), None)
        if step.name == "text()":
            return next((own for element in found if (own := "".join(element.text).strip())), None)
        found = _follow(found, step)
    return _text_of(found[0]) if found else None


def _follow(elements: Sequence[Element], step: Step) -> list[Element]:
    found: list[Element] = []
    for element in elements:
        children = _below(element) if step.anywhere else element.children
        named = [child for child in children if step.name in ("*", child.name)]
        for condition in step.conditions:
            named = _fitting(named, condition)
        found.extend(named)
        if len(found) > _MOST_FOUND:
            return found[:_MOST_FOUND]
    return found


def _fitting(elements: list[Element], condition: Condition) -> list[Element]:
    if condition.place is not None:
        return elements[condition.place - 1 : condition.place] if condition.place else []
    if condition.name.startswith("@"):
        return [e for e in elements if e.attributes.get(condition.name[1:]) == condition.value]
    return [
        e
        for e in elements
        if any(c.name == condition.name and _text_of(c) == condition.value for c in e.children)
    ]


def _below(element: Element) -> Iterable[Element]:
    stack = list(reversed(element.children))
    while stack:
        item = stack.pop()
        yield item
        stack.extend(reversed(item.children))


def _text_of(element: Element) -> str:
    parts = ["".join(element.text), *("".join(child.text) for child in _below(element))]
    return "".join(parts).strip()


FUNCTIONS: dict[str, Callable[..., str | None]] = {"__xml_path": _xml_path}
