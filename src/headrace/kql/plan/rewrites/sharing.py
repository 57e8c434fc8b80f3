"""What becomes of shared plans: put in where they are read, or computed once for all readers.

A plan that one place reads is put in there. So is a cheap one (a scan, conditions, computed columns) at each of its
readers, whose filters, times and columns then narrow each scan by itself. What gathers, joins or parses is computed
once: the engine narrows it to the columns and rows that some reader wants.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from headrace.kql.plan import nodes as p
from headrace.kql.plan.expressions import Apply, Column, Ref, ref
from headrace.kql.plan.tree import parts_of, replaced

CHEAP = (p.TableScan, p.Rows, p.Sequence, p.Filter, p.Compute, p.Union, p.Shared)


def settle(plan: p.Plan) -> tuple[p.Plan, Sequence[p.SharedPlan]]:
    """The plan, and the plans that it still shares, each before those that it reads; both are the caller's own."""
    found, reads = _found(plan)
    if not found:
        return plan, ()
    times = Counter(reads[0])
    once: set[int] = set()
    for shared in found:
        repeats = times[shared.number]
        if shared.once or (repeats > 1 and not may_repeat(shared.plan)):
            once.add(shared.number)
            repeats = 1
        for inner in reads[shared.number]:
            times[inner] += repeats
    return _Settled(found, once).result(plan)


def may_repeat(plan: p.Plan) -> bool:
    """Whether a plan is cheap, and the same each time that it is computed."""
    return all(isinstance(part, CHEAP) or not isinstance(part, p.Plan) for part in parts_of(plan)) and steady(
        plan
    )


def steady(plan: p.Plan, *, throughout: bool = False) -> bool:
    """Whether a plan gives the same rows each time that it is computed.

    What is computed once for all its readers counts as the same; `throughout`: it is looked into, too.
    """
    for part in parts_of(plan):
        if isinstance(part, Apply) and part.function.volatile:
            return False
        looked_into = isinstance(part, p.Shared) and (throughout or not part.shared.once)
        if looked_into and not steady(part.shared.plan, throughout=throughout):
            return False
    return True


def closed(plan: p.Plan) -> bool:
    """Whether a plan reads no columns of rows around it."""
    made: set[Column] = set()
    read: set[Column] = set()
    for part in parts_of(plan):
        if isinstance(part, p.Plan):
            made.update(part.columns)
        elif isinstance(part, Ref):
            read.add(part.column)
    return read <= made


class _Settled:
    def __init__(self, found: Sequence[p.SharedPlan], once: set[int]) -> None:
        self.own = {shared.number: p.SharedPlan(shared.number, shared.plan) for shared in found}
        self.once = once
        for shared in reversed(self.own.values()):
            shared.plan = replaced(shared.plan, self.change)

    def result(self, plan: p.Plan) -> tuple[p.Plan, Sequence[p.SharedPlan]]:
        kept = [shared for number, shared in self.own.items() if number in self.once]
        return replaced(plan, self.change), kept

    def change(self, plan: p.Plan) -> p.Plan | None:
        if not isinstance(plan, p.Shared):
            return None
        own = self.own[plan.shared.number]
        if own.number in self.once:
            return p.Shared(plan.columns, own, plan.origin)
        if plan.columns == plan.origin:
            return own.plan
        pairs = zip(plan.columns, plan.origin, strict=True)
        items = tuple((column, ref(origin)) for column, origin in pairs)
        return p.Compute(plan.columns, own.plan, items)


def _found(plan: p.Plan) -> tuple[list[p.SharedPlan], dict[int, list[int]]]:
    """The shared plans behind a plan, each before those that it reads; and what each reads, the plan itself as 0."""
    found: dict[int, p.SharedPlan] = {}
    reads: dict[int, list[int]] = {}
    stack = [(0, plan)]
    while stack:
        number, reader = stack.pop()
        reads[number] = []
        for part in parts_of(reader):
            if isinstance(part, p.Shared):
                reads[number].append(part.shared.number)
                if part.shared.number not in found:
                    found[part.shared.number] = part.shared
                    stack.append((part.shared.number, part.shared.plan))
    return [found[number] for number in sorted(found, reverse=True)], reads
