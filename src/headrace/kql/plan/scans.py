"""Every table scan of a plan, those in sub-queries and shared plans included."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any

from headrace.kql.plan import nodes as p
from headrace.kql.plan.expressions import Expr

_PARTS = (p.Plan, p.ExpandItem, p.OrderKey, p.ScanStep, Expr)


def table_scans(plan: p.Plan) -> Iterator[p.TableScan]:
    """The scans in the order of the plan."""
    seen: set[int] = set()
    stack: list[Any] = [plan]
    while stack:
        item = stack.pop()
        if isinstance(item, tuple):
            stack.extend(reversed(item))
        elif isinstance(item, Mapping):
            stack.extend(item.values())
        elif isinstance(item, p.TableScan):
            if id(item) not in seen:
                seen.add(id(item))
                yield item
        elif isinstance(item, p.Shared):
            if id(item.shared) not in seen:
                seen.add(id(item.shared))
                stack.append(item.shared.pruned or item.shared.plan)
        elif isinstance(item, _PARTS):
            kind: type = type(item)
            stack.extend(getattr(item, name) for name in reversed(fields_of(kind)))


@functools.cache
def fields_of(kind: type) -> tuple[str, ...]:
    """The field names of a node's class."""
    return tuple(field.name for field in dataclasses.fields(kind))
