"""Walks over the syntax tree, whatever its classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from headrace.kql.syntax import nodes as n


def _field_names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))


_fields: Callable[[Any], tuple[str, ...]] = cache(_field_names)


def children(node: n.Node) -> Iterator[n.Node]:
    """The nodes directly within a node, in the order of its fields."""
    for name in _fields(type(node)):
        yield from _nodes(getattr(node, name))


def _nodes(value: Any) -> Iterator[n.Node]:
    if isinstance(value, n.Node):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _nodes(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _nodes(item)


def walk(node: n.Node) -> Iterator[n.Node]:
    """A node and all within it, outermost first."""
    stack = [node]
    while stack:
        item = stack.pop()
        yield item
        stack.extend(reversed(list(children(item))))


def shape(value: Any) -> Any:
    """A tree without its places in the text: two texts that say the same have the same shape."""
    if isinstance(value, n.Node):
        parts = (shape(getattr(value, name)) for name in _fields(type(value)) if name not in _PLACES)
        return (type(value).__name__, *parts)
    if isinstance(value, tuple):
        return tuple(shape(item) for item in value)
    if isinstance(value, Mapping):
        return tuple((key, shape(item)) for key, item in value.items())
    return value if value == value else "nan"


_PLACES = frozenset(["start", "end", "name_end"])
