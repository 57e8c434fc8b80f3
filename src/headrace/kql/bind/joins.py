"""`join` and `lookup`: the pairs of keys, the kinds, and what the columns are called afterwards."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.kql.bind.aggregates import AggregateBinder
from headrace.kql.bind.base import BindProblem
from headrace.kql.bind.functions.operators import comparison_type
from headrace.kql.bind.operators import unique
from headrace.kql.bind.scope import Relation
from headrace.kql.plan.expressions import Column, Expr, Poison, columns_of, missing, ref
from headrace.kql.plan.nodes import Compute, Filter, Join, JoinKind, Plan
from headrace.kql.syntax import nodes as n
from headrace.kql.syntax import tabular as t
from headrace.kql.types import KustoType

_KINDS = {
    **{kind.value: kind for kind in JoinKind},
    "anti": JoinKind.LEFTANTI,
    "leftantisemi": JoinKind.LEFTANTI,
    "rightantisemi": JoinKind.RIGHTANTI,
}
_LEFT_ONLY = (JoinKind.LEFTSEMI, JoinKind.LEFTANTI)
_RIGHT_ONLY = (JoinKind.RIGHTSEMI, JoinKind.RIGHTANTI)


class JoinBinder(AggregateBinder):
    """Binds joins; the sides are bound by the caller."""

    _sides_broken = False

    def join_relations(self, left: Relation, right: Relation, operator: t.Join) -> Relation:
        """`join` and `lookup` of two bound sides."""
        kind = self._kind(operator)
        if operator.conditions is None:
            self.fail("KQL0126", "A join needs `on` with the columns to match.", operator)
        self._sides_broken = left.broken or right.broken
        pairs: list[tuple[Expr, Expr]] = []
        by_name: list[str] = []
        rest: list[Expr] = []
        for condition in operator.conditions:
            self._condition(condition, left, right, pairs, by_name, rest)
        left, left_keys = self._key_columns(left, [pair[0] for pair in pairs])
        right, right_keys = self._key_columns(right, [pair[1] for pair in pairs])
        if kind in _LEFT_ONLY:
            plan: Plan = Join(
                left.plan.columns, left.plan, right.plan, kind, tuple(zip(left_keys, right_keys, strict=True))
            )
            return left.with_plan(plan)
        if kind in _RIGHT_ONLY:
            plan = Join(
                right.plan.columns,
                left.plan,
                right.plan,
                kind,
                tuple(zip(left_keys, right_keys, strict=True)),
            )
            return right.with_plan(plan)
        return self._both(
            left, right, kind, tuple(zip(left_keys, right_keys, strict=True)), operator, by_name, rest
        )

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

    def _condition(
        self,
        node: n.Expression,
        left: Relation,
        right: Relation,
        pairs: list[tuple[Expr, Expr]],
        by_name: list[str],
        rest: list[Expr],
    ) -> None:
        if isinstance(node, n.Logical) and node.op == "and":
            for operand in node.operands:
                self._condition(operand, left, right, pairs, by_name, rest)
            return
        if isinstance(node, n.Name):
            sides = []
            for rows in (left, right):
                with self.row_scope(rows):
                    column = rows.find(node.name)
                    sides.append(ref(column) if column is not None else self.unknown_name(node, node.name))
            by_name.append(node.name)
            self._pair(node, sides[0], sides[1], pairs)
            return
        if isinstance(node, n.Binary) and node.op == "==":
            first, second = self._sided(node.left, left, right), self._sided(node.right, left, right)
            if isinstance(first, Poison) or isinstance(second, Poison):
                return
            in_left = columns_of(first) <= set(left.columns)
            if in_left and columns_of(second) <= set(right.columns):
                self._pair(node, first, second, pairs)
                return
            if columns_of(first) <= set(right.columns) and columns_of(second) <= set(left.columns):
                self._pair(node, second, first, pairs)
                return
        self.report(
            "KQL0128",
            "A join condition is a column of both sides, or `$left.a == $right.b`.",
            node,
        )

    def _sided(self, node: n.Expression, left: Relation, right: Relation) -> Expr:
        with self.row_scope(left, right):
            return self.bind(node)

    def _pair(self, node: n.Node, first: Expr, second: Expr, pairs: list[tuple[Expr, Expr]]) -> None:
        if isinstance(first, Poison) or isinstance(second, Poison) or self._sides_broken:
            return
        # A column that only the data may bring has no type of its own.
        if first.constant is not None and first.type is KustoType.DYNAMIC and first.constant.value is None:
            first = missing(second.type if second.type is not KustoType.DYNAMIC else KustoType.STRING)
        if second.constant is not None and second.type is KustoType.DYNAMIC and second.constant.value is None:
            second = missing(first.type)
        type = comparison_type(first.type, second.type)
        if first.type is KustoType.DYNAMIC and second.type is KustoType.DYNAMIC:
            self.report(
                "KQL0129", "A dynamic value cannot be a join key.", node, "Convert it, as by `tostring()`."
            )
            return
        if type is None:
            message = f"The join keys are of different types, {first.type} and {second.type}."
            self.report("KQL0129", message, node)
            return
        pairs.append((self.as_type(first, type), self.as_type(second, type)))

    def _key_columns(self, rows: Relation, keys: Sequence[Expr]) -> tuple[Relation, list[Expr]]:
        """The keys as they are; nothing needs to be computed beforehand."""
        return rows, list(keys)

    def _both(
        self,
        left: Relation,
        right: Relation,
        kind: JoinKind,
        pairs: tuple[tuple[Expr, Expr], ...],
        operator: t.Join,
        by_name: Sequence[str],
        rest: Sequence[Expr],
    ) -> Relation:
        if not pairs:
            raise BindProblem
        filled: list[tuple[Column, Column]] = []
        replaced: dict[Column, Column] = {}
        for rows, missed in (
            (left, kind in (JoinKind.RIGHTOUTER, JoinKind.FULLOUTER)),
            (right, kind in (JoinKind.LEFTOUTER, JoinKind.FULLOUTER)),
        ):
            for column in rows.columns if missed else ():
                if column.type is KustoType.STRING:
                    new = self.new_column(column.name, column.type, column.hidden)
                    filled.append((column, new))
                    replaced[column] = new
        dropped: set[Column] = set()
        if operator.lookup:
            dropped = {column for _, key in pairs for column in columns_of(key)}
        taken = {column.name for column in left.columns}
        columns = [replaced.get(column, column) for column in left.columns]
        renamed: list[tuple[Column, Expr]] = []
        for column in right.columns:
            if column in dropped:
                continue
            source = replaced.get(column, column)
            if column.name in taken:
                if column.hidden:
                    continue
                name = unique(column.name, taken | {other.name for other in right.columns})
                new = self.new_column(name, column.type)
                renamed.append((new, ref(source)))
                source = new
            taken.add(source.name)
            columns.append(source)
        outputs = (*left.plan.columns, *right.plan.columns, *(new for _, new in filled))
        plan: Plan = Join(outputs, left.plan, right.plan, kind, pairs, tuple(filled))
        for predicate in rest:
            plan = Filter(plan.columns, plan, predicate)
        if renamed:
            plan = Compute((*plan.columns, *(new for new, _ in renamed)), plan, tuple(renamed))
        return Relation(
            plan, tuple(columns), open=left.open or right.open, broken=left.broken or right.broken
        )
