"""`scan`: rows in order through a state machine, as a recursive query over numbered rows."""

from __future__ import annotations

from sqlglot import exp

from headrace.kql.plan import nodes as p
from headrace.kql.plan.expressions import Column, Expr, columns_of
from headrace.kql.sql.base import Generator
from headrace.kql.sql.functions import build as b
from headrace.kql.sql.layers import Layer, column_sql, subquery
from headrace.kql.types import KustoType

_T = KustoType


def _named(expression: exp.Expression, name: str) -> exp.Alias:
    return exp.Alias(this=expression, alias=exp.Identifier(this=name, quoted=False))


def _table(name: str) -> exp.Table:
    return exp.Table(this=exp.Identifier(this=name, quoted=False))


class MatchGenerator(Generator):
    """Adds the node of `scan`."""

    def match_rows(self, plan: p.MatchRows) -> Layer:
        """Every row that a step takes, with the declared columns, in order."""
        rows, states = self.fresh("rows"), self.fresh("states")
        number = self.fresh("n")
        kept = list(plan.input.columns)
        self.shared[rows] = self._numbered(plan, number)
        tracked = [(step, column) for step, columns in enumerate(plan.states) for column in columns]
        del tracked
        names = _StateNames(plan, self.fresh("s"))
        recursive = exp.Union(
            this=self._start(plan, names, number),
            expression=self._step(plan, names, rows, states, number),
            distinct=False,
        )
        self.shared[states] = recursive
        self.recursive = True
        return self._outputs(plan, names, rows, states, number, kept)

    def _numbered(self, plan: p.MatchRows, number: str) -> exp.Select:
        """The input's rows with their place."""
        layer = self.ready(plan.input, *(key.value for key in plan.order))
        layer = self.wrap(layer, plan.input.columns)
        order = self.order_sql(plan.order, layer)
        window = exp.Window(
            this=exp.Anonymous(this="row_number"), order=exp.Order(expressions=order) if order else None
        )
        return layer.extended(plan.input.columns, [(number, window)])

    def _start(self, plan: p.MatchRows, names: _StateNames, number: str) -> exp.Select:
        """Before the first row: no step has matched."""
        items: list[exp.Expression] = [_named(b.cast(b.number(0), "BIGINT"), number)]
        items.append(_named(b.cast(b.number(-1), "BIGINT"), names.last_match))
        for step in range(len(plan.steps)):
            items.append(_named(b.false(), names.active(step)))
            items.append(_named(b.cast(b.number(-1), "BIGINT"), names.match(step)))
            items.append(_named(b.false(), names.taken(step)))
            for column in names.carried(step):
                items.append(_named(self._missing(plan, names, column), names.value(step, column)))
        return exp.Select(expressions=items)

    def _missing(self, plan: p.MatchRows, names: _StateNames, state: Column) -> exp.Expression:
        """The value of a step's column before the step has matched: the declared default, else missing."""
        source = names.source[state]
        for column, default in plan.declared:
            if column is source:
                return self.render_alone(default)
        return b.text("") if state.type is _T.STRING else b.null(b.SQL_TYPES[state.type])

    def _step(self, plan: p.MatchRows, names: _StateNames, rows: str, states: str, number: str) -> exp.Select:
        """One row more: the steps from the last to the first, each seeing what those before it changed."""
        on = exp.EQ(
            this=exp.column(number, table=rows), expression=b.add(exp.column(number, table=states), 1)
        )
        items: list[exp.Expression] = [exp.column(number, table=rows)]
        items.extend(column_sql(column.sql_name) for column in plan.input.columns)
        items.extend(column_sql(name) for name in names.all())
        query = exp.Select(expressions=items).from_(_table(states))
        query.set("joins", [exp.Join(this=_table(rows), kind="INNER", on=on)])
        for step in reversed(range(len(plan.steps))):
            query = self._consider(plan, names, step, query)
        final = exp.Select(expressions=[column_sql(number), *(column_sql(name) for name in names.all())])
        return final.from_(subquery(query, self.fresh("t")))

    def _consider(self, plan: p.MatchRows, names: _StateNames, step: int, below: exp.Select) -> exp.Select:
        """Whether the row moves the step before on to this one, or stays in it, or starts a match."""
        moved, stayed = self.fresh("p"), self.fresh("q")
        tests: list[exp.Expression] = [exp.Star()]
        condition = plan.steps[step].condition
        here = self._over(plan, names, step, step, condition)
        if step:
            before = self._over(plan, names, step, step - 1, condition)
            tests.append(_named(b.both(column_sql(names.active(step - 1)), b.coalesce(before, False)), moved))
            tests.append(_named(b.both(column_sql(names.active(step)), b.coalesce(here, False)), stayed))
        else:
            tests.append(_named(b.false(), moved))
            tests.append(_named(b.coalesce(here, False), stayed))
        query = exp.Select(expressions=tests).from_(subquery(below, self.fresh("t")))
        return self._apply(plan, names, step, query, moved, stayed)

    def _apply(
        self, plan: p.MatchRows, names: _StateNames, step: int, below: exp.Select, moved: str, stayed: str
    ) -> exp.Select:
        """The states after the row."""
        takes = b.either(column_sql(moved), column_sql(stayed))
        changed: dict[str, exp.Expression] = {
            names.taken(step): takes,
            names.active(step): b.either(column_sql(names.active(step)), takes.copy()),
        }
        if step:
            changed[names.active(step - 1)] = b.both(
                column_sql(names.active(step - 1)), b.negation(column_sql(moved))
            )
            changed[names.match(step)] = b.when(
                column_sql(moved), column_sql(names.match(step - 1)), column_sql(names.match(step))
            )
        else:
            begins = b.both(column_sql(stayed), b.negation(column_sql(names.active(0))))
            following = b.add(column_sql(names.last_match), 1)
            changed[names.last_match] = b.when(begins, following, column_sql(names.last_match))
            changed[names.match(0)] = b.when(begins.copy(), following.copy(), column_sql(names.match(0)))
        assigned = {plan.declared[place][0]: value for place, value in plan.steps[step].assignments}
        for column in names.carried(step):
            owner, source = names.owner[column], names.source[column]
            old = column_sql(names.value(step, column))
            if owner != step:
                inherited = column_sql(names.value(step - 1, column))
                changed[names.value(step, column)] = b.when(column_sql(moved), inherited, old)
                continue
            new = self._new_value(plan, names, step, source, assigned)
            both = [(column_sql(stayed), new[0])]
            if step:
                both.insert(0, (column_sql(moved), new[1]))
            changed[names.value(step, column)] = b.choose(both, old)
        if step:
            # What moved on leaves the step before as if it had never matched.
            for column in names.carried(step - 1):
                name = names.value(step - 1, column)
                missing = self._missing(plan, names, column)
                changed[name] = b.when(column_sql(moved), missing, column_sql(name))
        items: list[exp.Expression] = [exp.Star(except_=[column_sql(name) for name in changed])]
        items.extend(_named(value, name) for name, value in changed.items())
        return exp.Select(expressions=items).from_(subquery(below, self.fresh("t")))

    def _new_value(
        self, plan: p.MatchRows, names: _StateNames, step: int, source: Column, assigned: dict[Column, Expr]
    ) -> tuple[exp.Expression, exp.Expression]:
        """A column of the row that the step takes, read over the step's own state and over the one before."""
        if source in assigned:
            value = assigned[source]
            own = self._over(plan, names, step, step, value)
            return own, (self._over(plan, names, step, step - 1, value) if step else own.copy())
        for column, default in plan.declared:
            if column is source:
                return self.render_alone(default), self.render_alone(default)
        return column_sql(source.sql_name), column_sql(source.sql_name)

    def _over(
        self, plan: p.MatchRows, names: _StateNames, step: int, state: int, expression: Expr
    ) -> exp.Expression:
        """An expression over the row and one step's state; the state of later steps reads as never matched."""
        del step
        values: dict[Column, exp.Expression] = {c: column_sql(c.sql_name) for c in plan.input.columns}
        for column in names.columns:
            carried = names.owner[column] <= state
            values[column] = (
                column_sql(names.value(state, column)) if carried else self._missing(plan, names, column)
            )
        for column, default in plan.declared:
            values[column] = self.render_alone(default)
        before = self._layer, self._hoists
        self._layer, self._hoists = Layer(None, values), None
        try:
            return self.render(expression)
        finally:
            self._layer, self._hoists = before

    def _outputs(
        self,
        plan: p.MatchRows,
        names: _StateNames,
        rows: str,
        states: str,
        number: str,
        kept: list[Column],
    ) -> Layer:
        """The rows that steps put out, in the order of rows and steps."""
        selects: list[exp.Query] = []
        position = self.fresh("n")
        for step, bound in enumerate(plan.steps):
            if bound.output == "none":
                continue
            items: list[exp.Expression] = [column_sql(column.sql_name) for column in kept]
            for place, (column, default) in enumerate(plan.declared):
                state = plan.states[step][place] if place < len(plan.states[step]) else None
                value = (
                    column_sql(names.value(step, state))
                    if state in names.columns
                    else self.render_alone(default)
                )
                items.append(_named(value, column.sql_name))
            if plan.match_id is not None:
                items.append(_named(column_sql(names.match(step)), plan.match_id.sql_name))
            items.append(_named(exp.column(number, table=rows), position))
            select = exp.Select(expressions=items).from_(_table(states))
            on = exp.EQ(this=exp.column(number, table=rows), expression=exp.column(number, table=states))
            select.set("joins", [exp.Join(this=_table(rows), kind="INNER", on=on)])
            select.set("where", exp.Where(this=column_sql(names.taken(step))))
            selects.append(select)
        query = selects[0]
        for other in selects[1:]:
            query = exp.Union(this=query, expression=other, distinct=False)
        layer = self.from_select(query, [c for c in plan.columns if c is not plan.place])
        if plan.place in plan.columns:
            layer.add(plan.place, column_sql(position))
            layer = self.wrap(layer, plan.columns)
        return layer


