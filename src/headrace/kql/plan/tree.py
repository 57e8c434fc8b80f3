"""Walking and rebuilding plans together with the plans inside their expressions."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from headrace.kql.plan import nodes as p
from headrace.kql.plan.expressions import Expr, InQuery, Literal, Ref, ScalarQuery, walk

_SMALL = (p.ExpandItem, p.OrderKey, p.ScanStep)
PARTS = (p.Plan, *_SMALL, Expr)
_LEAVES = frozenset([Ref, Literal, p.TableScan, p.Shared])
_PLAIN = frozenset(["columns", "column", "type", "function", "resolution", "kind", "flags", "matched"])
"""Fields in which no plan and no expression stands."""


@functools.cache
def fields_of(kind: type) -> tuple[str, ...]:
    """The fields of a node's class in which plans and expressions may stand."""
    return tuple(field.name for field in dataclasses.fields(kind) if field.name not in _PLAIN)


def parts_of(top: p.Plan) -> Iterator[Any]:
    """The nodes and expressions of a plan in its order; what is shared is not entered."""
    stack: list[Any] = [top]
    while stack:
        item = stack.pop()
        if isinstance(item, tuple):
            stack.extend(reversed(item))
        elif isinstance(item, PARTS):
            yield item
            kind: type = type(item)
            if kind not in _LEAVES:
                stack.extend([getattr(item, name) for name in reversed(fields_of(kind))])
        elif isinstance(item, Mapping):
            stack.extend(item.values())


def replaced(item: Any, change: Callable[[p.Plan], p.Plan | None]) -> Any:
    """A plan with every node that `change` gives another for replaced, outermost first; else the same object."""
    if isinstance(item, tuple):
        new = tuple([replaced(part, change) for part in item])
        return item if all(a is b for a, b in zip(new, item, strict=True)) else new
    if isinstance(item, Mapping):
        changed = {key: replaced(part, change) for key, part in item.items()}
        return item if all(changed[key] is part for key, part in item.items()) else changed
    if not isinstance(item, PARTS) or (isinstance(item, Expr) and not _has_query(item)):
        return item
    if isinstance(item, p.Plan) and (other := change(item)) is not None:
        return other
    kind: type = type(item)
    values = {name: getattr(item, name) for name in fields_of(kind)}
    new_values = {name: replaced(value, change) for name, value in values.items()}
    if all(new_values[name] is value for name, value in values.items()):
        return item
    return dataclasses.replace(item, **new_values)


def with_expressions(plan: p.Plan, change: Callable[[Expr], Expr]) -> Any:
    """A node whose own expressions are what `change` makes of them, wherever they stand; the plans below it stay."""
    return _with_expressions(plan, change)


def _with_expressions(node: Any, change: Callable[[Expr], Expr]) -> Any:
    def new(item: Any) -> Any:
        if isinstance(item, Expr):
            return change(item)
        if isinstance(item, tuple):
            parts = tuple([new(part) for part in item])
            return item if all(a is b for a, b in zip(parts, item, strict=True)) else parts
        if isinstance(item, Mapping):
            made = {key: new(part) for key, part in item.items()}
            return item if all(made[key] is part for key, part in item.items()) else made
        return _with_expressions(item, change) if isinstance(item, _SMALL) else item

    kind: type = type(node)
    values = {name: getattr(node, name) for name in fields_of(kind)}
    new_values = {name: new(value) for name, value in values.items()}
    if all(new_values[name] is value for name, value in values.items()):
        return node
    return dataclasses.replace(node, **new_values)


def _has_query(expression: Expr) -> bool:
    return any(isinstance(part, ScalarQuery | InQuery) for part in walk(expression))
