"""The everyday tabular operators; the analytical ones are in `analytics.py`."""

from __future__ import annotations

from dataclasses import replace

from headrace.kql.syntax import nodes as n
from headrace.kql.syntax import tabular as t
from headrace.kql.syntax.expressions import ExpressionParser
from headrace.kql.syntax.lexer import NAME, OP, STRING, string_value
from headrace.kql.types import KustoType, parse_type


class OperatorParser(ExpressionParser):
    """Parses what stands after a `|`, and the operators that start a pipeline."""

    def sub_pipeline(self) -> n.Expression:
        """The operators in the parentheses of a sub-query; its source is the rows at hand."""
        self.expect("(", "before the sub-query")
        with self.nested():
            body = self.body_pipeline()
        self.expect(")", "to close the sub-query")
        return body

    def body_pipeline(self) -> n.Expression:
        """Operators without a source, parted by `|`."""
        raise NotImplementedError

    def named(self) -> n.Named:
        """`[name =] expression`, or `(a, b) = expression`."""
        start = self.token.start
        if self.token.kind == NAME and self.peek().text == "=" and self.peek().kind == OP:
            name = self.advance().text
            self.advance()
            return self._named_value(start, (name,))
        if self.at_bracketed_name() and self.peek(3).text == "=":
            name = self.take_name("a column name")
            self.advance()
            return self._named_value(start, (name,))
        if self.at("(") and self._at_name_list():
            self.advance()
            names = self.many(lambda: self.take_name("a column name"))
            self.expect(")", "to close the names")
            self.expect("=", "after the names")
            return self._named_value(start, names)
        return self._named_value(start, ())

    def _named_value(self, start: int, names: tuple[str, ...]) -> n.Named:
        value = self.expression()
        return n.Named(start, self.last_end, names, value)

    def _at_name_list(self) -> bool:
        ahead = 1
        while self.peek(ahead).kind in (NAME, STRING) or self.peek(ahead).text in (",", "[", "]"):
            ahead += 1
        return self.peek(ahead).text == ")" and self.peek(ahead + 1).text == "="

    def named_list(self) -> tuple[n.Named, ...]:
        """One or more named expressions parted by commas."""
        return self.many(self.named)

    def expression_list(self) -> tuple[n.Expression, ...]:
        """One or more expressions parted by commas."""
        return self.many(self.expression)

    def settings(self) -> tuple[t.Setting, ...]:
        """`kind=inner hint.strategy=shuffle withsource=T ...`."""
        found: list[t.Setting] = []
        while self.token.kind == NAME:
            start, width = self.token.start, 1
            name = self.token.text
            while self.peek(width).text == "." and self.peek(width + 1).kind == NAME:
                name += "." + self.peek(width + 1).text
                width += 2
            if self.peek(width).text != "=" or (name not in _SETTINGS and not name.startswith("hint.")):
                break
            self.skip(width + 1)
            literal: n.Expression | None = None
            if self.at("("):
                literal = self.unary()
                value = ""
            elif self.token.kind == NAME:
                value = self.hyphenated()[0]
                self.skip(self.hyphenated()[1])
            elif self.token.kind == STRING:
                value = string_value(self.advance().text)
            else:
                literal = self.unary()
                value = str(literal.value) if isinstance(literal, n.Literal) else ""
            found.append(t.Setting(start, self.last_end, name, value, literal))
            self.accept(",")
        return tuple(found)

    def pattern(self) -> n.Expression:
        """A column name or a pattern with `*`."""
        start = self.token.start
        if self.at_bracketed_name():
            name = self.take_name("a column name")
            return n.Name(start, self.last_end, name)
        text = ""
        while (self.token.kind == NAME or self.at("*")) and (not text or not self.token.space):
            text += self.advance().text
        if not text:
            self.fail(f"Expected a column name or pattern, found {self.shown()}.")
        end = self.last_end
        return n.Wildcard(start, end, text) if "*" in text else n.Name(start, end, text)

    def pattern_list(self) -> tuple[n.Expression, ...]:
        """Patterns parted by commas."""
        return self.many(self.pattern)

    def sort_keys(self) -> tuple[t.SortKey, ...]:
        """`expression [asc|desc] [nulls first|last], ...`."""
        return self.many(self._sort_key)

    def _sort_key(self) -> t.SortKey:
        start = self.token.start
        value = self.expression()
        descending = True
        if self.at_word("asc", "desc"):
            descending = self.advance().text == "desc"
        nulls_first = not descending
        if self.at_word("nulls"):
            self.advance()
            if not self.at_word("first", "last"):
                self.fail(f"Expected `first` or `last` after `nulls`, found {self.shown()}.")
            nulls_first = self.advance().text == "first"
        return t.SortKey(start, self.last_end, value, descending, nulls_first)

    # The operators; `start` is where the operator's name begins.

    def _where(self, start: int) -> n.Operator:
        self.settings()
        self.lenient_equals, before = True, self.lenient_equals
        try:
            predicate = self.expression()
        finally:
            self.lenient_equals = before
        return t.Where(start, self.last_end, predicate)

    def _extend(self, start: int) -> n.Operator:
        return t.Extend(start=start, items=self.named_list(), end=self.last_end)

    def _project(self, start: int) -> n.Operator:
        if self.at("|") or self.at(";") or self.at(")") or self.token.kind == "end":
            return t.Project(start, self.last_end, ())
        return t.Project(start=start, items=self.named_list(), end=self.last_end)

    def _project_away(self, start: int) -> n.Operator:
        return t.ProjectAway(start=start, patterns=self.pattern_list(), keep=False, end=self.last_end)

    def _project_keep(self, start: int) -> n.Operator:
        return t.ProjectAway(start=start, patterns=self.pattern_list(), keep=True, end=self.last_end)

    def _project_rename(self, start: int) -> n.Operator:
        return t.ProjectRename(start=start, items=self.named_list(), end=self.last_end)

    def _project_reorder(self, start: int) -> n.Operator:
        return t.ProjectReorder(start=start, keys=self.many(self._reorder_key), end=self.last_end)

    def _reorder_key(self) -> t.ReorderKey:
        start = self.token.start
        pattern = self.pattern()
        order = None
        if self.at_word("asc", "desc", "granny"):
            order, width = self.hyphenated()
            self.skip(width)
        return t.ReorderKey(start, self.last_end, pattern, order)

    def _project_by_names(self, start: int) -> n.Operator:
        return t.ProjectByNames(start=start, values=self.expression_list(), end=self.last_end)

    def _summarize(self, start: int) -> n.Operator:
        settings = self.settings()
        aggregates = () if self.at_word("by") else self.named_list()
        keys: tuple[n.Named, ...] = ()
        if self.at_word("by"):
            self.advance()
            keys = self.named_list()
        return t.Summarize(start, self.last_end, aggregates, keys, settings)

    def _sort(self, start: int) -> n.Operator:
        self.settings()
        self.expect("by", "after `sort`")
        return t.Sort(start=start, keys=self.sort_keys(), end=self.last_end)

    def _top(self, start: int) -> n.Operator:
        count = self.expression()
        self.expect("by", "after the row count of `top`")
        self.settings()
        return t.Top(start=start, count=count, keys=self.sort_keys(), end=self.last_end)

    def _take(self, start: int) -> n.Operator:
        return t.Take(start=start, count=self.expression(), end=self.last_end)

    def _sample(self, start: int) -> n.Operator:
        return t.Take(start=start, count=self.expression(), sample=True, end=self.last_end)

    def _sample_distinct(self, start: int) -> n.Operator:
        count = self.expression()
        self.expect("of", "after the count of `sample-distinct`")
        return t.SampleDistinct(start=start, count=count, value=self.expression(), end=self.last_end)

    def _count(self, start: int) -> n.Operator:
        name = "Count"
        if self.at_word("as"):
            self.advance()
            name = self.take_name("a column name")
        return t.Count(start, self.last_end, name)

    def _distinct(self, start: int) -> n.Operator:
        self.settings()
        return t.Distinct(start=start, items=self.named_list(), end=self.last_end)

    def _join(self, start: int, lookup: bool = False) -> n.Operator:
        settings = self.settings()
        kind = next((setting.value for setting in settings if setting.name == "kind"), None)
        right = self._join_source()
        conditions: tuple[n.Expression, ...] | None = None
        if self.at_word("on"):
            self.advance()
            conditions = self.expression_list()
        elif self.at_word("where"):
            self.fail("`join ... where` is not supported.", hint="Use `on`, then `where` after the join.")
        return t.Join(start, self.last_end, kind, right, conditions, settings, lookup)

    def _join_source(self) -> n.Expression:
        if self.starts_source():
            return self.pipeline()
        return self.unary()

    def _lookup(self, start: int) -> n.Operator:
        return self._join(start, lookup=True)

    def _union(self, start: int) -> n.Operator:
        settings = self.settings()
        sources = self.many(self.union_source)
        return t.Union(start, self.last_end, sources, settings)

    def union_source(self) -> n.Expression:
        """A table, a pattern of table names, a call or a parenthesised query."""
        if self.at("*") or (self.token.kind == NAME and self.peek().text == "*" and not self.peek().space):
            return self.pattern()
        return self.unary()

    def _expand_item(self) -> t.ExpandItem:
        named = self.named()
        type: KustoType | None = None
        if self.at_word("to"):
            self.advance()
            target = self.unary()
            if not isinstance(target, n.TypeOf) or target.type is None:
                self.fail("Expected `typeof(type)` after `to`.")
            type = target.type
        name = named.names[0] if named.names else None
        return t.ExpandItem(named.start, self.last_end, name, named.value, type)

    def _mv_expand(self, start: int) -> n.Operator:
        settings = {setting.name: setting.value for setting in self.settings()}
        items = self.many(self._expand_item)
        limit = None
        if self.at_word("limit"):
            self.advance()
            limit = self.expression()
        as_array = "array" in (settings.get("kind"), settings.get("bagexpansion"))
        return t.MvExpand(start, self.last_end, items, as_array, settings.get("with_itemindex"), limit)

    def _mvexpand(self, start: int) -> n.Operator:
        """The old spelling, whose rows end at 128 of one unless it is told otherwise."""
        made = self._mv_expand(start)
        if isinstance(made, t.MvExpand) and made.limit is None:
            return replace(made, limit=n.Literal(start, start, 128, KustoType.LONG))
        return made

    def _mv_apply(self, start: int) -> n.Operator:
        settings = {setting.name: setting.value for setting in self.settings()}
        items = self.many(self._expand_item)
        limit = None
        if self.at_word("limit"):
            self.advance()
            limit = self.expression()
        if self.at_word("id"):
            self.fail("`mv-apply ... id` is not supported.")
        self.expect("on", "before the sub-query of `mv-apply`")
        body = self.sub_pipeline()
        return t.MvApply(start, self.last_end, items, settings.get("with_itemindex"), limit, body)

    def _parse(self, start: int, where: bool = False) -> n.Operator:
        settings = {setting.name: setting.value for setting in self.settings()}
        kind = settings.get("kind", "simple")
        if kind not in ("simple", "regex", "relaxed"):
            self.fail(f"`parse` has no kind `{kind}`.", hint="The kinds are simple, relaxed and regex.")
        subject = self.expression()
        self.expect("with", "after the expression of `parse`")
        parts = self._pattern_parts()
        return t.Parse(start, self.last_end, kind, settings.get("flags", ""), subject, parts, where)

    def _pattern_parts(self) -> tuple[t.PatternPart, ...]:
        parts: list[t.PatternPart] = []
        while True:
            start = self.token.start
            if self.token.kind == STRING:
                text = string_value(self.advance().text)
                parts.append(t.PatternPart(start, self.last_end, text, None, KustoType.STRING))
            elif self.accept("*"):
                parts.append(t.PatternPart(start, self.last_end, None, None, KustoType.STRING))
            elif self.token.kind == NAME or self.at_bracketed_name():
                name = self.take_name("a column name")
                type = self._pattern_type()
                parts.append(t.PatternPart(start, self.last_end, None, name, type))
            elif parts:
                return tuple(parts)
            else:
                self.fail(f"Expected a pattern after `with`, found {self.shown()}.")

    def _pattern_type(self) -> KustoType:
        if self.accept(":"):
            return self.type_name()
        # An optional type may also follow after white space, as in `with * 'a=' a int`.
        if self.token.kind == NAME and parse_type(self.token.text) and self.peek().kind != NAME:
            return self.type_name()
        return KustoType.STRING

    def _parse_where(self, start: int) -> n.Operator:
        return self._parse(start, where=True)

    def _parse_kv(self, start: int) -> n.Operator:
        subject = self.expression()
        self.expect("as", "after the expression of `parse-kv`")
        self.expect("(", "before the columns of `parse-kv`")
        columns = self.column_declarations()
        self.expect(")", "to close the columns of `parse-kv`")
        options = self.property_list()
        return t.ParseKv(start, self.last_end, subject, columns, options)

    def property_list(self) -> dict[str, n.Expression]:
        """`with (name=value, ...)`, or nothing; the parentheses may be missing."""
        options: dict[str, n.Expression] = {}
        if not self.at_word("with"):
            return options
        self.advance()
        enclosed = self.accept("(")
        while not self.at(")"):
            name = self.take_name("a property name")
            self.expect("=", f"after `{name}`")
            options[name] = self.expression()
            if not self.accept(","):
                break
        if enclosed:
            self.expect(")", "to close the properties")
        return options

    def _render(self, start: int) -> n.Operator:
        chart = self.take_name("a chart kind")
        properties: dict[str, n.Expression] = {}
        if self.at_word("with"):
            self.advance()
            self.expect("(", "after `with`")
            while not self.at(")"):
                name = self.take_name("a property name")
                self.expect("=", f"after `{name}`")
                properties[name] = self._render_value()
                self.accept(",")
            self.expect(")", "to close the properties")
        else:
            while self.token.kind == NAME and self.peek().text == "=":
                name = self.advance().text
                self.advance()
                properties[name] = self._render_value()
        return t.RenderOperator(start, self.last_end, chart, properties)

    def _render_value(self) -> n.Expression:
        start = self.token.start
        value = self.expression()
        names = [value.name] if isinstance(value, n.Name) else []
        while names and self.at(",") and self.peek().kind == NAME and self.peek(2).text != "=":
            self.advance()
            names.append(self.take_name("a column name"))
        if len(names) > 1:
            return n.Literal(start, self.last_end, ",".join(names), KustoType.STRING)
        return value

    def _serialize(self, start: int) -> n.Operator:
        if self.token.kind == NAME or self.at_bracketed_name():
            return t.Serialize(start=start, items=self.named_list(), end=self.last_end)
        return t.Serialize(start, self.last_end, ())

    def _getschema(self, start: int) -> n.Operator:
        return t.GetSchema(start, self.last_end)

    def _as(self, start: int) -> n.Operator:
        self.settings()
        return t.As(start=start, name=self.take_name("a name"), end=self.last_end)

    def _consume(self, start: int) -> n.Operator:
        self.settings()
        return t.Consume(start, self.last_end)

    def _invoke(self, start: int) -> n.Operator:
        return t.Invoke(start=start, call=self.unary(), end=self.last_end)

    # Sources.

    def _print(self, start: int) -> n.Operator:
        return t.Print(start=start, items=self.named_list(), end=self.last_end)

    def _range(self, start: int) -> n.Operator:
        name = self.take_name("a column name")
        self.expect("from", "after the column of `range`")
        low = self.expression()
        self.expect("to", "after the first value of `range`")
        high = self.expression()
        self.expect("step", "after the last value of `range`")
        return t.RangeSource(
            start=start, name=name, low=low, high=high, step=self.expression(), end=self.last_end
        )

    def _datatable(self, start: int) -> n.Operator:
        self.expect("(", "after `datatable`")
        columns = self.column_declarations()
        self.expect(")", "to close the columns of `datatable`")
        self.property_list()
        self.expect("[", "before the values of `datatable`")
        values: list[n.Expression] = []
        while not self.at("]"):
            values.append(self.expression())
            if not self.accept(","):
                break
        self.expect("]", "to close the values of `datatable`")
        return t.DataTable(start, self.last_end, columns, tuple(values))


_SETTINGS = frozenset(
    [
        "kind",
        "withsource",
        "isfuzzy",
        "with_itemindex",
        "bagexpansion",
        "flags",
        "decodeblocks",
        "with_match_id",
        "with_step_name",
        "datascope",
        "with_source",
    ]
)
