"""Every table scan of a plan, those in sub-queries and shared plans included."""

from __future__ import annotations

from collections.abc import Iterator

from headrace.kql.plan import nodes as p
from headrace.kql.plan.tree import parts_of


def table_scans(plan: p.Plan) -> Iterator[p.TableScan]:
    """The scans in the order of the plan."""
    return _scans(plan, set())


def _scans(plan: p.Plan, seen: set[int]) -> Iterator[p.TableScan]:
    for item in parts_of(plan):
        if isinstance(item, p.TableScan):
            if id(item) not in seen:
                seen.add(id(item))
                yield item
        elif isinstance(item, p.Shared) and id(item.shared) not in seen:
            seen.add(id(item.shared))
            yield from _scans(item.shared.plan, seen)
