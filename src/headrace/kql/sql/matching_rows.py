"""`scan`: rows in order through a state machine, as a recursive query over numbered rows."""

from __future__ import annotations

from collections.abc import Sequence

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
        machine = _Machine(plan, *(self.fresh(prefix) for prefix in ("rows", "states", "n", "s")))
        self.shared[machine.rows] = self._numbered(plan, machine.number)
        self.shared[machine.states] = exp.Union(
            this=self._start(machine), expression=self._step(machine), distinct=False
        )
        self.recursive = True
        return self._outputs(machine)

    def _numbered(self, plan: p.MatchRows, number: str) -> exp.Select:
        """The input's rows with their place."""
        layer = self.ready(plan.input, *(key.value for key in plan.order))
        layer = self.wrap(layer, plan.input.columns)
        order = self.order_sql(plan.order, layer)
        window = exp.Window(
            this=exp.Anonymous(this="row_number"), order=exp.Order(expressions=order) if order else None
        )
        return layer.extended(plan.input.columns, [(number, window)])

    def _start(self, machine: _Machine) -> exp.Select:
        """Before the first row: no step has matched."""
        items: list[exp.Expression] = [named(b.cast(b.number(0), "BIGINT"), machine.number)]
        items.append(named(b.cast(b.number(-1), "BIGINT"), machine.last_match))
        for step in range(len(machine.plan.steps)):
            items.append(named(b.false(), machine.active(step)))
            items.append(named(b.cast(b.number(-1), "BIGINT"), machine.match(step)))
            items.append(named(b.false(), machine.taken(step)))
            if machine.plan.steps[step].output == "last":
                items.append(named(b.false(), machine.repeated(step)))
            for column in machine.carried(step):
                items.append(named(self._missing(machine, column), machine.value(step, column)))
        return exp.Select(expressions=items)

    def _missing(self, machine: _Machine, state: Column) -> exp.Expression:
        """The value of a step's column before the step has matched: the declared default, else missing."""
        source = machine.source[state]
        for column, default in machine.plan.declared:
            if column is source:
                return self.render_alone(default)
        return b.text("") if state.type is _T.STRING else b.null(b.SQL_TYPES[state.type])

    def _step(self, machine: _Machine) -> exp.Select:
        """One row more: the steps from the last to the first, each seeing what those before it changed."""
        on = exp.EQ(
            this=exp.column(machine.number, table=machine.rows),
            expression=b.add(exp.column(machine.number, table=machine.states), 1),
        )
        items: list[exp.Expression] = [exp.column(machine.number, table=machine.rows)]
        items.extend(column_sql(column.sql_name) for column in machine.plan.input.columns)
        items.extend(column_sql(name) for name in machine.all())
        query = exp.Select(expressions=items).from_(_table(machine.states))
        query.set("joins", [exp.Join(this=_table(machine.rows), kind="INNER", on=on)])
        for step in reversed(range(len(machine.plan.steps))):
            query = self._consider(machine, step, query)
        final = exp.Select(
            expressions=[column_sql(machine.number), *(column_sql(name) for name in machine.all())]
        )
        return final.from_(subquery(query, self.fresh("t")))

    def _consider(self, machine: _Machine, step: int, below: exp.Select) -> exp.Select:
        """Whether the row moves a step before on to this one, or stays in it, or starts a match."""
        origins = {origin: self.fresh("p") for origin in machine.origins(step)}
        stayed = self.fresh("q")
        tests: list[exp.Expression] = [exp.Star()]
        condition = machine.plan.steps[step].condition
        for origin, moved in origins.items():
            fits = self._over(machine, origin, condition)
            tests.append(named(b.both(column_sql(machine.active(origin)), b.coalesce(fits, False)), moved))
        here = b.coalesce(self._over(machine, step, condition), False)
        if step:
            here = b.both(column_sql(machine.active(step)), here)
        tests.append(named(here, stayed))
        query = exp.Select(expressions=tests).from_(subquery(below, self.fresh("t")))
        return self._apply(machine, step, query, origins, stayed)

    def _apply(
        self, machine: _Machine, step: int, below: exp.Select, origins: dict[int, str], stayed: str
    ) -> exp.Select:
        """The states after the row. Of several steps that could move on, the nearest does."""
        moves = [(origin, column_sql(moved)) for origin, moved in origins.items()]
        moved_on = b.either(*(moved for _, moved in moves)) if moves else b.false()
        takes = b.either(moved_on, column_sql(stayed))
        active = column_sql(machine.active(step))
        changed: dict[str, exp.Expression] = {
            machine.taken(step): takes,
            machine.active(step): b.either(active, takes.copy()),
        }
        if machine.plan.steps[step].output == "last":
            repeats = b.both(column_sql(stayed), active.copy(), b.negation(moved_on.copy()))
            changed[machine.repeated(step)] = repeats
        changed |= self._matches(machine, step, moves, stayed)
        changed |= self._remembered(machine, step, moves, stayed)
        self._clear(machine, moves, changed)
        items: list[exp.Expression] = [exp.Star(except_=[column_sql(name) for name in changed])]
        items.extend(named(value, name) for name, value in changed.items())
        return exp.Select(expressions=items).from_(subquery(below, self.fresh("t")))

    def _matches(
        self, machine: _Machine, step: int, moves: Sequence[tuple[int, exp.Column]], stayed: str
    ) -> dict[str, exp.Expression]:
        """The number of the match that the step is in: the one it moved on with, or at the first step a new one."""
        number = column_sql(machine.match(step))
        if step:
            moved = [(moved.copy(), column_sql(machine.match(origin))) for origin, moved in moves]
            return {machine.match(step): b.choose(moved, number)}
        begins = b.both(column_sql(stayed), b.negation(column_sql(machine.active(step))))
        last = column_sql(machine.last_match)
        following = b.add(last, 1)
        return {
            machine.last_match: b.when(begins, following, last.copy()),
            machine.match(0): b.when(begins.copy(), following.copy(), number),
        }

    def _remembered(
        self, machine: _Machine, step: int, moves: Sequence[tuple[int, exp.Column]], stayed: str
    ) -> dict[str, exp.Expression]:
        """The columns in the step's state: its own of the row that it takes, those of the steps before as they were."""
        changed: dict[str, exp.Expression] = {}
        for column in machine.carried(step):
            if machine.owner[column] == step:
                values = [
                    (moved.copy(), self._new_value(machine, step, origin, column)) for origin, moved in moves
                ]
                values.append((column_sql(stayed), self._new_value(machine, step, step, column)))
            else:
                values = [
                    (moved.copy(), self._state_value(machine, origin, column)) for origin, moved in moves
                ]
            name = machine.value(step, column)
            changed[name] = b.choose(values, column_sql(name))
        return changed

    def _clear(
        self, machine: _Machine, moves: Sequence[tuple[int, exp.Column]], changed: dict[str, exp.Expression]
    ) -> None:
        """What moved on leaves its step as if it had never matched."""
        nearer: list[exp.Expression] = []
        for origin, moved in moves:
            left: exp.Expression = moved.copy()
            if nearer:
                left = b.both(left, b.negation(b.either(*(other.copy() for other in nearer))))
            nearer.append(moved)
            changed[machine.active(origin)] = b.both(column_sql(machine.active(origin)), b.negation(left))
            for column in machine.carried(origin):
                name = machine.value(origin, column)
                changed[name] = b.when(left.copy(), self._missing(machine, column), column_sql(name))

    def _state_value(self, machine: _Machine, state: int, column: Column) -> exp.Expression:
        """A step's column in the state of another; that of a later or passed-over step has never matched."""
        if machine.owner[column] <= state:
            return column_sql(machine.value(state, column))
        return self._missing(machine, column)

    def _new_value(self, machine: _Machine, step: int, state: int, column: Column) -> exp.Expression:
        """A column of the row that the step takes, read over one step's state."""
        source, declared = machine.source[column], machine.plan.declared
        assigned = {declared[place][0]: value for place, value in machine.plan.steps[step].assignments}
        if source in assigned:
            return self._over(machine, state, assigned[source])
        for other, default in declared:
            if other is source:
                return self.render_alone(default)
        return column_sql(source.sql_name)

    def _over(self, machine: _Machine, state: int, expression: Expr) -> exp.Expression:
        """An expression over the row and one step's state."""
        values: dict[Column, exp.Expression] = {c: column_sql(c.sql_name) for c in machine.plan.input.columns}
        for column in machine.columns:
            values[column] = self._state_value(machine, state, column)
        for column, default in machine.plan.declared:
            values[column] = self.render_alone(default)
        with self.over(Layer(None, values), hoists=None):
            return self.render(expression)

    def _outputs(self, machine: _Machine) -> Layer:
        """The rows that steps put out, in the order of rows and steps."""
        plan, position = machine.plan, self.fresh("n")
        selects = [
            self._output(machine, step, position)
            for step, bound in enumerate(plan.steps)
            if bound.output != "none"
        ]
        query: exp.Query = selects[0]
        for other in selects[1:]:
            query = exp.Union(this=query, expression=other, distinct=False)
        layer = self.from_select(query, [column for column in plan.columns if column is not plan.place])
        if plan.place in plan.columns:
            layer.add(plan.place, column_sql(position))
            layer = self.wrap(layer, plan.columns)
        return layer

    def _output(self, machine: _Machine, step: int, position: str) -> exp.Select:
        """The rows that one step puts out."""
        plan = machine.plan
        items: list[exp.Expression] = [column_sql(column.sql_name) for column in plan.input.columns]
        for place, (column, default) in enumerate(plan.declared):
            state = plan.states[step][place] if place < len(plan.states[step]) else None
            value = (
                column_sql(machine.value(step, state))
                if state in machine.columns
                else self.render_alone(default)
            )
            items.append(named(value, column.sql_name))
        if plan.match_id is not None:
            items.append(named(column_sql(machine.match(step)), plan.match_id.sql_name))
        items.append(named(exp.column(machine.number, table=machine.rows), position))
        last_alone = plan.steps[step].output == "last"
        source = self._last_of_series(machine, step) if last_alone else _table(machine.states)
        select = exp.Select(expressions=items).from_(source)
        on = exp.EQ(
            this=exp.column(machine.number, table=machine.rows),
            expression=exp.column(machine.number, table=machine.states),
        )
        select.set("joins", [exp.Join(this=_table(machine.rows), kind="INNER", on=on)])
        return select if last_alone else select.where(column_sql(machine.taken(step)))

    def _last_of_series(self, machine: _Machine, step: int) -> exp.Subquery:
        """The states after rows that the step took without taking another in the same series."""
        follows = self.fresh("q")
        window = exp.Window(
            this=exp.Anonymous(this="lead", expressions=[column_sql(machine.repeated(step))]),
            order=exp.Order(expressions=[exp.Ordered(this=column_sql(machine.number))]),
        )
        taken = exp.Select(expressions=[exp.Star(), named(window, follows)]).from_(_table(machine.states))
        taken = taken.where(column_sql(machine.taken(step)))
        last = exp.Select(expressions=[exp.Star()]).from_(subquery(taken, self.fresh("t")))
        return subquery(last.where(b.negation(b.coalesce(column_sql(follows), False))), machine.states)


class _Machine:
    """A `scan` and the SQL names of its parts: its numbered rows, and what each step remembers of itself and of the
    steps before it."""

    def __init__(self, plan: p.MatchRows, rows: str, states: str, number: str, prefix: str) -> None:
        self.plan = plan
        self.rows = rows
        self.states = states
        self.number = number
        self.prefix = prefix
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

    def origins(self, step: int) -> list[int]:
        """The steps that a row may move on to this one, the nearest first: optional ones are passed over."""
        found: list[int] = []
        for origin in reversed(range(step)):
            found.append(origin)
            if not self.plan.steps[origin].optional:
                break
        return found

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
        for step, bound in enumerate(self.plan.steps):
            names.extend((self.active(step), self.match(step), self.taken(step)))
            if bound.output == "last":
                names.append(self.repeated(step))
            names.extend(self.value(step, column) for column in self.carried(step))
        return names