class _StateNames:
    """The SQL names of a machine's state: what each step remembers of itself and of the steps before it."""

    def __init__(self, plan: p.MatchRows, prefix: str) -> None:
        self.prefix = prefix
        self.steps = len(plan.steps)
        read: set[Column] = set()
        for step in plan.steps:
            read |= columns_of(step.condition)
            for _, value in step.assignments:
                read |= columns_of(value)
        self.owner: dict[Column, int] = {}
        self.source: dict[Column, Column] = {}
        self.columns: list[Column] = []
        declared = [column for column, _ in plan.declared]
        sources = [*declared, *(column for column in plan.row_columns)]
        for owner, columns in enumerate(plan.states):
            for column, source in zip(columns, sources, strict=True):
                if column in read or source in declared:
                    self.owner[column], self.source[column] = owner, source
                    self.columns.append(column)

    @property
    def last_match(self) -> str:
        return f"{self.prefix}_last"

    def active(self, step: int) -> str:
        return f"{self.prefix}_on{step}"

    def match(self, step: int) -> str:
        return f"{self.prefix}_id{step}"

    def taken(self, step: int) -> str:
        return f"{self.prefix}_out{step}"

    def value(self, step: int, column: Column) -> str:
        return f"{self.prefix}_v{step}_{column.id}"

    def carried(self, step: int) -> list[Column]:
        return [column for column in self.columns if self.owner[column] <= step]

    def all(self) -> list[str]:
        names = [self.last_match]
        for step in range(self.steps):
            names.extend((self.active(step), self.match(step), self.taken(step)))
            names.extend(self.value(step, column) for column in self.carried(step))
        return names
