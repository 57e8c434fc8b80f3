"""Scalar expressions, by precedence: or, and, equality, order, sum, product, string operators, sign, path."""

from __future__ import annotations

from headrace.kql.syntax import nodes as n
from headrace.kql.syntax.dynamic import dynamic_text
from headrace.kql.syntax.lexer import (
    END,
    NAME,
    NUMBER,
    OP,
    STRING,
    TIMESPAN,
    TYPED,
    string_value,
    typed_parts,
)
from headrace.kql.syntax.literals import parse_timespan, typed_value
from headrace.kql.syntax.stream import MAX_CHAIN, TokenStream
from headrace.kql.types import KustoType, parse_type

_LIKE_WORDS = frozenset(["like", "notlike", "likecs", "notlikecs"])
_STRING_WORDS = _LIKE_WORDS | frozenset(
    [
        "has",
        "hasprefix",
        "hassuffix",
        "contains",
        "startswith",
        "endswith",
        "has_cs",
        "hasprefix_cs",
        "hassuffix_cs",
        "contains_cs",
        "startswith_cs",
        "endswith_cs",
        "notcontains",
        "notcontains_cs",
    ]
)
_OLD_WORDS = {"notcontains": "!contains", "notcontains_cs": "!contains_cs"}
"""Spellings that the language still takes."""
_LIST_WORDS = frozenset(["in", "has_any", "has_all"])
_NEGATABLE = (_STRING_WORDS - _LIKE_WORDS) | {"in", "between"}
WORD_OPERATORS = (_STRING_WORDS - _LIKE_WORDS) | _LIST_WORDS | {"between", "matches", "and", "or"}
"""What may stand between two operands and is a word."""
_EQUALITY = frozenset(["==", "!=", "<>", "=~", "!~"])
_ORDER = frozenset(["<", ">", "<=", ">="])
_SOURCES = frozenset(["print", "range", "datatable", "union", "search", "find", "externaldata", "evaluate"])
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_LONG_MAX = 2**63
_LEAST = {KustoType.INT: -(2**31), KustoType.LONG: -_LONG_MAX, KustoType.TIMESPAN: -_LONG_MAX}
"""The numbers that have no opposite of their type."""


