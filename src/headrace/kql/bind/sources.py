"""What a pipeline begins with where no table is named: `print`, `range`, `datatable`, `externaldata`."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.kql.bind.base import BindProblem
from headrace.kql.bind.parsing import ParsingBinder
from headrace.kql.bind.scope import Relation
from headrace.kql.plan.expressions import Column, Convert, Expr, Poison, ref
from headrace.kql.plan.nodes import Rows
from headrace.kql.plan.nodes import Sequence as SequencePlan
from headrace.kql.syntax import nodes as n
from headrace.kql.syntax import tabular as t
from headrace.kql.types import KustoType

_T = KustoType


class SourceBinder(ParsingBinder):
    """Binds the sources of rows that stand in the text itself."""

    def one_row(self) -> Relation:
        """One row without columns; a transform's record without its columns."""
        return Relation(Rows((), ((),)), ())

    def print_source(self, operator: t.Print) -> Relation:
        """`print`."""
        base = self.one_row()
        with self.row_scope(Relation(base.plan, ())):
            bound = [part for place, item in enumerate(operator.items) for part in self._printed(item, place)]
        items = self.name_columns(bound)
        return Relation(self.compute(base, items), tuple(column for column, _ in items), serialized=True)

    def _printed(self, item: n.Named, place: int) -> list[tuple[str, Expr, bool, n.Named]]:
        """One item of `print`: a single value without a name is named after its place, whatever it is."""
        values, names = self.unpacked(item)
        if len(values) == 1 and not item.names:
            names = [f"print_{place}"]
        return [
            (name or f"print_{place}", value, bool(item.names), item)
            for value, name in zip(values, names, strict=True)
        ]

    def range_source(self, operator: t.RangeSource) -> Relation:
        """`range`."""
        low, high, step = (self.bind(node) for node in (operator.low, operator.high, operator.step))
        if any(isinstance(value, Poison) for value in (low, high, step)):
            raise BindProblem
        types = (low.type, high.type, step.type)
        type = low.type
        if _T.REAL in types:
            type = _T.REAL
        elif type in (_T.INT, _T.DYNAMIC):
            type = _T.LONG
        step_type = _T.TIMESPAN if type in (_T.DATETIME, _T.TIMESPAN) else type
        if type not in (_T.LONG, _T.REAL, _T.DATETIME, _T.TIMESPAN):
            self.fail("KQL0119", f"`range` counts numbers or times, not {type} values.", operator)
        if step_type is _T.TIMESPAN and step.type is not _T.TIMESPAN:
            self.fail(
                "KQL0119", f"`range` over {type} needs a timespan as step, not {step.type}.", operator.step
            )
        if _T.STRING in (high.type, step.type):
            self.fail("KQL0119", "`range` counts numbers or times, not string values.", operator)
        if step.constant is not None and step.constant.value == 0:
            self.fail("KQL0119", "`range` needs a step other than 0.", operator.step)
        column = self.new_column(operator.name, type)
        bounds = (self.as_type(low, type), self.as_type(high, type), self.as_type(step, step_type))
        rows = Relation(SequencePlan((column,), *bounds), (column,), serialized=True)
        return self.typed(rows, _T.INT) if types == (_T.INT,) * 3 else rows

    def typed(self, rows: Relation, type: KustoType) -> Relation:
        """Rows of one column as another type."""
        (column,) = rows.columns
        made = self.new_column(column.name, type)
        plan = self.compute(rows, [(made, Convert(type, ref(column)))])
        return rows.with_columns(plan, (made,))

    def datatable(self, operator: t.DataTable) -> Relation:
        """`datatable`."""
        columns = self._declared_columns(operator.columns)
        width = len(columns)
        if not width:
            self.fail("KQL0120", "A `datatable` needs columns.", operator)
        if len(operator.values) % width:
            message = f"The values of this `datatable` do not fill its rows of {width} columns."
            self.fail("KQL0120", message, operator, f"{len(operator.values)} values are given.")
        self.charge(len(operator.values) // 4)
        values = [
            self.bind_as(node, columns[place % width].type) for place, node in enumerate(operator.values)
        ]
        rows = tuple(tuple(values[start : start + width]) for start in range(0, len(values), width))
        return Relation(Rows(columns, rows), columns, serialized=True)

    def external_data(self, operator: t.ExternalData) -> Relation:
        """`externaldata`: its columns are known, its rows are never fetched."""
        hint = "Send its rows to a table of the workspace, or write them in a `datatable`."
        if self.options.outside == "refuse":
            message = (
                "`externaldata` is refused: reading outside data would let a query reach other machines."
            )
            self.report("KQL0203", message, operator, hint)
        else:
            message = "`externaldata` is checked and never read: a query with it is refused when it is run."
            self.warn("KQL0311", message, operator, hint)
        columns = self._declared_columns(operator.columns)
        return Relation(Rows(columns, ()), columns)

    def _declared_columns(self, declarations: Sequence[n.ColumnDeclaration]) -> tuple[Column, ...]:
        names: set[str] = set()
        for declared in declarations:
            if declared.name in names:
                self.report("KQL0116", f"The column `{declared.name}` is made twice.", declared)
            names.add(declared.name)
        return tuple(self.new_column(declared.name, declared.type) for declared in declarations)
