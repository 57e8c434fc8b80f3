"""`reduce`: texts that are alike, by a pattern in which what varies is a `*`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from headrace.kql.bind.analytics import AnalyticsBinder
from headrace.kql.bind.base import text_literal
from headrace.kql.bind.scope import Relation
from headrace.kql.plan.expressions import Expr, Literal, Poison, ScalarQuery, ref
from headrace.kql.plan.nodes import Aggregate, Join, JoinKind, OrderKey
from headrace.kql.syntax import nodes as n
from headrace.kql.syntax import tabular as t
from headrace.kql.types import KustoType

_T = KustoType
_THRESHOLD = 0.1
_GUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_OTHERS = "others"
MOST_CHARACTERS = 64


class ReducingBinder(AnalyticsBinder):
    """Binds `reduce`.

    A text's pattern is the text with each GUID, and each term that holds a digit, as `*`. Terms are parted by
    all but letters and digits, and by the characters given, which a `*` beside them takes in. Patterns of fewer
    rows than the threshold's share of all, and those without a term, go together under `others`.
    """

    def reduce(self, rows: Relation, operator: t.Reduce) -> Relation:
        """`reduce [kind=source] by text [with threshold=ratio, characters="..."]`."""
        threshold, characters = self._reduce_options(operator)
        source = self.bound_rows(self.share_binding(rows)) if operator.source else rows
        with self.row_scope(source):
            value = self.bind_as(operator.value, _T.STRING)
        if isinstance(value, Poison):
            return rows
        pattern = self._pattern(value, characters)
        groups = self._groups(source, pattern, self.call("count"), value)
        binding = self.share_binding(groups)
        total = self._total(self.bound_rows(binding))
        again = self.bound_rows(binding)
        label, count, example = (ref(column) for column in again.columns)
        least = self.call("__multiply", Literal(_T.REAL, threshold), self.as_type(total, _T.REAL))
        rare = self.call("__less", self.as_type(count, _T.REAL), least)
        empty = self.call("not", self.call("__matches_regex", label, text_literal(r"[\pL\pN]")))
        other = self.call("__or", rare, empty)
        kept = self.call("iff", other, text_literal(_OTHERS), label)
        if operator.source:
            return self._beside(source, pattern, again, label, kept)
        shown = self.call("iff", other, text_literal(""), example)
        result = self._groups(again, kept, self.call("sum", count), shown)
        by_count = OrderKey(ref(result.columns[1]), True, False)
        by_pattern = OrderKey(ref(result.columns[0]), False, False)
        return Relation(result.plan, result.columns, (by_count, by_pattern), serialized=True)

    def _beside(self, source: Relation, pattern: Expr, groups: Relation, label: Expr, kept: Expr) -> Relation:
        """The rows with their group's pattern as a column more."""
        shown = self.new_column("Pattern", _T.STRING)
        side = self.compute(groups, [(shown, kept)])
        columns = (*source.columns, shown)
        plan = Join(
            (*source.plan.columns, *side.columns), source.plan, side, JoinKind.INNER, ((pattern, label),)
        )
        return source.unordered(plan, columns)

    def _groups(self, rows: Relation, pattern: Expr, count: Any, example: Expr) -> Relation:
        label = self.new_column("Pattern", _T.STRING)
        amount = self.new_column("Count", _T.LONG)
        representative = self.new_column("Representative", _T.STRING)
        columns = (label, amount, representative)
        aggregates = (((amount,), count), ((representative,), self.call("min", example)))
        return Relation(Aggregate(columns, rows.plan, ((label, pattern),), aggregates), columns)

    def _total(self, rows: Relation) -> Expr:
        total = self.new_column("", _T.LONG)
        plan = Aggregate((total,), rows.plan, (), (((total,), self.call("sum", ref(rows.columns[1]))),))
        return ScalarQuery(_T.LONG, plan, total)

    def _pattern(self, value: Expr, characters: str) -> Expr:
        # Terms that only marks of addresses and times part vary together.
        parting = "".join(re.escape(character) for character in characters)
        term, around = rf"[^\W_{parting}]*", f"[{parting}]*" if parting else ""
        varies = rf"{_GUID}|{around}{term}\d{term}{around}"
        for found, instead in ((varies, "*"), (r"\*(?:[-.:,/]?\*)+", "*")):
            value = self.call("replace_regex", value, text_literal(found), text_literal(instead))
        return value

    def _reduce_options(self, operator: t.Reduce) -> tuple[float, str]:
        threshold: Any = _THRESHOLD
        characters: Any = ""
        for name, node in operator.options.items():
            constant = self.bind(node).constant
            value = constant.value if constant is not None else None
            if name == "threshold" and isinstance(value, int | float) and 0 <= value <= 1:
                threshold = value
            elif name == "characters" and isinstance(value, str) and len(value) <= MOST_CHARACTERS:
                characters = value
            else:
                self._bad_option(name, node)
        return float(threshold), characters

    def _bad_option(self, name: str, node: n.Expression) -> None:
        known = {
            "threshold": "is a constant number from 0 to 1",
            "characters": f"is a constant text of at most {MOST_CHARACTERS} characters",
        }
        message = (
            f"`{name}` of `reduce` {known[name]}." if name in known else f"`reduce` takes no option `{name}`."
        )
        self.report("KQL0122", message, node)

    operators: Mapping[type[n.Operator], Callable[[Any, Relation, Any], Relation]] = {
        **AnalyticsBinder.operators,
        t.Reduce: reduce,
    }