class ExpressionParser(TokenStream):
    """Parses scalar expressions; sub-queries come from `pipeline`, which the operator parser gives."""

    lenient_equals = False
    """Whether a single `=` compares, as the language allows in a filter."""
    searching = False
    """Whether `column:term` is a condition, as in `search`."""

    def pipeline(self) -> n.Expression:
        """A tabular expression or, where no operator follows, any expression."""
        raise NotImplementedError

    def starts_source(self) -> bool:
        """Whether a tabular operator that needs no input starts here."""
        if self.token.kind != NAME or self.token.text not in _SOURCES:
            return False
        following = self.peek()
        if following.kind == END or following.text in (",", ")", ";", "|", "=", "==", ".", ".."):
            return False
        if self.token.text == "range":
            return following.text != "("
        if self.token.text in ("datatable", "externaldata"):
            return following.text == "("
        return self.token.text in ("union", "print", "search") or following.text != "("

    def expression(self) -> n.Expression:
        """A whole expression."""
        self.enter()
        try:
            return self._logical("or")
        finally:
            self.depth -= 1

    def _logical(self, op: str) -> n.Expression:
        operand = self._logical("and") if op == "or" else self._equality()
        if not self.at_word(op):
            return operand
        operands = [operand]
        while self.at_word(op):
            self.advance()
            operands.append(self._logical("and") if op == "or" else self._equality())
        return n.Logical(operand.start, self.last_end, op, tuple(operands))

    def _equality(self) -> n.Expression:
        left = self._order()
        token = self.token
        if token.kind == OP and (
            token.text in _EQUALITY
            or (token.text == "=" and self.lenient_equals)
            or (token.text == ":" and self.searching)
        ):
            op = {"<>": "!=", "=": "=="}.get(token.text, token.text)
            self.advance()
            right = self._order()
            return n.Binary(left.start, right.end, op, left, right)
        word, width = self._operator_word()
        if word is None:
            return left
        base = word.lstrip("!").rstrip("~")
        if base in _LIST_WORDS:
            self.skip(width)
            return self._membership(left, word)
        if base == "between":
            self.skip(width)
            return self._between(left, word.startswith("!"))
        return left

    def _operator_word(self) -> tuple[str | None, int]:
        """The word operator at hand (`in`, `!in~`, `has_cs`, `matches regex`) and its width in tokens."""
        token = self.token
        if token.kind == NAME:
            text = token.text
            if text == "in" and self.peek().text == "~" and not self.peek().space:
                return "in~", 2
            if text in _STRING_WORDS or text in _LIST_WORDS or text == "between":
                return _OLD_WORDS.get(text, text), 1
            if text == "matches" and self.peek().text == "regex":
                return "matches regex", 2
            return None, 0
        if token.text == "!" and token.kind == OP:
            following = self.peek()
            if following.kind == NAME and not following.space and following.text in _NEGATABLE:
                if following.text == "in" and self.peek(2).text == "~" and not self.peek(2).space:
                    return "!in~", 3
                return "!" + following.text, 2
        return None, 0

    def _membership(self, left: n.Expression, op: str) -> n.Expression:
        self.expect("(", f"after `{op}`")
        items: list[n.Expression] = []
        with self.nested():
            while not self.at(")"):
                items.append(self.pipeline())
                if not self.accept(","):
                    break
        self.expect(")", f"to close the list of `{op}`")
        return n.Membership(left.start, self.last_end, op, left, tuple(items))

    def _between(self, left: n.Expression, negated: bool) -> n.Expression:
        self.expect("(", "after `between`")
        low = self.expression()
        self.expect("..", "between the bounds of `between`")
        high = self.expression()
        self.expect(")", "to close `between`")
        return n.Between(left.start, self.last_end, negated, left, low, high)

    def _order(self) -> n.Expression:
        left = self._sum()
        if self.token.kind == OP and self.token.text in _ORDER:
            op = self.advance().text
            right = self._sum()
            return n.Binary(left.start, right.end, op, left, right)
        return left

    def _sum(self) -> n.Expression:
        """A chain of `+` and `-`, from the left; a long one as a sum of sums, so that it does not nest deep."""
        total: n.Expression | None = None
        left = self._product()
        count = blocks = 0
        while self.token.kind == OP and self.token.text in ("+", "-"):
            op = self.token.text
            if count >= MAX_CHAIN // 2 and op == "+":
                total = _added(total, left)
                blocks = self._count_chain(blocks)
                self.advance()
                left, count = self._product(), 0
                continue
            count = self._count_chain(count)
            self.advance()
            right = self._product()
            left = n.Binary(left.start, right.end, op, left, right)
        return _added(total, left)

    def _product(self) -> n.Expression:
        left = self._string_operator()
        count = 0
        while self.token.kind == OP and self.token.text in ("*", "/", "%"):
            count = self._count_chain(count)
            op = self.advance().text
            right = self._string_operator()
            left = n.Binary(left.start, right.end, op, left, right)
        return left

    def _count_chain(self, count: int) -> int:
        if count >= MAX_CHAIN:
            self.fail(
                f"One expression chains more than {MAX_CHAIN} operators.", hint="Split it with `extend`."
            )
        return count + 1

    def _string_operator(self) -> n.Expression:
        left = self.unary()
        count = 0
        while True:
            word, width = self._operator_word()
            if word is None or (word.lstrip("!") not in _STRING_WORDS and word != "matches regex"):
                return left
            count = self._count_chain(count)
            self.skip(width)
            right = self.unary()
            left = n.Binary(left.start, right.end, word, left, right)

    _negated = -1
    """Where the token behind a minus starts: the least long is a number only behind one."""

    def unary(self) -> n.Expression:
        """A signed path."""
        token = self.token
        if token.kind == OP and token.text in ("-", "+"):
            self.advance()
            self._negated = self.token.start if token.text == "-" else -1
            self.enter()
            try:
                operand = self.unary()
            finally:
                self.depth -= 1
            if isinstance(operand, n.Literal) and token.text == "-" and _has_opposite(operand):
                return n.Literal(token.start, operand.end, -operand.value, operand.type)
            return n.Unary(token.start, operand.end, token.text, operand)
        return self._path()

    def _path(self) -> n.Expression:
        operand = self._primary()
        count = 0
        while self.token.kind == OP:
            text = self.token.text
            if text == ".":
                count = self._count_chain(count)
                self.advance()
                if not self.at("[") or self.at_bracketed_name():
                    operand = self._member(operand)
            elif text == "[":
                count = self._count_chain(count)
                self.advance()
                index = self.expression()
                self.expect("]", "after the index")
                operand = n.Index(operand.start, self.last_end, operand, index)
            else:
                break
        return operand

    def _member(self, operand: n.Expression) -> n.Expression:
        token = self.token
        name = self.take_name("a property name")
        if self.at("(") and token.kind == NAME:
            call = self._call(name, token.start)
            return n.MethodCall(operand.start, call.end, operand, call)
        return n.Member(operand.start, self.last_end, operand, name)

    def _primary(self) -> n.Expression:
        token = self.token
        kind = token.kind
        if kind == NAME:
            return self._word()
        if kind == STRING:
            return self._string()
        if kind == NUMBER:
            self.advance()
            return self._number(token.text, token.start, token.end)
        if kind == TIMESPAN:
            self.advance()
            value = parse_timespan(token.text)
            return n.Literal(token.start, token.end, value, KustoType.TIMESPAN)
        if kind == TYPED:
            return self._typed()
        if token.text == "(":
            self.advance()
            with self.nested():
                inner = self.pipeline()
            self.expect(")", "to close the parenthesis")
            return inner
        if self.at_bracketed_name():
            name = self.take_name("a name")
            return n.Name(token.start, self.last_end, name)
        if token.text == "*":
            self.advance()
            return n.Wildcard(token.start, token.end, "*")
        raise self.fail(f"Expected an expression, found {self.shown()}.")

    def _word(self) -> n.Expression:
        token = self.token
        following = self.peek()
        if following.text == "(" and following.kind == OP:
            if token.text == "dynamic":
                return self._dynamic()
            if token.text == "typeof":
                return self._typeof()
            if not self.starts_source():
                self.advance()
                return self._call(token.text, token.start)
        if token.text in _BOOLEANS:
            self.advance()
            return n.Literal(token.start, token.end, _BOOLEANS[token.text], KustoType.BOOL)
        self.advance()
        return n.Name(token.start, token.end, token.text)

    def _call(self, name: str, start: int) -> n.Call:
        name_end = self.last_end
        self.expect("(", f"after `{name}`")
        arguments: list[n.Argument] = []
        with self.nested():
            while not self.at(")"):
                begin = self.token.start
                argument_name = None
                if self.token.kind == NAME and self.peek().text == "=" and self.peek().kind == OP:
                    argument_name = self.advance().text
                    self.advance()
                value = self.pipeline()
                arguments.append(n.Argument(begin, self.last_end, argument_name, value))
                if not self.accept(","):
                    break
        self.expect(")", f"to close the arguments of `{name}`")
        return n.Call(start, self.last_end, name, tuple(arguments), name_end)

    def _string(self) -> n.Expression:
        token = self.advance()
        value = string_value(token.text)
        while self.token.kind == STRING:
            value += string_value(self.advance().text)
        return n.Literal(token.start, self.last_end, value, KustoType.STRING)

    def _number(self, text: str, start: int, end: int) -> n.Literal:
        if text[:2] in ("0x", "0X"):
            value = int(text, 16)
            if value >= _LONG_MAX:
                value -= 2 * _LONG_MAX
        elif text.isdigit():
            value = int(text) if len(text) < 40 else _LONG_MAX
        else:
            return n.Literal(start, end, float(text), KustoType.REAL)
        if value == _LONG_MAX and text.isdigit() and self._negated == start:
            return n.Literal(start, end, value, KustoType.LONG)
        if not -_LONG_MAX <= value < _LONG_MAX:
            self.report("KQL0005", f"`{text[:40]}` is out of the range of a long.", start, end)
            value = 0
        return n.Literal(start, end, value, KustoType.LONG)

    def _typed(self) -> n.Expression:
        token = self.advance()
        type_name, content = typed_parts(token.text)
        type = parse_type(type_name) or KustoType.STRING
        valid, value = typed_value(type, content)
        if not valid:
            self.report(
                "KQL0006",
                f"`{content[:40]}` is no {type} literal.",
                token.start,
                token.end,
                f"To convert a value use `to{type}()`.",
            )
        return n.Literal(token.start, token.end, value, type)

    def _typeof(self) -> n.Expression:
        start = self.advance().start
        self.advance()
        if self.token.kind == NAME and self.peek().text in (":", ","):
            columns = self.column_declarations()
            self.expect(")", "to close `typeof`")
            return n.TypeOf(start, self.last_end, None, columns)
        type = self.type_name()
        self.expect(")", "to close `typeof`")
        return n.TypeOf(start, self.last_end, type)

    def type_name(self) -> KustoType:
        """A type's name."""
        token = self.token
        if token.kind == NAME:
            type = parse_type(token.text)
            if type is not None:
                self.advance()
                return type
        known = ", ".join(KustoType)
        raise self.fail(f"{self.shown()} is no type.", hint=f"The types are {known}.")

    def column_declarations(self) -> tuple[n.ColumnDeclaration, ...]:
        """`name: type [= default], ...` up to the closing parenthesis."""
        columns: list[n.ColumnDeclaration] = []
        while not self.at(")"):
            start = self.token.start
            name = self.take_name("a column name")
            self.expect(":", f"between the column `{name}` and its type")
            type = self.type_name()
            default = self.expression() if self.accept("=") else None
            columns.append(n.ColumnDeclaration(start, self.last_end, name, type, default))
            if not self.accept(","):
                break
        return tuple(columns)

    def _dynamic(self) -> n.Expression:
        start = self.advance().start
        self.advance()
        text = dynamic_text(self, self._primary)
        self.expect(")", "to close `dynamic`")
        return n.Literal(start, self.last_end, None if text == "null" else text, KustoType.DYNAMIC)


def _added(total: n.Expression | None, right: n.Expression) -> n.Expression:
    return right if total is None else n.Binary(total.start, right.end, "+", total, right)


def _has_opposite(literal: n.Literal) -> bool:
    numeric = (KustoType.LONG, KustoType.REAL, KustoType.TIMESPAN, KustoType.DECIMAL, KustoType.INT)
    return literal.type in numeric and literal.value not in (None, _LEAST.get(literal.type))
