"""`scan`: rows in order through a state machine, as a recursive query over numbered rows."""

from __future__ import annotations

from sqlglot import exp

from headrace.kql.plan import nodes as p
from headrace.kql.plan.expressions import Column, Expr, columns_of
from headrace.kql.sql.base import Generator
from headrace.kql.sql.functions import build as b
from headrace.kql.sql.layers import Layer, column_sql, named, subquery
from headrace.kql.types import KustoType

_T = KustoType


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
        items: list[exp.Expression] = [named(b.cast(b.number(0), "BIGINT"), number)]
        items.append(named(b.cast(b.number(-1), "BIGINT"), names.last_match))
        for step in range(len(plan.steps)):
            items.append(named(b.false(), names.active(step)))
            items.append(named(b.cast(b.number(-1), "BIGINT"), names.match(step)))
            items.append(named(b.false(), names.taken(step)))
            if plan.steps[step].output == "last":
                items.append(named(b.false(), names.repeated(step)))
            for column in names.carried(step):
                items.append(named(self._missing(plan, names, column), names.value(step, column)))
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
        """Whether the row moves a step before on to this one, or stays in it, or starts a match."""
        origins = {origin: self.fresh("p") for origin in _origins(plan, step)}
        stayed = self.fresh("q")
        tests: list[exp.Expression] = [exp.Star()]
        condition = plan.steps[step].condition
        for origin, moved in origins.items():
            fits = self._over(plan, names, origin, condition)
            tests.append(named(b.both(column_sql(names.active(origin)), b.coalesce(fits, False)), moved))
        here = b.coalesce(self._over(plan, names, step, condition), False)
        if step:
            here = b.both(column_sql(names.active(step)), here)
        tests.append(named(here, stayed))
        query = exp.Select(expressions=tests).from_(subquery(below, self.fresh("t")))
        return self._apply(plan, names, step, query, origins, stayed)

    def _apply(
        self,
        plan: p.MatchRows,
        names: _StateNames,
        step: int,
        below: exp.Select,
        origins: dict[int, str],
        stayed: str,
    ) -> exp.Select:
        """The states after the row. Of several steps that could move on, the nearest does."""
        moves = [(origin, column_sql(moved)) for origin, moved in origins.items()]
        moved_on = b.either(*(moved for _, moved in moves)) if moves else b.false()
        takes = b.either(moved_on, column_sql(stayed))
        active = column_sql(names.active(step))
        changed: dict[str, exp.Expression] = {
            names.taken(step): takes,
            names.active(step): b.either(active, takes.copy()),
        }
        if plan.steps[step].output == "last":
            repeats = b.both(column_sql(stayed), active.copy(), b.negation(moved_on.copy()))
            changed[names.repeated(step)] = repeats
        if step:
            matches = [(moved.copy(), column_sql(names.match(origin))) for origin, moved in moves]
            changed[names.match(step)] = b.choose(matches, column_sql(names.match(step)))
        else:
            begins = b.both(column_sql(stayed), b.negation(active.copy()))
            following = b.add(column_sql(names.last_match), 1)
            changed[names.last_match] = b.when(begins, following, column_sql(names.last_match))
            changed[names.match(0)] = b.when(begins.copy(), following.copy(), column_sql(names.match(0)))
        assigned = {plan.declared[place][0]: value for place, value in plan.steps[step].assignments}
        for column in names.carried(step):
            name = names.value(step, column)
            if names.owner[column] == step:
                values = [
                    (moved.copy(), self._new_value(plan, names, step, origin, column, assigned))
                    for origin, moved in moves
                ]
                values.append(
                    (column_sql(stayed), self._new_value(plan, names, step, step, column, assigned))
                )
            else:
                values = [
                    (moved.copy(), self._state_value(plan, names, origin, column)) for origin, moved in moves
                ]
            changed[name] = b.choose(values, column_sql(name))
        self._clear(plan, names, moves, changed)
        items: list[exp.Expression] = [exp.Star(except_=[column_sql(name) for name in changed])]
        items.extend(named(value, name) for name, value in changed.items())
        return exp.Select(expressions=items).from_(subquery(below, self.fresh("t")))

    def _clear(
        self,
        plan: p.MatchRows,
        names: _StateNames,
        moves: list[tuple[int, exp.Column]],
        changed: dict[str, exp.Expression],
    ) -> None:
        """What moved on leaves its step as if it had never matched."""
        nearer: list[exp.Expression] = []
        for origin, moved in moves:
            left: exp.Expression = moved.copy()
            if nearer:
                left = b.both(left, b.negation(b.either(*(other.copy() for other in nearer))))
            nearer.append(moved)
            changed[names.active(origin)] = b.both(column_sql(names.active(origin)), b.negation(left))
            for column in names.carried(origin):
                name = names.value(origin, column)
                changed[name] = b.when(left.copy(), self._missing(plan, names, column), column_sql(name))

    def _state_value(
        self, plan: p.MatchRows, names: _StateNames, state: int, column: Column
    ) -> exp.Expression:
        """A step's column in the state of another; that of a later or passed-over step has never matched."""
        if names.owner[column] <= state:
            return column_sql(names.value(state, column))
        return self._missing(plan, names, column)

    def _new_value(
        self,
        plan: p.MatchRows,
        names: _StateNames,
        step: int,
        state: int,
        column: Column,
        assigned: dict[Column, Expr],
    ) -> exp.Expression:
        """A column of the row that the step takes, read over one step's state."""
        source = names.source[column]
        if source in assigned:
            return self._over(plan, names, state, assigned[source])
        for declared, default in plan.declared:
            if declared is source:
                return self.render_alone(default)
        return column_sql(source.sql_name)

    def _over(self, plan: p.MatchRows, names: _StateNames, state: int, expression: Expr) -> exp.Expression:
        """An expression over the row and one step's state."""
        values: dict[Column, exp.Expression] = {c: column_sql(c.sql_name) for c in plan.input.columns}
        for column in names.columns:
            values[column] = self._state_value(plan, names, state, column)
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
                items.append(named(value, column.sql_name))
            if plan.match_id is not None:
                items.append(named(column_sql(names.match(step)), plan.match_id.sql_name))
            items.append(named(exp.column(number, table=rows), position))
            source = self._last_of_series(names, step, states, number) if bound.output == "last" else None
            select = exp.Select(expressions=items).from_(source or _table(states))
            on = exp.EQ(this=exp.column(number, table=rows), expression=exp.column(number, table=states))
            select.set("joins", [exp.Join(this=_table(rows), kind="INNER", on=on)])
            if source is None:
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

    def _last_of_series(self, names: _StateNames, step: int, states: str, number: str) -> exp.Subquery:
        """The states after rows that the step took without taking another in the same series."""
        follows = self.fresh("q")
        window = exp.Window(
            this=exp.Anonymous(this="lead", expressions=[column_sql(names.repeated(step))]),
            order=exp.Order(expressions=[exp.Ordered(this=column_sql(number))]),
        )
        taken = exp.Select(expressions=[exp.Star(), named(window, follows)]).from_(_table(states))
        taken = taken.where(column_sql(names.taken(step)))
        last = exp.Select(expressions=[exp.Star()]).from_(subquery(taken, self.fresh("t")))
        return subquery(last.where(b.negation(b.coalesce(column_sql(follows), False))), states)


def _origins(plan: p.MatchRows, step: int) -> list[int]:
    """The steps that a row may move on to this one, the nearest first: optional ones are passed over."""
    found: list[int] = []
    for origin in reversed(range(step)):
        found.append(origin)
        if not plan.steps[origin].optional:
            break
    return found


class _StateNames:
    """The SQL names of a machine's state: what each step remembers of itself and of the steps before it."""

    def __init__(self, plan: p.MatchRows, prefix: str) -> None:
        self.prefix = prefix
        self.steps = len(plan.steps)
        self.series = {place for place, step in enumerate(plan.steps) if step.output == "last"}
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

    def repeated(self, step: int) -> str:
        return f"{self.prefix}_more{step}"

    def value(self, step: int, column: Column) -> str:
        return f"{self.prefix}_v{step}_{column.id}"

    def carried(self, step: int) -> list[Column]:
        return [column for column in self.columns if self.owner[column] <= step]

    def all(self) -> list[str]:
        names = [self.last_match]
        for step in range(self.steps):
            names.extend((self.active(step), self.match(step), self.taken(step)))
            if step in self.series:
                names.append(self.repeated(step))
            names.extend(self.value(step, column) for column in self.carried(step))
        return names
