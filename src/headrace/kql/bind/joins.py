"""`join` and `lookup`: the pairs of keys, the kinds, and what the columns are called afterwards."""

from __future__ import annotations

from headrace.kql.bind.aggregates import AggregateBinder
from headrace.kql.bind.base import BindProblem
from headrace.kql.bind.functions.operators import comparison_type
from headrace.kql.bind.functions.registry import conversion_cure
from headrace.kql.bind.operators import unique
from headrace.kql.bind.scope import Relation
from headrace.kql.plan.expressions import Column, Expr, Poison, columns_of, missing, ref
from headrace.kql.plan.nodes import Compute, Join, JoinKind, Plan
from headrace.kql.syntax import nodes as n
from headrace.kql.syntax import tabular as t
from headrace.kql.types import KustoType

_KINDS = {
    **{kind.value: kind for kind in JoinKind},
    "anti": JoinKind.LEFTANTI,
    "leftantisemi": JoinKind.LEFTANTI,
    "rightantisemi": JoinKind.RIGHTANTI,
}
KeyPair = tuple[Expr, Expr]
"""A key of the left side, and the one of the right side that it must equal."""

_MEETING = ({KustoType.INT, KustoType.LONG}, {KustoType.GUID, KustoType.STRING})
"""The pairs of types in which keys differ and yet meet."""
_LEFT_ONLY = (JoinKind.LEFTSEMI, JoinKind.LEFTANTI)
_RIGHT_ONLY = (JoinKind.RIGHTSEMI, JoinKind.RIGHTANTI)


class JoinBinder(AggregateBinder):
    """Binds joins; the sides are bound by the caller."""

    def join_relations(self, left: Relation, right: Relation, operator: t.Join) -> Relation:
        """`join` and `lookup` of two bound sides."""
        kind = self._kind(operator)
        if operator.conditions is None:
            self.fail("KQL0126", "A join needs `on` with the columns to match.", operator)
        pairs = tuple(
            pair for condition in operator.conditions for pair in self._pairs(condition, left, right)
        )
        if kind in _LEFT_ONLY:
            return left.with_plan(Join(left.plan.columns, left.plan, right.plan, kind, pairs))
        if kind in _RIGHT_ONLY:
            return right.with_plan(Join(right.plan.columns, left.plan, right.plan, kind, pairs))
        if not pairs:
            raise BindProblem
        return self._both(left, right, kind, pairs, lookup=operator.lookup)

    def _kind(self, operator: t.Join) -> JoinKind:
        default = "leftouter" if operator.lookup else "innerunique"
        name = (operator.kind or default).lower()
        kind = _KINDS.get(name)
        if kind is None:
            known = ", ".join(_KINDS)
            self.fail(
                "KQL0127", f"`join` has no kind `{operator.kind}`.", operator, f"The kinds are {known}."
            )
        if operator.lookup and kind not in (JoinKind.LEFTOUTER, JoinKind.INNER):
            self.fail("KQL0127", "`lookup` has the kinds leftouter and inner.", operator)
        return kind

    def _pairs(self, node: n.Expression, left: Relation, right: Relation) -> list[KeyPair]:
        """The keys that a condition of `on` pairs; none after a problem."""
        if isinstance(node, n.Logical) and node.op == "and":
            return [pair for operand in node.operands for pair in self._pairs(operand, left, right)]
        sides = self._sides(node, left, right)
        if sides is None or left.broken or right.broken:
            return []
        return self._compared_keys(node, *sides, settled=not (left.open or right.open))

    def _sides(self, node: n.Expression, left: Relation, right: Relation) -> KeyPair | None:
        """The key of the left side and that of the right; None after a problem."""
        if isinstance(node, n.Name):
            sides = []
            for rows in (left, right):
                with self.row_scope(rows):
                    column = rows.find(node.name)
                    sides.append(ref(column) if column is not None else self.unknown_name(node, node.name))
            first, second = sides
            return None if isinstance(first, Poison) or isinstance(second, Poison) else (first, second)
        if isinstance(node, n.Binary) and node.op == "==":
            first, second = self._sided(node.left, left, right), self._sided(node.right, left, right)
            if isinstance(first, Poison) or isinstance(second, Poison):
                return None
            for one, other in ((first, second), (second, first)):
                if columns_of(one) <= set(left.columns) and columns_of(other) <= set(right.columns):
                    return one, other
        self.report(
            "KQL0128",
            "A join condition is a column of both sides, or `$left.a == $right.b`.",
            node,
        )
        return None

    def _sided(self, node: n.Expression, left: Relation, right: Relation) -> Expr:
        with self.row_scope(left, right):
            return self.bind(node)

    def _compared_keys(self, node: n.Node, first: Expr, second: Expr, *, settled: bool) -> list[KeyPair]:
        """Both keys in the type that they are compared in; none after a problem.

        `settled`: all columns are known, and so are their types.
        """
        # A column that only the data may bring has no type of its own.
        if first.constant is not None and first.type is KustoType.DYNAMIC and first.constant.value is None:
            first = missing(second.type if second.type is not KustoType.DYNAMIC else KustoType.STRING)
        if second.constant is not None and second.type is KustoType.DYNAMIC and second.constant.value is None:
            second = missing(first.type)
        if settled and any(
            isinstance(self.keyed(key, node, "a join key"), Poison) for key in (first, second)
        ):
            return []
        types = {first.type, second.type}
        type = comparison_type(first.type, second.type)
        if type is None or (settled and len(types) > 1 and types not in _MEETING):
            message = f"The join keys are of different types, {first.type} and {second.type}."
            self.report("KQL0129", message, node, conversion_cure([second.type]))
            return []
        return [(self.as_type(first, type), self.as_type(second, type))]

    def _both(
        self, left: Relation, right: Relation, kind: JoinKind, pairs: tuple[KeyPair, ...], *, lookup: bool
    ) -> Relation:
        """The join with the columns of both sides; a `lookup` shows the keys once."""
        filled = self._filled(left, right, kind)
        dropped = {column for _, key in pairs for column in columns_of(key)} if lookup else set()
        columns = [filled.get(column, column) for column in left.columns]
        taken = {column.name for column in left.columns}
        renamed: list[tuple[Column, Expr]] = []
        for column in right.columns:
            if column in dropped or (column.hidden and column.name in taken):
                continue
            source = filled.get(column, column)
            if column.name in taken:
                new = self.new_column(
                    unique(column.name, taken | {other.name for other in right.columns}), column.type
                )
                renamed.append((new, ref(source)))
                source = new
            taken.add(source.name)
            columns.append(source)
        outputs = (*left.plan.columns, *right.plan.columns, *filled.values())
        plan: Plan = Join(outputs, left.plan, right.plan, kind, pairs, tuple(filled.items()))
        if renamed:
            plan = Compute((*plan.columns, *(new for new, _ in renamed)), plan, tuple(renamed))
        return Relation(
            plan, tuple(columns), open=left.open or right.open, broken=left.broken or right.broken
        )

    def _filled(self, left: Relation, right: Relation, kind: JoinKind) -> dict[Column, Column]:
        """Texts of a side that may have no row: each with the column in which they are empty, never null."""
        filled: dict[Column, Column] = {}
        for rows, missed in (
            (left, kind in (JoinKind.RIGHTOUTER, JoinKind.FULLOUTER)),
            (right, kind in (JoinKind.LEFTOUTER, JoinKind.FULLOUTER)),
        ):
            for column in rows.columns if missed else ():
                if column.type is KustoType.STRING:
                    filled[column] = self.new_column(column.name, column.type, column.hidden)
        return filled
