"""Walking and rebuilding plans together with the plans inside their expressions."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from headrace.kql.plan import nodes as p
from headrace.kql.plan.expressions import Expr, Literal, Ref

PARTS = (p.Plan, p.ExpandItem, p.OrderKey, p.ScanStep, Expr)
_LEAVES = (Ref, Literal, p.TableScan)


@functools.cache
def fields_of(kind: type) -> tuple[str, ...]:
    """The field names of a node's class."""
    return tuple(field.name for field in dataclasses.fields(kind))


def parts_of(top: p.Plan) -> Iterator[Any]:
    """The nodes and expressions of a plan in its order; what is shared is not entered."""
    stack: list[Any] = [top]
    while stack:
        item = stack.pop()
        if isinstance(item, tuple):
            stack.extend(reversed(item))
        elif isinstance(item, Mapping):
            stack.extend(item.values())
        elif isinstance(item, PARTS):
            yield item
            if not isinstance(item, _LEAVES):
                kind: type = type(item)
                stack.extend(getattr(item, name) for name in reversed(fields_of(kind)))


def replaced(item: Any, change: Callable[[p.Plan], p.Plan | None]) -> Any:
    """A plan with every node that `change` gives another for replaced, outermost first; else the same object."""
    if isinstance(item, tuple):
        new = tuple(replaced(part, change) for part in item)
        return item if all(a is b for a, b in zip(new, item, strict=True)) else new
    if isinstance(item, Mapping):
        changed = {key: replaced(part, change) for key, part in item.items()}
        return item if all(changed[key] is part for key, part in item.items()) else changed
    if not isinstance(item, PARTS) or isinstance(item, _LEAVES):
        return item
    if isinstance(item, p.Plan) and (other := change(item)) is not None:
        return other
    kind: type = type(item)
    values = {name: getattr(item, name) for name in fields_of(kind)}
    new_values = {name: replaced(value, change) for name, value in values.items()}
    if all(new_values[name] is value for name, value in values.items()):
        return item
    return kind(**new_values)
