"""The analytical operators: make-series, top-nested, scan, partition, search, find, evaluate and kin."""

from __future__ import annotations

from headrace.kql.syntax import nodes as n
from headrace.kql.syntax import tabular as t
from headrace.kql.syntax.lexer import NAME
from headrace.kql.syntax.operators import OperatorParser
from headrace.kql.types import KustoType


class AnalyticsParser(OperatorParser):
    """Adds the operators that few queries use."""

    def _make_series(self, start: int) -> n.Operator:
        nonempty = any(setting.name == "kind" and setting.value == "nonempty" for setting in self.settings())
        columns = self.many(self._series_column)
        self.expect("on", "after the aggregates of `make-series`")
        axis = self._series_axis()
        low = high = None
        if self.at_word("from"):
            self.advance()
            low = self.expression()
        if self.at_word("to"):
            self.advance()
            high = self.expression()
        aligned = self.at_word("in")
        if aligned:
            low, high, step = self._in_range()
        else:
            self.expect("step", "in `make-series`")
            step = self.expression()
        keys: tuple[n.Named, ...] = ()
        if self.at_word("by"):
            self.advance()
            keys = self.named_list()
        return t.MakeSeries(start, self.last_end, columns, axis, low, high, step, keys, nonempty, aligned)

    def _series_column(self) -> t.SeriesColumn:
        """An aggregate with the default of a bin without rows."""
        start = self.token.start
        item = self.named()
        default = None
        if self.at_word("default"):
            self.advance()
            self.expect("=", "after `default`")
            default = self.expression()
        return t.SeriesColumn(start, self.last_end, item, default)

    def _series_axis(self) -> n.Named:
        begin = self.token.start
        names: tuple[str, ...] = ()
        if self.token.kind == NAME and self.peek().text == "=":
            names = (self.advance().text,)
            self.advance()
        value = self.unary()
        return n.Named(begin, self.last_end, names, value)

    def _in_range(self) -> tuple[n.Expression, n.Expression, n.Expression]:
        self.advance()
        call = self.unary()
        if not isinstance(call, n.Call) or call.name != "range" or len(call.arguments) != 3:
            self.fail("Expected `range(start, stop, step)` after `in`.")
        low, high, step = (argument.value for argument in call.arguments)
        return low, high, step

    def _top_nested(self, start: int) -> n.Operator:
        levels = [self._nested_level()]
        while self.accept(","):
            name, width = self.hyphenated()
            if name == "top-nested":
                self.skip(width)
            levels.append(self._nested_level())
        return t.TopNested(start, self.last_end, tuple(levels))

    def _nested_level(self) -> t.NestedLevel:
        start = self.token.start
        count = None if self.at_word("of") else self.expression()
        self.expect("of", "in `top-nested`")
        value = self.named()
        others = None
        if self.at_word("with"):
            self.advance()
            self.expect("others", "after `with`")
            self.expect("=", "after `others`")
            others = self.expression()
        self.expect("by", "in `top-nested`")
        aggregate = self.named()
        descending = True
        if self.at_word("asc", "desc"):
            descending = self.advance().text == "desc"
        return t.NestedLevel(start, self.last_end, count, value, others, aggregate, descending)

    def _top_hitters(self, start: int) -> n.Operator:
        count = self.expression()
        self.expect("of", "in `top-hitters`")
        value = self.expression()
        weight = None
        if self.at_word("by"):
            self.advance()
            weight = self.expression()
        return t.TopHitters(start, self.last_end, count, value, weight)

    def _partition(self, start: int) -> n.Operator:
        settings = self.settings()
        self.expect("by", "after `partition`")
        if self.peek().text == "(" and self.token.kind == NAME:
            begin = self.token.start
            column: n.Expression = n.Name(begin, self.token.end, self.advance().text)
        else:
            column = self.unary()
        if self.at("{"):
            self.advance()
            body = self.pipeline()
            self.expect("}", "to close the sub-query")
        else:
            body = self.sub_pipeline()
        return t.Partition(start, self.last_end, column, body, settings)

    def _scan(self, start: int) -> n.Operator:
        match_id: str | None = None
        for setting in self.settings():
            if setting.name == "with_match_id":
                match_id = setting.value
        self.expect("declare", "in `scan`") if self.at_word("declare") else None
        columns: tuple[n.ColumnDeclaration, ...] = ()
        if self.accept("("):
            columns = self.column_declarations()
            self.expect(")", "to close the declarations")
        self.expect("with", "before the steps of `scan`")
        self.expect("(", "before the steps of `scan`")
        steps: list[t.ScanStep] = []
        while self.at_word("step"):
            steps.append(self._scan_step())
        self.expect(")", "to close the steps of `scan`")
        return t.ScanOperator(start, self.last_end, match_id, columns, tuple(steps))

    def _scan_step(self) -> t.ScanStep:
        start = self.advance().start
        name = self.take_name("the step's name")
        optional = bool(self.at_word("optional") and self.advance())
        output = "all"
        if self.at_word("output"):
            self.advance()
            self.expect("=", "after `output`")
            output = self.take_name("all, last or none")
        self.expect(":", "before the step's condition")
        condition = self.expression()
        assignments = self.many(self._assignment) if self.accept("=>") else ()
        self.expect(";", "after the step")
        return t.ScanStep(start, self.last_end, name, optional, output, condition, assignments)

    def _assignment(self) -> t.Assignment:
        start = self.token.start
        column = self.take_name("a column name")
        self.expect("=", f"after `{column}`")
        return t.Assignment(start=start, name=column, value=self.expression(), end=self.last_end)

    def _reduce(self, start: int) -> n.Operator:
        source = any(setting.name == "kind" and setting.value == "source" for setting in self.settings())
        self.expect("by", "after `reduce`")
        value = self.expression()
        options = self.property_list()
        return t.Reduce(start, self.last_end, value, options, source)

    def _search(self, start: int) -> n.Operator:
        kind = next((setting.value for setting in self.settings() if setting.name == "kind"), "default")
        tables: tuple[n.Expression, ...] = ()
        if self.at_word("in") and self.peek().text == "(":
            self.skip(2)
            tables = self._table_list()
        predicate = self._search_predicate()
        return t.Search(start, self.last_end, kind == "case_sensitive", tables, predicate)

    def _search_predicate(self) -> n.Expression:
        self.searching, before = True, self.searching
        try:
            return self.expression()
        finally:
            self.searching = before

    def _table_list(self) -> tuple[n.Expression, ...]:
        tables = self.many(self.union_source)
        self.expect(")", "to close the tables")
        return tables

    def _find(self, start: int) -> n.Operator:
        source_name = "source_"
        for setting in self.settings():
            if setting.name == "withsource":
                source_name = setting.value
        tables: tuple[n.Expression, ...] = ()
        if self.at_word("in"):
            self.advance()
            self.expect("(", "after `in`")
            tables = self._table_list()
        self.accept("where")
        predicate = self.expression()
        columns: tuple[tuple[n.Expression, KustoType | None], ...] | None = None
        pack = smart = False
        name, width = self.hyphenated() if self.token.kind == NAME else ("", 0)
        if name == "project-smart":
            self.skip(width)
            smart = True
        elif name == "project":
            self.advance()
            columns, pack = self._find_columns()
        return t.Find(start, self.last_end, source_name, tables, predicate, columns, pack, smart)

    def _find_columns(self) -> tuple[tuple[tuple[n.Expression, KustoType | None], ...], bool]:
        columns: list[tuple[n.Expression, KustoType | None]] = []
        pack = False
        while True:
            if self.at_word("pack", "pack_all") and self.peek().text == "(":
                self.unary()
                pack = True
            else:
                column = self.pattern()
                columns.append((column, self.type_name() if self.accept(":") else None))
            if not self.accept(","):
                return tuple(columns), pack

    def _facet(self, start: int) -> n.Operator:
        self.expect("by", "after `facet`")
        columns = self.expression_list()
        body = None
        if self.at_word("with"):
            self.advance()
            body = self.sub_pipeline()
        return t.Facet(start, self.last_end, columns, body)

    def _fork(self, start: int) -> n.Operator:
        branches: list[tuple[str | None, n.Expression]] = []
        while self.at("(") or (self.token.kind == NAME and self.peek().text == "="):
            name = None
            if not self.at("("):
                name = self.take_name("a branch name")
                self.advance()
            branches.append((name, self.sub_pipeline()))
        if not branches:
            self.fail(f"Expected `(` to begin a branch of `fork`, found {self.shown()}.")
        return t.Fork(start, self.last_end, tuple(branches))

    def _evaluate(self, start: int) -> n.Operator:
        self.settings()
        call = self.unary()
        columns = None
        every = False
        if self.accept(":"):
            self.expect("(", "before the schema")
            every = self.accept("*")
            if every:
                self.accept(",")
            columns = self.column_declarations()
            self.expect(")", "to close the schema")
        return t.Evaluate(start, self.last_end, call, columns, every)

    def _externaldata(self, start: int) -> n.Operator:
        self.expect("(", "after `externaldata`")
        columns = self.column_declarations()
        self.expect(")", "to close the columns of `externaldata`")
        self.expect("[", "before the addresses of `externaldata`")
        addresses: list[n.Expression] = []
        while not self.at("]"):
            addresses.append(self.expression())
            if not self.accept(","):
                break
        self.expect("]", "to close the addresses of `externaldata`")
        self.property_list()
        return t.ExternalData(start, self.last_end, columns, tuple(addresses))
