"""How deep a plan is: bounded, because everything that walks plans recurses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from headrace.kql.plan import nodes as p

MAX_DEPTH = 220
"""Nodes on the longest way from a plan's top to a leaf."""


def too_deep(plan: p.Plan) -> bool:
    """Whether some way from the top to a leaf has more than `MAX_DEPTH` nodes."""
    seen: dict[int, int] = {}
    stack: list[tuple[p.Plan, int]] = [(plan, 1)]
    while stack:
        node, depth = stack.pop()
        if depth > MAX_DEPTH:
            return True
        if seen.get(id(node), 0) >= depth:
            continue
        seen[id(node)] = depth
        stack.extend((child, depth + 1) for child in inputs_of(node))
    return False


def inputs_of(plan: Any) -> Iterator[p.Plan]:
    """The plans right below a node, those in its expressions left out."""
    if isinstance(plan, p.Join):
        yield plan.left
        yield plan.right
    elif isinstance(plan, p.Union):
        for side, _ in plan.inputs:
            yield side
    elif isinstance(plan, p.Shared):
        yield plan.shared.plan
    elif isinstance(plan, p.Correlated):
        yield plan.input
        yield plan.body
    elif hasattr(plan, "input"):
        yield plan.input
