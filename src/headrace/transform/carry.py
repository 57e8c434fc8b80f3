"""Columns that go along with each row through a compiled transform, though its text never names them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp


def carry_columns(query: exp.Query, names: Sequence[str]) -> bool:
    """Let every select between the scan and the result of `query` hand on `names`; changes `query`.

    The scan's own select yields them already. Every row of a transform comes from one row of its source,
    so they can be handed on as they are. False when `query` does not read a scan that yields them (a
    `print`). Raises `ValueError` when a select on the way would fold rows together.
    """
    return _Carrier(names).visit(query, frozenset())


class _Carrier:
    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)

    def visit(self, query: exp.Expr, carrying: frozenset[str]) -> bool:
        for table in _common_tables(query):
            if self.visit(table.this, carrying):
                carrying = carrying | {table.alias}
        if isinstance(query, exp.Subquery):
            return self.visit(query.this, carrying)
        if isinstance(query, exp.SetOperation):
            left, right = self.visit(query.left, carrying), self.visit(query.right, carrying)
            if left != right:
                raise ValueError("only one side of a union reads the source")
            return left
        if isinstance(query, exp.Select):
            return self._select(query, carrying)
        return False

    def _select(self, select: exp.Select, carrying: frozenset[str]) -> bool:
        if set(self._names) <= set(select.named_selects):
            return True
        source = next((one for one in _sources(select) if self._carries(one, carrying)), None)
        if source is None:
            return False
        if select.args.get("group") or select.args.get("distinct"):
            raise ValueError("a transform cannot fold rows together")
        if not select.is_star:
            columns = [
                exp.column(name, table=source.alias_or_name or None, quoted=True) for name in self._names
            ]
            select.select(*columns, copy=False)
        return True

    def _carries(self, source: exp.Expr, carrying: frozenset[str]) -> bool:
        if isinstance(source, exp.Table):
            return not source.db and source.name in carrying
        return isinstance(source, exp.Query) and self.visit(source, carrying)


def _common_tables(query: exp.Expr) -> Sequence[exp.CTE]:
    # sqlglot renamed the argument between releases: look for the node, not for its key.
    clause = next((part for part in query.args.values() if isinstance(part, exp.With)), None)
    return clause.expressions if clause is not None else ()


def _sources(select: exp.Select) -> list[exp.Expr]:
    first = next((part for part in select.args.values() if isinstance(part, exp.From)), None)
    joined = [join.this for join in select.args.get("joins") or ()]
    return ([first.this] if first is not None else []) + joined
