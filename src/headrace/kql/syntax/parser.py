"""Whole texts: statements, functions, pipelines, and recovery so that several problems are reported."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches

from headrace.errors import Problem
from headrace.kql.syntax import nodes as n
from headrace.kql.syntax import tabular as t
from headrace.kql.syntax.analytics import AnalyticsParser
from headrace.kql.syntax.expressions import WORD_OPERATORS
from headrace.kql.syntax.lexer import END, NAME, SourceText
from headrace.kql.syntax.stream import SyntaxProblem

MAX_OPERATORS = 150
"""How many operators one pipeline may have."""
MAX_STATEMENTS = 500
_SOURCE_NAMES = frozenset(["union", "search", "find", "print", "range", "datatable", "evaluate"])
"""Operators that may also begin a statement."""


def parse(text: str) -> tuple[n.Script, SourceText, list[Problem]]:
    """The tree of a text, the text for spans, and its syntax problems; with problems the tree has gaps."""
    source = SourceText(text)
    parser = Parser(source)
    script = parser.script()
    return script, source, parser.problems


class Parser(AnalyticsParser):
    """Recursive descent over statements and pipelines."""

    def script(self) -> n.Script:
        """Statements to the end of the text."""
        statements: list[n.Statement] = []
        if self.at(".") and self.peek().kind == NAME:
            self._refuse_command()
            return n.Script(0, self.last_end, ())
        while self.token.kind != END:
            if self.accept(";"):
                continue
            if len(statements) >= MAX_STATEMENTS:
                self.report("KQL0004", f"The text has more than {MAX_STATEMENTS} statements.", *self._here())
                break
            try:
                statements.append(self.statement())
                if self.token.kind != END and not self.at(";"):
                    message = f"Expected `|`, `;` or the end of the text, found {self.shown()}."
                    self.fail(message, hint=self._why_it_stops())
            except SyntaxProblem:
                self.recover(";")
                if not self.accept(";") and self.token.kind != END:
                    self.advance()
            if self.fatal:
                break
        return n.Script(0, self.last_end, tuple(statements))

    def _why_it_stops(self) -> str | None:
        """What people mean who write this where a statement should end."""
        token = self.token
        known = {
            "{": "`{...}` stands for a parameter of a workbook or alert: put its value there.",
            "#": "A comment begins with `//`.",
            ")": "This parenthesis was never opened.",
            "]": "This bracket was never opened.",
        }
        if token.text in known:
            return known[token.text]
        line = self.source.text[: token.start].rpartition("\n")[2]
        if token.kind == NAME and self.hyphenated()[0] in OPERATORS and token.text not in _SOURCE_NAMES:
            return f"Is the `|` before `{self.hyphenated()[0]}` missing?"
        if token.kind == NAME and not line.strip():
            return "If another statement begins here, end the one before it with `;`."
        near = get_close_matches(token.text, WORD_OPERATORS, 1) if token.kind == NAME else []
        return f"Did you mean `{near[0]}`?" if near else None

    def _here(self) -> tuple[int, int]:
        return self.token.start, self.token.end

    def _refuse_command(self) -> None:
        self.report(
            "KQL0007",
            f"`.{self.peek().text}` is a management command; only queries are taken.",
            self.token.start,
            self.peek().end,
        )

    def statement(self) -> n.Statement:
        """One statement, without its semicolon."""
        token, following = self.token, self.peek()
        if token.kind == NAME:
            if token.text == "let" and (following.kind == NAME or following.text == "["):
                return self._let()
            if token.text == "set" and following.kind == NAME:
                return self._set()
            if token.text == "declare" and following.kind == NAME:
                return self._declare()
            if token.text in ("alias", "restrict") and following.kind == NAME:
                self.recover(";")
                return n.Unsupported(token.start, token.end, token.text)
        value = self.pipeline()
        return n.ExpressionStatement(token.start, self.last_end, value)

    def _let(self) -> n.Statement:
        start = self.advance().start
        name = self.take_name("a name after `let`")
        self.expect("=", f"after `let {name}`")
        view = self.at_word("view") and self.peek().text == "("
        if view:
            self.advance()
        if self.at("(") and (view or self._at_function()):
            return self._function(start, name, view)
        value = self.pipeline()
        return n.Let(start, self.last_end, name, value)

    def _at_function(self) -> bool:
        """Whether the parenthesis at hand opens a function's parameters: its partner is followed by `{`."""
        level, ahead = 0, 0
        while True:
            token = self.peek(ahead) if ahead else self.token
            if token.kind == END or token.text in (";", "|"):
                return False
            if token.text == "(":
                level += 1
            elif token.text == ")":
                level -= 1
                if level == 0:
                    return self.peek(ahead + 1).text == "{"
            ahead += 1

    def _function(self, start: int, name: str, view: bool) -> n.Statement:
        parameters = self.parameters()
        body = self.body()
        return n.LetFunction(start, self.last_end, name, parameters, body, view)

    def parameters(self) -> tuple[n.Parameter, ...]:
        """`(name: type [= default], name: (columns), ...)`."""
        self.expect("(", "before the parameters")
        parameters: list[n.Parameter] = []
        while not self.at(")"):
            begin = self.token.start
            name = self.take_name("a parameter name")
            self.expect(":", f"after the parameter `{name}`")
            if self.accept("("):
                columns = None
                if not self.accept("*"):
                    columns = self.column_declarations()
                self.expect(")", "to close the parameter's columns")
                parameters.append(n.Parameter(begin, self.last_end, name, None, columns, None, True))
            else:
                type = self.type_name()
                default = self.expression() if self.accept("=") else None
                parameters.append(n.Parameter(begin, self.last_end, name, type, None, default, False))
            if not self.accept(","):
                break
        self.expect(")", "to close the parameters")
        return tuple(parameters)

    def body(self) -> n.Body:
        """`{ statements; result }`."""
        start = self.expect("{", "before the function's body").start
        statements: list[n.Statement] = []
        result: n.Expression | None = None
        with self.nested():
            while not self.at("}") and self.token.kind != END:
                if self.accept(";"):
                    continue
                statement = self.statement()
                if isinstance(statement, n.ExpressionStatement):
                    result = statement.value
                else:
                    statements.append(statement)
                if not self.at("}"):
                    self.expect(";", "after the statement")
        self.expect("}", "to close the function's body")
        return n.Body(start, self.last_end, tuple(statements), result)

    def _set(self) -> n.Statement:
        start = self.advance().start
        option = self.take_name("an option")
        value = self.expression() if self.accept("=") else None
        return n.SetStatement(start, self.last_end, option, value)

    def _declare(self) -> n.Statement:
        start = self.advance().start
        word = self.take_name("query_parameters")
        if word != "query_parameters":
            self.recover(";")
            return n.Unsupported(start, self.last_end, f"declare {word}")
        self.expect("(", "after `query_parameters`")
        columns = self.column_declarations()
        self.expect(")", "to close the parameters")
        return n.Declare(start, self.last_end, columns)

    def pipeline(self) -> n.Expression:
        """A pipeline; where no `|` follows, just its source."""
        start = self.token.start
        self.enter()
        try:
            source: n.Expression | n.Operator
            source = self._source_operator() if self.starts_source() else self.expression()
            if not self.at("|"):
                if isinstance(source, n.Operator):
                    return n.Pipeline(start, self.last_end, source, ())
                return source
            return n.Pipeline(start=start, source=source, operators=self._operators(), end=self.last_end)
        finally:
            self.depth -= 1

    def body_pipeline(self) -> n.Expression:
        """The operators of a sub-query, the first without a bar."""
        start = self.token.start
        self.accept("|")
        if self.starts_source() and not self.at_word("evaluate", "search", "union"):
            return self.pipeline()
        source = t.Input(start, start)
        first = self._operator()
        rest = self._operators() if self.at("|") else ()
        operators = (first, *rest) if first is not None else rest
        return n.Pipeline(start, self.last_end, source, operators)

    def _source_operator(self) -> n.Operator:
        token = self.advance()
        method: Callable[[int], n.Operator] = getattr(self, "_" + token.text)
        return method(token.start)

    def _operators(self) -> tuple[n.Operator, ...]:
        operators: list[n.Operator] = []
        while self.accept("|"):
            operator = self._operator()
            if operator is not None:
                operators.append(operator)
            if len(operators) > MAX_OPERATORS:
                if not self.fatal:
                    self.fatal = True
                    self.report(
                        "KQL0004", f"A pipeline has more than {MAX_OPERATORS} operators.", *self._here()
                    )
                raise SyntaxProblem
        return tuple(operators)

    def _operator(self) -> n.Operator | None:
        """One operator; after a problem within it the parser goes on at the next bar."""
        index, depth = self.index, self.depth
        try:
            return self._one_operator()
        except SyntaxProblem:
            if self.fatal:
                raise
            self.depth = depth
            if self.index == index and self.token.kind != END and not self.at("|"):
                self.advance()
            self.recover("|", ";")
            return None

    def _one_operator(self) -> n.Operator:
        token = self.token
        if token.kind != NAME:
            self.fail(f"Expected an operator after `|`, found {self.shown()}.")
        name, width = self.hyphenated()
        if name not in OPERATORS and (base := name.split("-")[0]) in OPERATORS and name not in _COMPOUND:
            name, width = base, 1
        method_name = OPERATORS.get(name)
        if method_name is None:
            if name in REFUSED:
                self.recover("|", ";")
                return t.Refused(token.start, token.start + len(name), name, REFUSED[name])
            close = get_close_matches(name, OPERATORS, 1, 0.7)
            hint = f"Did you mean `{close[0]}`?" if close else None
            self.report(
                "KQL0008", f"There is no operator `{name}`.", token.start, token.start + len(name), hint
            )
            raise SyntaxProblem
        self.skip(width)
        method: Callable[[int], n.Operator] = getattr(self, method_name)
        return method(token.start)


