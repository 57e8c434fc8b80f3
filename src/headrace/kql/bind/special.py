"""Calls that need more than their arguments' values: the clock, sub-queries, columns by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from headrace.kql.bind.base import AUTO_BIN, POISON, text_literal
from headrace.kql.bind.functions.registry import Constant, conversion_cure
from headrace.kql.bind.operators import glob
from headrace.kql.bind.searching import SearchBinder
from headrace.kql.plan.expressions import Expr, Literal, Poison, ScalarQuery, ref
from headrace.kql.plan.nodes import Limit
from headrace.kql.syntax import nodes as n
from headrace.kql.types import KustoType

_T = KustoType


class SpecialBinder(SearchBinder):
    """Binds the calls that the registry only declares."""

    def bind_special(self, node: n.Call) -> Expr | None:
        """The value of a special call; None for an ordinary one."""
        method = _SPECIAL.get(node.name)
        return method(self, node) if method is not None else None

    def moment(self) -> Expr:
        """The statement's moment: a constant in a query, the payload's received time in a transform."""
        if self.received is not None:
            return ref(self.received)
        return Literal(_T.DATETIME, self.now)

    def _spelled(self, node: n.Call, most: int, least: int = 0) -> bool:
        function = self.functions.find(node.name)
        if function is not None and not self.allowed(node, function, node.name):
            return False
        if not least <= len(node.arguments) <= most:
            count = f"{least} to {most}" if least != most else str(most)
            self.report("KQL0109", f"`{node.name}` takes {count} arguments, not {len(node.arguments)}.", node)
            return False
        return True

    def _now(self, node: n.Call) -> Expr:
        if not self._spelled(node, 1):
            return POISON
        if not node.arguments:
            return self.moment()
        return self.apply(node, "__add", (self.moment(), self._offset(node)), "`now`")

    def _ago(self, node: n.Call) -> Expr:
        if not self._spelled(node, 1, 1):
            return POISON
        return self.apply(node, "__subtract", (self.moment(), self._offset(node)), "`ago`")

    def _offset(self, node: n.Call) -> Expr:
        """The timespan that a call moves the present by."""
        offset = self.bind(node.arguments[0].value)
        if isinstance(offset, Poison) or offset.type is _T.TIMESPAN or offset.argument.untyped:
            return offset
        hint = conversion_cure([_T.TIMESPAN]) if offset.type in (_T.STRING, _T.DYNAMIC) else None
        message = f"`{node.name}` takes a timespan, not {offset.type}."
        self.report("KQL0109", message, node.arguments[0], hint)
        return POISON

    def _ingestion_time(self, node: n.Call) -> Expr:
        if not self._spelled(node, 0):
            return POISON
        if self.received is not None:
            return ref(self.received)
        column = self.rows.find("_TimeReceived") if self.rows is not None else None
        return ref(column) if column is not None else Literal(_T.DATETIME, None)

    def _toscalar(self, node: n.Call) -> Expr:
        if len(node.arguments) != 1:
            self.report("KQL0109", f"`toscalar` takes 1 argument, not {len(node.arguments)}.", node)
            return POISON
        value = node.arguments[0].value
        if not self.tabular_value(value):
            return self.bind(value)
        if not self.profile.sub_queries:
            self.report("KQL0202", "`toscalar` sees more than one row; a transform works row by row.", node)
            return POISON
        with self.sub_query():
            rows = self.relation(value)
        if not rows.visible:
            if not rows.open and not rows.broken:
                self.report("KQL0130", "The sub-query of `toscalar` has no column.", node)
            return POISON
        column = rows.visible[0]
        plan = Limit(rows.plan.columns, rows.plan, Literal(_T.LONG, 1), rows.order)
        return ScalarQuery(column.type, plan, column)

    def _column_ifexists(self, node: n.Call) -> Expr:
        if len(node.arguments) != 2:
            self.report("KQL0109", f"`{node.name}` takes 2 arguments, not {len(node.arguments)}.", node)
            return POISON
        function = self.functions.find(node.name)
        if function is not None and not self.allowed(node, function, node.name):
            return POISON
        first = node.arguments[0].value
        name: Any = first.name if isinstance(first, n.Name) else None
        if name is None or self.environment.find(str(name)) is not None:
            constant = self.bind(first).constant
            name = constant.value if constant is not None else None
        if not isinstance(name, str):
            self.report("KQL0114", f"`{node.name}` needs a constant column name.", node.arguments[0])
            return POISON
        column = self.rows.find(name) if self.rows is not None else None
        return ref(column) if column is not None else self.bind(node.arguments[1].value)

    def _pack_all(self, node: n.Call) -> Expr:
        if not self._spelled(node, 1):
            return POISON
        without = self.bind(node.arguments[0].value).constant if node.arguments else Constant(False)
        if without is None:
            self.report("KQL0109", "`pack_all` takes a constant bool.", node.arguments[0])
            return POISON
        arguments: list[Expr] = []
        for column in self.rows.visible if self.rows is not None else ():
            arguments.extend((text_literal(column.name), ref(column)))
        if not arguments:
            return Literal(_T.DYNAMIC, "{}")
        return self.apply(node, "__pack_known" if without.value else "bag_pack", arguments, "`pack_all`")

    def _bag_pack_columns(self, node: n.Call) -> Expr:
        if not self._spelled(node, 1_000, 1):
            return POISON
        arguments: list[Expr] = []
        for argument in node.arguments:
            name = self.own_name(argument.value)
            if name is None:
                self.report("KQL0109", "`bag_pack_columns` takes columns.", argument)
                return POISON
            arguments.extend((text_literal(name), self.bind(argument.value)))
        return self.apply(node, "bag_pack", arguments, "`bag_pack_columns`")

    def _pack_array(self, node: n.Call) -> Expr | None:
        if not any(isinstance(argument.value, n.Wildcard) for argument in node.arguments):
            return None
        arguments: list[Expr] = []
        for argument in node.arguments:
            if isinstance(argument.value, n.Wildcard):
                rows = self.rows.visible if self.rows is not None else ()
                arguments.extend(ref(column) for column in rows if glob(argument.value.pattern, column.name))
            else:
                arguments.append(self.bind(argument.value))
        return self.apply(node, "pack_array", arguments, "`pack_array`")

    def _bin_auto(self, node: n.Call) -> Expr:
        if not self._spelled(node, 1, 1):
            return POISON
        size, at = (self.auto_bin.get(option) for option in AUTO_BIN)
        if size is None:
            hint = f"Write `set {AUTO_BIN[0]} = 1h;` before the query."
            self.report("KQL0114", "`bin_auto` needs the size of its bins.", node, hint)
            return POISON
        value = self.bind(node.arguments[0].value)
        if at is None:
            return self.apply(node, "bin", (value, size), "`bin_auto`")
        return self.apply(node, "bin_at", (value, size, at), "`bin_auto`")

    def _estimate_data_size(self, node: n.Call) -> Expr | None:
        if not any(isinstance(argument.value, n.Wildcard) for argument in node.arguments):
            return None
        columns = [ref(column) for column in self.rows.visible] if self.rows is not None else []
        if not columns:
            return POISON
        return self.apply(node, "estimate_data_size", columns, "`estimate_data_size`")

    def _column_names_of(self, node: n.Call) -> Expr:
        if len(node.arguments) != 1:
            self.report("KQL0109", f"`column_names_of` takes 1 argument, not {len(node.arguments)}.", node)
            return POISON
        with self.row_scope(None):
            rows = self.relation(node.arguments[0].value)
        names = [column.name for column in rows.visible]
        return Literal(_T.DYNAMIC, json.dumps(names, ensure_ascii=False, separators=(",", ":")))


_SPECIAL: dict[str, Callable[[Any, n.Call], Expr | None]] = {
    "now": SpecialBinder._now,
    "ago": SpecialBinder._ago,
    "ingestion_time": SpecialBinder._ingestion_time,
    "toscalar": SpecialBinder._toscalar,
    "column_ifexists": SpecialBinder._column_ifexists,
    "columnifexists": SpecialBinder._column_ifexists,
    "pack_all": SpecialBinder._pack_all,
    "bag_pack_columns": SpecialBinder._bag_pack_columns,
    "pack_array": SpecialBinder._pack_array,
    "bin_auto": SpecialBinder._bin_auto,
    "estimate_data_size": SpecialBinder._estimate_data_size,
    "column_names_of": SpecialBinder._column_names_of,
}
