"""`evaluate ipv4_lookup`: rows beside those of a table whose network holds their address."""

from __future__ import annotations

from headrace.kql.bind.base import BindProblem, long_literal
from headrace.kql.bind.expanding import ExpandingBinder
from headrace.kql.bind.operators import unique
from headrace.kql.bind.scope import Relation
from headrace.kql.plan.expressions import Column, Expr, Poison, ref
from headrace.kql.plan.nodes import Compute, Filter, Join, JoinKind, Plan, Rank
from headrace.kql.syntax import nodes as n
from headrace.kql.syntax import tabular as t
from headrace.kql.types import KustoType

_T = KustoType


class LookupBinder(ExpandingBinder):
    """Binds lookups by network. Two networks match when one holds the other: when their ranges overlap."""

    def ipv4_lookup(self, rows: Relation, operator: t.Evaluate, call: n.Call) -> Relation:
        """`ipv4_lookup(table, address, network [, column ...] [, return_unmatched])`."""
        if len(call.arguments) < 3:
            message = "`ipv4_lookup` takes a table, a column of the rows and a column of the table."
            self.fail("KQL0109", message, call)
        with self.row_scope(None):
            table = self.relation(call.arguments[0].value)
        keys, unmatched = self._lookup_options(call)
        if not unmatched:
            return self._matched(rows, table, call, keys)
        place = self.new_column("", _T.LONG)
        numbered = Rank((*rows.plan.columns, place), rows.plan, place, (), rows.order)
        binding = self.share_binding(Relation(numbered, (*rows.columns, place), open=rows.open))
        left, rest = self.bound_rows(binding), self.bound_rows(binding)
        found = self._matched(left, table, call, keys)
        again = self.share_binding(found)
        found, other = self.bound_rows(again), self.bound_rows(again)
        width = len(rows.columns)
        pair = (ref(rest.columns[width]), ref(other.columns[width]))
        anti = Join(rest.plan.columns, rest.plan, other.plan, JoinKind.LEFTANTI, (pair,))
        sides = [
            (
                "",
                Relation(found.plan, (*found.columns[:width], *found.columns[width + 1 :]), open=found.open),
            ),
            ("", Relation(anti, rest.columns[:width])),
        ]
        return self.union_relations(sides, inner=False, source_name=None)

    def _lookup_options(self, call: n.Call) -> tuple[list[n.Name], bool]:
        """The further columns that must be equal, and whether rows without a match stay."""
        keys: list[n.Name] = []
        unmatched = False
        for argument in call.arguments[3:]:
            value = argument.value
            if isinstance(value, n.Literal) and isinstance(value.value, bool):
                unmatched = value.value
            elif isinstance(value, n.Name) and argument.name is None:
                keys.append(value)
            else:
                message = "`ipv4_lookup` takes names of columns, then `return_unmatched = true` or `false`."
                self.fail("KQL0109", message, argument)
        return keys, unmatched

    def _matched(self, left: Relation, table: Relation, call: n.Call, keys: list[n.Name]) -> Relation:
        """The rows with what matches them in the table, as `lookup` shows it."""
        low, high, source = self._range(left, call.arguments[1].value)
        first, last, networks = self._range(table, call.arguments[2].value)
        pairs: list[tuple[Expr, Expr]] = [(long_literal(1), long_literal(1))]
        pairs.extend((self._key(left, name), self._key(table, name)) for name in keys)
        columns = (*source.columns, *networks.columns)
        plan: Plan = Join(columns, source, networks, JoinKind.INNER, tuple(pairs))
        for below, above in ((low, last), (first, high)):
            plan = Filter(columns, plan, self.call("__less_or_equal", ref(below), ref(above)))
        taken = {column.name for column in left.columns}
        shown = list(left.columns)
        renamed: list[tuple[Column, Expr]] = []
        for column in table.visible:
            if column.name in {name.name for name in keys}:
                continue
            if column.name in taken:
                new = self.new_column(unique(column.name, taken), column.type)
                renamed.append((new, ref(column)))
                column = new
            taken.add(column.name)
            shown.append(column)
        if renamed:
            plan = Compute((*columns, *(new for new, _ in renamed)), plan, tuple(renamed))
        broken = left.broken or table.broken
        return Relation(plan, tuple(shown), open=left.open or table.open, broken=broken)

    def _range(self, rows: Relation, node: n.Expression) -> tuple[Column, Column, Plan]:
        """The first and the last address of a network or address as numbers, and the plan that has them."""
        with self.row_scope(rows):
            value = self.bind_as(node, _T.STRING)
        if isinstance(value, Poison):
            raise BindProblem
        low, high = self.new_column("", _T.LONG), self.new_column("", _T.LONG)
        first = self.call("parse_ipv4", value)
        free = self.call("__subtract", long_literal(32), self.call("ipv4_netmask_suffix", value))
        size = self.call("binary_shift_left", long_literal(1), free)
        last = self.call("__subtract", self.call("__add", first, size), long_literal(1))
        return low, high, self.compute(rows, [(low, first), (high, last)])

    def _key(self, rows: Relation, name: n.Name) -> Expr:
        with self.row_scope(rows):
            value = self.bind(name)
        if isinstance(value, Poison):
            raise BindProblem
        return value
