"""Rows that several places read: what `let`, `as` and `materialize` name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from headrace.kql.bind.joins import JoinBinder
from headrace.kql.bind.scope import FunctionBinding, NamedRows, QueryBinding, Relation, SharedBinding
from headrace.kql.plan.expressions import Column, Expr, Ref, columns_of, rebuild, ref
from headrace.kql.plan.nodes import Plan, Shared, SharedPlan
from headrace.kql.plan.rewrites.sharing import steady
from headrace.kql.syntax import nodes as n


class SharedRowsBinder(JoinBinder):
    """Binds what a name stands for once, and gives each reader columns of its own."""

    input_rows: Relation | None = None
    """The rows that a sub-pipeline begins with."""

    def relation(self, node: n.Expression) -> Relation:
        """A tabular expression."""
        raise NotImplementedError

    def rows_of_name(self, binding: QueryBinding) -> Relation:
        """The rows of a `let` or `as`: bound once, and then read again wherever that means the same."""

        def bind() -> Relation:
            with self.environment_scope(binding.environment), self.row_scope(None):
                before, self.input_rows = self.input_rows, binding.rows
                try:
                    return self.relation(binding.value)
                finally:
                    self.input_rows = before

        return self._bound_once(binding, bind, lambda _: binding.rows is None)

    def rows_of_function(self, binding: FunctionBinding, bind: Callable[[], Relation]) -> Relation:
        """The rows of a function without parameters: as those of a `let`, but each use throws its own chance."""
        alone = self.input_rows is None
        return self._bound_once(binding, bind, lambda rows: alone and steady(rows.plan, throughout=True))

    def _bound_once(
        self,
        binding: QueryBinding | FunctionBinding,
        bind: Callable[[], Relation],
        readable: Callable[[Relation], bool],
    ) -> Relation:
        known = self.named_rows.get(binding)
        if known is not None and known.repeatable:
            self.charge(known.size)
            return self._read_again(known.rows)
        size = self._size
        rows = bind()
        if known is None and readable(rows):
            rows = self.readable_again(binding, rows, self._size - size)
        return rows

    def readable_again(self, binding: QueryBinding | FunctionBinding, rows: Relation, size: int) -> Relation:
        """The same rows, remembered as what a name means."""
        shared = self._shared(rows.plan, once=False)
        columns = (*rows.columns, *self._unseen(rows))
        rows = rows.with_plan(Shared(columns, shared, columns))
        self.named_rows[binding] = NamedRows(rows, size)
        return rows

    def _read_again(self, rows: Relation) -> Relation:
        """The rows of a shared plan under columns of their own, in the same order."""
        assert isinstance(rows.plan, Shared)
        copies = {c: c if c is self.received else self._copy_of(c) for c in rows.plan.columns}
        columns = tuple(copies[column] for column in rows.columns)
        order = tuple(
            replace(key, value=rebuild(key.value, lambda part: _copied(part, copies))) for key in rows.order
        )
        plan = replace(rows.plan, columns=tuple(copies.values()))
        return replace(rows, plan=plan, columns=columns, order=order)

    def _unseen(self, rows: Relation) -> tuple[Column, ...]:
        """What goes with rows without being theirs: the received time, and columns that they are in the order of."""
        ordered = {column for key in rows.order for column in columns_of(key.value)} - {*rows.columns}
        clock = self._clock(rows.plan)
        return (
            *clock,
            *(column for column in rows.plan.columns if column in ordered and column not in clock),
        )

    def _clock(self, plan: Plan) -> tuple[Column, ...]:
        """The received time of a transform's rows, which goes with them unseen."""
        return (self.received,) if self.received is not None and self.received in plan.columns else ()

    def _copy_of(self, column: Column) -> Column:
        copy = self.new_column(column.name, column.type, column.hidden)
        if column in self.poisoned:
            self.poisoned.add(copy)
        return copy

    def share(self, rows: Relation) -> Relation:
        """The rows computed once, however often they are read."""
        return self.bound_rows(self.share_binding(rows))

    def share_binding(self, rows: Relation, once: bool = True) -> SharedBinding:
        """A name's meaning for rows that several places read; `once`: computed once, whatever they cost."""
        return SharedBinding(self._shared(rows.plan, once), rows.columns, rows.open, rows.broken)

    def _shared(self, plan: Plan, once: bool) -> SharedPlan:
        self.shared += 1
        return SharedPlan(self.shared, plan, once)

    def bound_rows(self, binding: SharedBinding, name: str | None = None) -> Relation:
        """The shared rows under columns of their own."""
        columns = tuple(self._copy_of(column) for column in binding.columns)
        clock = self._clock(binding.shared.plan)
        plan = Shared((*columns, *clock), binding.shared, (*binding.columns, *clock))
        return Relation(plan, columns, open=binding.open, broken=binding.broken, name=name)


def _copied(part: Expr, copies: Mapping[Column, Column]) -> Expr | None:
    return ref(copies[part.column]) if isinstance(part, Ref) and part.column in copies else None
