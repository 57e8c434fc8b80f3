"""`evaluate`: the plugins that reshape rows. Their columns depend on the data unless a schema says them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.kql.bind.base import BindProblem, long_literal, text_literal
from headrace.kql.bind.functions.registry import Kind
from headrace.kql.bind.lookups import LookupBinder
from headrace.kql.bind.scope import Relation
from headrace.kql.plan.expressions import Apply, Column, Expr, Poison, columns_of, missing, ref
from headrace.kql.plan.nodes import Aggregate, Expand, ExpandItem, Plan, Rank
from headrace.kql.syntax import nodes as n
from headrace.kql.syntax import tabular as t
from headrace.kql.types import KustoType

_T = KustoType
MAX_MADE = 500
"""The most columns that data may add to a result."""
PlanProbe = Callable[[Plan, Sequence[Column]], Sequence[Sequence[Any]]]
"""Runs a plan and gives its rows: how the binder learns of columns that only the data knows."""

_BAG_OPTIONS = ("OutputColumnPrefix", "columnsConflict", "ignoredProperties")


@dataclass(frozen=True, slots=True)
class BagOptions:
    """What `bag_unpack` puts before names, does where a name is taken, and leaves out."""

    prefix: str
    conflict: str
    ignored: frozenset[str]


class PluginBinder(LookupBinder):
    """Binds `evaluate`."""

    probe: PlanProbe | None = None

    def evaluate(self, rows: Relation, operator: t.Evaluate) -> Relation:
        """`evaluate plugin(...)`."""
        call = operator.call
        name = call.name if isinstance(call, n.Call) else ""
        method = PLUGINS.get(name)
        if method is None or not isinstance(call, n.Call):
            known = ", ".join(PLUGINS)
            message = f"The plugin `{name}` is refused: it is not supported."
            self.fail("KQL0203", message, operator, f"The plugins are {known}.")
        return method(self, rows, operator, call)

    def bag_unpack(self, rows: Relation, operator: t.Evaluate, call: n.Call) -> Relation:
        """`bag_unpack(column [, prefix, columnsConflict, ignoredProperties])`: a column for each property."""
        if not call.arguments:
            self.fail("KQL0109", "`bag_unpack` takes a column.", call)
        with self.row_scope(rows):
            value = self.bind_as(call.arguments[0].value, _T.DYNAMIC)
        if isinstance(value, Poison):
            raise BindProblem
        options = self._bag_options(call)
        source = self.own_name(call.arguments[0].value)
        kept = tuple(column for column in rows.columns if column.name != source)
        taken = {column.name for column in kept}
        if operator.columns is not None:
            # A declared name that the rows have already is that column; `*` keeps those anyway.
            wanted = [(declared.name, declared.type) for declared in operator.columns]
            if operator.all_columns:
                wanted = [item for item in wanted if item[0] not in taken]
            found = [(name, name.removeprefix(options.prefix), type) for name, type in wanted]
            opened = False
        else:
            found, opened = self._bag_columns(call, rows, value, options)
            if options.conflict == "keep_source":
                found = [item for item in found if item[0] not in taken]
            elif options.conflict == "error":
                self._refuse_conflict(call, [name for name, _, _ in found if name in taken])
        items: list[tuple[Column, Expr]] = []
        for name, key, type in found:
            own = rows.find(name) if operator.columns is not None and name in taken else None
            part = ref(own) if own is not None else self._property(call, value, key)
            items.append((self.new_column(name, type), self.as_type(part, type)))
        if operator.columns is not None and not operator.all_columns:
            columns = tuple(column for column, _ in items)
            return rows.with_columns(self.compute(rows, items), columns)
        result = self.replaced(rows.with_columns(rows.plan, kept), items)
        return Relation(
            result.plan, result.columns, result.order, result.serialized, open=opened or rows.open
        )

    def _bag_options(self, call: n.Call) -> BagOptions:
        """The arguments of `bag_unpack` after the column, by name or by place."""
        given: dict[str, Any] = {}
        for place, argument in enumerate(call.arguments[1:]):
            constant = self.bind(argument.value).constant
            if constant is None:
                self.fail("KQL0109", "`bag_unpack` takes constants after the column.", argument)
            name = argument.name or _BAG_OPTIONS[min(place, len(_BAG_OPTIONS) - 1)]
            if name not in _BAG_OPTIONS:
                hint = self.did_you_mean(name, _BAG_OPTIONS)
                self.fail("KQL0108", f"`bag_unpack` has no argument `{name}`.", argument, hint)
            given[name] = constant.value
        conflict = str(given.get("columnsConflict") or "error")
        if conflict not in ("error", "replace_source", "keep_source"):
            message = "`columnsConflict` is `error`, `replace_source` or `keep_source`."
            self.fail("KQL0109", message, call)
        try:
            ignored = json.loads(str(given.get("ignoredProperties") or "[]"))
        except ValueError:
            ignored = None
        if not isinstance(ignored, list):
            self.fail("KQL0109", "`ignoredProperties` is an array of names.", call)
        prefix = str(given.get("OutputColumnPrefix") or "")
        return BagOptions(prefix, conflict, frozenset(str(name) for name in ignored))

    def _refuse_conflict(self, call: n.Call, names: Sequence[str]) -> None:
        if names:
            self.fail(
                "KQL0116",
                f"`bag_unpack` makes the column `{names[0]}`, which is there already.",
                call,
                'Give it a prefix, or say `columnsConflict="keep_source"` or `"replace_source"`.',
            )

    def _property(self, node: n.Node, value: Expr, key: str) -> Expr:
        return self.apply(node, "__index", (value, text_literal(key)), "the index")

    def _bag_columns(
        self, call: n.Call, rows: Relation, value: Expr, options: BagOptions
    ) -> tuple[list[tuple[str, str, KustoType]], bool]:
        """Name, key and type of each property that the data has; open where nobody can be asked."""
        if self.probe is None or self.problems:
            return [], True
        key, kind = self.new_column("key", _T.STRING), self.new_column("kind", _T.STRING)
        element = self.new_column("", _T.DYNAMIC)
        held = self.new_column("", _T.DYNAMIC)
        plan = self.compute(rows, [(held, value)])
        item = ExpandItem(element, ref(held), _T.DYNAMIC)
        plan = Expand((held, element), plan, (item,), None, True, None, keep_empty=False)
        first = self._element(ref(element), 0)
        second = self._element(ref(element), 1)
        plan = Aggregate(
            (key, kind),
            plan,
            ((key, self.as_type(first, _T.STRING)), (kind, self.call("gettype", second))),
            (),
        )
        types: dict[str, set[str]] = {}
        for name, type_name in self.probe(plan, (key, kind)):
            types.setdefault(str(name), set()).add(str(type_name))
        self._check_width(call, len(types))
        found: list[tuple[str, str, KustoType]] = []
        for name in sorted(types):
            if name not in options.ignored:
                found.append((options.prefix + name, name, _bag_type(types[name])))
        return found, not types

    def _element(self, value: Expr, place: int) -> Expr:
        """An element of an array."""
        return self.call("__index", value, long_literal(place))

    def pivot(self, rows: Relation, operator: t.Evaluate, call: n.Call) -> Relation:
        """`pivot(column [, aggregate] [, columns ...])`: a column for each value."""
        if not call.arguments or not isinstance(call.arguments[0].value, n.Name):
            self.fail("KQL0109", "`pivot` takes a column first.", call)
        pivoted = rows.find(call.arguments[0].value.name)
        if pivoted is None:
            with self.row_scope(rows):
                self.unknown_name(call.arguments[0].value, call.arguments[0].value.name)
            raise BindProblem
        applied, used, rest = self._pivot_aggregate(rows, call)
        rows = rows.with_plan(self.compute(rows, self.held_columns()))
        keys = [column for column in rows.visible if column is not pivoted and column not in used]
        if rest:
            keys = [column for column in keys if column.name in rest]
        labels, opened = self._pivot_labels(rows, pivoted, operator, {column.name for column in keys})
        items: list[tuple[tuple[Column, ...], Apply]] = []
        made: list[Column] = []
        for label in labels:
            column = self.new_column(label, applied.type)
            same = self.call("__equal", self.as_type(ref(pivoted), _T.STRING), text_literal(label))
            items.append(((column,), self._conditional(applied, same)))
            made.append(column)
        group = [(self.new_column(column.name, column.type), ref(column)) for column in keys]
        columns = (*(column for column, _ in group), *made)
        plan: Plan = Aggregate(columns, rows.plan, tuple(group), tuple(items))
        filled = [(self.new_column(c.name, c.type), self._zero(c)) for c in made if c.type is _T.LONG]
        result = Relation(plan, columns, open=opened or rows.open)
        return self.replaced(result, filled) if filled else result

    def _zero(self, column: Column) -> Expr:
        return self.call("coalesce", ref(column), self.as_type(long_literal(0), column.type))

    def _conditional(self, applied: Apply, condition: Expr) -> Apply:
        """The aggregate over the rows of one value: its arguments are missing elsewhere."""
        if applied.function.name == "count":
            return self.call("countif", condition)
        conditional = self.functions.find(applied.function.name + "if") or self.functions.find(
            applied.function.name + "_if"
        )
        if conditional is not None and conditional.kind is Kind.AGGREGATE:
            return self.call(conditional.name, *applied.arguments, condition)
        arguments = [
            self.call("iff", condition, applied.arguments[0], missing(applied.arguments[0].type)),
            *applied.arguments[1:],
        ]
        return self.call(applied.function.name, *arguments)

    def _pivot_aggregate(self, rows: Relation, call: n.Call) -> tuple[Apply, set[Column], set[str]]:
        used: set[Column] = set()
        rest: set[str] = set()
        applied = self.call("count")
        for argument in call.arguments[1:]:
            node = argument.value
            if isinstance(node, n.Call) and (function := self.functions.find(node.name)) is not None:
                before, self.aggregates = self.aggregates, []
                try:
                    with self.row_scope(rows):
                        bound = self.aggregate_call(node, function)
                finally:
                    self.aggregates = before
                if bound is None:
                    raise BindProblem
                applied = bound
                used |= columns_of(bound)
            elif isinstance(node, n.Name):
                rest.add(node.name)
        return applied, used, rest

    def _pivot_labels(
        self, rows: Relation, pivoted: Column, operator: t.Evaluate, taken: set[str]
    ) -> tuple[list[str], bool]:
        if operator.columns is not None:
            return [declared.name for declared in operator.columns if declared.name not in taken], False
        if self.probe is None or self.problems:
            return [], True
        label = self.new_column("label", _T.STRING)
        plan = Aggregate((label,), rows.plan, ((label, self.as_type(ref(pivoted), _T.STRING)),), ())
        labels = sorted(str(row[0]) for row in self.probe(plan, (label,)))
        self._check_width(operator, len(labels))
        return [name for name in labels if name not in taken], not labels

    def _check_width(self, node: n.Node, width: int) -> None:
        if width > MAX_MADE:
            message = f"The data would make more than {MAX_MADE} columns."
            self.fail("KQL0142", message, node, "Filter the rows first, or give the plugin a schema.")

    def narrow(self, rows: Relation, operator: t.Evaluate, call: n.Call) -> Relation:
        """`narrow()`: a row for each cell."""
        rows = self._numbered(rows)
        number = rows.columns[-1]
        pairs: list[Expr] = []
        for column in rows.visible:
            if column is not number:
                cell = self.as_type(ref(column), _T.STRING)
                pairs.append(self.call("pack_array", text_literal(column.name), cell))
        cells = self.call("pack_array", *pairs)
        held = self.new_column("", _T.DYNAMIC)
        element = self.new_column("", _T.DYNAMIC)
        plan = self.compute(rows, [(held, cells)])
        item = ExpandItem(element, ref(held), _T.DYNAMIC)
        plan = Expand((number, held, element), plan, (item,), None, False, None)
        made = Relation(plan, (number,))
        items = [
            (self.new_column("Row", _T.LONG), ref(number)),
            (
                self.new_column("Column", _T.STRING),
                self.as_type(self._element(ref(element), 0), _T.STRING),
            ),
            (
                self.new_column("Value", _T.STRING),
                self.as_type(self._element(ref(element), 1), _T.STRING),
            ),
        ]
        return Relation(self.compute(made, items), tuple(column for column, _ in items))

    def _numbered(self, rows: Relation) -> Relation:
        """The rows with their place, from 0, as the last column."""
        place = self.new_column("", _T.LONG)
        plan = Rank((*rows.plan.columns, place), rows.plan, place, (), rows.order)
        number = self.new_column("", _T.LONG)
        numbered = Relation(plan, rows.columns)
        value = self.call("__subtract", ref(place), long_literal(1))
        return Relation(self.compute(numbered, [(number, value)]), (*rows.columns, number))


def _bag_type(names: set[str]) -> KustoType:
    """The type of a property's column: that of its values if they agree, else dynamic."""
    names = names - {"null"}
    if len(names) != 1:
        return _T.DYNAMIC
    name = names.pop()
    known = {
        "string": _T.STRING,
        "long": _T.LONG,
        "int": _T.LONG,
        "real": _T.REAL,
        "double": _T.REAL,
        "bool": _T.BOOL,
    }
    return known.get(name, _T.DYNAMIC)


PLUGINS: dict[str, Callable[[PluginBinder, Relation, t.Evaluate, n.Call], Relation]] = {
    "bag_unpack": PluginBinder.bag_unpack,
    "pivot": PluginBinder.pivot,
    "narrow": PluginBinder.narrow,
    "ipv4_lookup": PluginBinder.ipv4_lookup,
}
"""What `evaluate` runs, by name."""