OPERATORS: dict[str, str] = {
    "where": "_where",
    "filter": "_where",
    "extend": "_extend",
    "project": "_project",
    "project-away": "_project_away",
    "project-keep": "_project_keep",
    "project-rename": "_project_rename",
    "project-reorder": "_project_reorder",
    "project-by-names": "_project_by_names",
    "summarize": "_summarize",
    "sort": "_sort",
    "order": "_sort",
    "top": "_top",
    "take": "_take",
    "limit": "_take",
    "sample": "_sample",
    "sample-distinct": "_sample_distinct",
    "count": "_count",
    "distinct": "_distinct",
    "join": "_join",
    "lookup": "_lookup",
    "union": "_union",
    "mv-expand": "_mv_expand",
    "mvexpand": "_mvexpand",
    "mv-apply": "_mv_apply",
    "mvapply": "_mv_apply",
    "parse": "_parse",
    "parse-where": "_parse_where",
    "parse-kv": "_parse_kv",
    "render": "_render",
    "serialize": "_serialize",
    "getschema": "_getschema",
    "as": "_as",
    "consume": "_consume",
    "invoke": "_invoke",
    "make-series": "_make_series",
    "top-nested": "_top_nested",
    "top-hitters": "_top_hitters",
    "partition": "_partition",
    "scan": "_scan",
    "reduce": "_reduce",
    "search": "_search",
    "find": "_find",
    "facet": "_facet",
    "fork": "_fork",
    "evaluate": "_evaluate",
}
_COMPOUND = frozenset(["project-smart"])
REFUSED = {
    "make-graph": "graphs are not supported",
    "graph-match": "graphs are not supported",
    "graph-to-table": "graphs are not supported",
    "graph-shortest-paths": "graphs are not supported",
    "graph-mark-components": "graphs are not supported",
    "macro-expand": "entity groups are not supported",
    "assert-schema": "it is not supported yet",
    "execute-and-cache": "it is not supported",
}
