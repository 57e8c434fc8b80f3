"""A select under construction: what it reads from, its conditions, and an expression for each column."""

from __future__ import annotations

from collections.abc import Iterable

from sqlglot import exp

from headrace.kql.plan.expressions import Column

CHEAP = (exp.Column, exp.Literal, exp.Boolean, exp.Null)


def column_sql(name: str) -> exp.Column:
    """A reference to a column by its generated name."""
    return exp.Column(this=exp.Identifier(this=name, quoted=False))


def named(expression: exp.Expression, name: str) -> exp.Alias:
    """An expression of a select under a generated name."""
    return exp.Alias(this=expression, alias=exp.Identifier(this=name, quoted=False))


def is_cheap(expression: exp.Expression) -> bool:
    """Whether evaluating an expression twice costs nothing worth a select of its own."""
    if isinstance(expression, CHEAP):
        return True
    if isinstance(expression, exp.Cast):
        return isinstance(expression.this, (exp.Literal, exp.Null))
    return False


class Layer:
    """One select. `values` gives each column's expression over what the select reads from."""

    __slots__ = ("cheap", "closed", "depth", "joins", "limit", "order", "plain", "source", "values", "where")

    def __init__(
        self, source: exp.Expression | None, values: dict[Column, exp.Expression], depth: int = 0
    ) -> None:
        self.source = source
        self.values = values
        self.cheap = set(values)
        self.where: list[exp.Expression] = []
        self.joins: list[exp.Join] = []
        self.order: list[exp.Expression] = []
        self.limit: exp.Expression | None = None
        self.depth = depth
        # Nothing may be added: windows, limits and unnests must come before what follows them.
        self.closed = False
        # Every column is read under its own name, and nothing was computed.
        self.plain = False

    def read(self, column: Column) -> exp.Expression:
        """A fresh expression of a column's value."""
        value = self.values[column]
        if isinstance(value, exp.Column):
            return column_sql(value.name)
        return value.copy()

    def add(self, column: Column, value: exp.Expression, *, cheap: bool | None = None) -> None:
        """A computed column."""
        self.plain = False
        self.values[column] = value
        if is_cheap(value) if cheap is None else cheap:
            self.cheap.add(column)

    def expensive(self, columns: Iterable[Column]) -> bool:
        """Whether reading any of these columns would evaluate something costly again."""
        return any(column not in self.cheap for column in columns)

    def extended(self, columns: Iterable[Column], made: Iterable[tuple[str, exp.Expression]]) -> exp.Select:
        """The select of these columns and more named values; `*` where that is the same and shorter."""
        plain = self.plain or all(
            isinstance(value, exp.Column) and value.name == c.sql_name for c, value in self.values.items()
        )
        select = self.select(() if plain else columns)
        items = [exp.Star()] if plain and self.source is not None else list(select.expressions)
        for name, value in made:
            items.append(named(value, name))
        select.set("expressions", items)
        return select

    def select(self, columns: Iterable[Column]) -> exp.Select:
        """The select of these columns under their own names."""
        items: list[exp.Expression] = []
        for column in columns:
            value = self.values[column]
            name = column.sql_name
            if isinstance(value, exp.Column) and value.name == name:
                items.append(column_sql(name))
            else:
                copy = column_sql(value.name) if isinstance(value, exp.Column) else value.copy()
                items.append(named(copy, name))
        if not items:
            items.append(named(exp.Literal.number(1), "one"))
        select = exp.Select(expressions=items)
        if self.source is not None:
            select.set("from_", exp.From(this=self.source))
        if self.joins:
            select.set("joins", self.joins)
        if self.where:
            select.set("where", exp.Where(this=conjunction(self.where)))
        if self.order:
            select.set("order", exp.Order(expressions=self.order))
        if self.limit is not None:
            select.set("limit", exp.Limit(expression=self.limit))
        return select


def conjunction(conditions: list[exp.Expression]) -> exp.Expression:
    """All conditions joined by AND, as a balanced tree."""
    items: list[exp.Expression] = [
        condition
        if isinstance(condition, exp.Paren | exp.Column | exp.Anonymous)
        else exp.Paren(this=condition)
        for condition in conditions
    ]
    if len(items) == 1:
        return conditions[0]
    while len(items) > 1:
        items = [
            exp.And(this=items[i], expression=items[i + 1]) if i + 1 < len(items) else items[i]
            for i in range(0, len(items), 2)
        ]
    return items[0]


def subquery(query: exp.Query, alias: str) -> exp.Subquery:
    """A query as something to read from."""
    return exp.Subquery(this=query, alias=exp.TableAlias(this=exp.Identifier(this=alias, quoted=False)))
