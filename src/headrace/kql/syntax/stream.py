"""The parser's hold on the tokens: looking, taking, complaining, and recovering."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn, TypeVar

from headrace.errors import Problem
from headrace.kql.syntax.lexer import END, NAME, OP, STRING, SourceText, Token, string_value, tokenize

_Item = TypeVar("_Item")
MAX_DEPTH = 48
"""How deep expressions and sub-queries may nest."""
MAX_CHAIN = 96
"""How many operands one chain of arithmetic or member access may have."""
MAX_PROBLEMS = 50


class SyntaxProblem(Exception):
    """Ends the construct at hand; the problem itself is already recorded."""


class TokenStream:
    """Tokens with a position. A problem is recorded once and raised as `SyntaxProblem`."""

    def __init__(self, source: SourceText) -> None:
        self.source = source
        self.tokens, self.problems = tokenize(source)
        self.index = 0
        self.token = self.tokens[0]
        self.depth = 0
        self.fatal = False

    def peek(self, ahead: int = 1) -> Token:
        """The token `ahead` places further on."""
        index = self.index + ahead
        return self.tokens[index] if index < len(self.tokens) else self.tokens[-1]

    def advance(self) -> Token:
        """Take the current token."""
        token = self.token
        if token.kind != END:
            self.index += 1
            self.token = self.tokens[self.index]
        return token

    @property
    def last_end(self) -> int:
        """Where the last taken token ends."""
        return self.tokens[self.index - 1].end if self.index else 0

    def at(self, text: str) -> bool:
        """Whether the current token is the operator or word `text`."""
        return self.token.text == text and self.token.kind in (OP, NAME)

    def at_word(self, *words: str) -> bool:
        """Whether the current token is one of these bare words."""
        return self.token.kind == NAME and self.token.text in words

    def accept(self, text: str) -> bool:
        """Take the current token if it is `text`."""
        if self.token.text == text and self.token.kind in (OP, NAME):
            self.advance()
            return True
        return False

    def expect(self, text: str, where: str) -> Token:
        """Take `text` or complain that it is missing `where`."""
        if self.token.text == text and self.token.kind in (OP, NAME):
            return self.advance()
        raise self.fail(f"Expected `{text}` {where}, found {self.shown()}.")

    def shown(self) -> str:
        """The current token for a message."""
        if self.token.kind == END:
            return "the end of the text"
        text = self.token.text
        return f"`{text if len(text) <= 40 else text[:37] + '...'}`"

    def fail(self, message: str, *, hint: str | None = None, token: Token | None = None) -> NoReturn:
        """Record a syntax problem at the current (or given) token and give up the construct."""
        token = token or self.token
        self.report("KQL0002", message, token.start, token.end, hint)
        raise SyntaxProblem

    def report(self, code: str, message: str, start: int, end: int, hint: str | None = None) -> None:
        """Record a problem and go on."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(code, message, span=self.source.span(start, end), hint=hint))

    @contextmanager
    def nested(self) -> Iterator[None]:
        """One level of nesting, bounded."""
        self.enter()
        try:
            yield
        finally:
            self.depth -= 1

    def enter(self) -> None:
        """Go one level down; the caller undoes it by `depth -= 1`."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            if not self.fatal:
                self.fatal = True
                self.report(
                    "KQL0004",
                    f"The text nests deeper than {MAX_DEPTH} levels.",
                    self.token.start,
                    self.token.end,
                    "Name inner parts with `let`.",
                )
            self.depth -= 1
            raise SyntaxProblem

    def hyphenated(self) -> tuple[str, int]:
        """The word at hand with its `-word` tails (`project-away`), and how many tokens it is."""
        text, count = self.token.text, 1
        end = self.token.end
        while True:
            dash, word = self.peek(count), self.peek(count + 1)
            if dash.text != "-" or dash.start != end or word.kind != NAME or word.start != dash.end:
                return text, count
            text += "-" + word.text
            end = word.end
            count += 2

    def skip(self, count: int) -> None:
        """Take `count` tokens."""
        for _ in range(count):
            self.advance()

    def at_bracketed_name(self) -> bool:
        """Whether `['name']` stands here."""
        return (
            self.token.text == "["
            and self.token.kind == OP
            and self.peek().kind == STRING
            and self.peek(2).text == "]"
        )

    def take_name(self, what: str) -> str:
        """Take an identifier, bare or as `['name']`."""
        if self.token.kind == NAME:
            return self.advance().text
        if self.at_bracketed_name():
            self.advance()
            value = string_value(self.advance().text)
            self.advance()
            return value
        raise self.fail(f"Expected {what}, found {self.shown()}.")

    def many(self, parse: Callable[[], _Item]) -> tuple[_Item, ...]:
        """One or more of what `parse` takes, parted by commas."""
        items = [parse()]
        while self.accept(","):
            items.append(parse())
        return tuple(items)

    def recover(self, *stops: str) -> None:
        """Skip to the next of `stops` outside any bracket, or to a bracket that closes an outer one."""
        level = 0
        while self.token.kind != END:
            if self.token.kind == OP:
                text = self.token.text
                if level == 0 and text in stops:
                    return
                if text in "([{":
                    level += 1
                elif text in ")]}":
                    if level == 0:
                        return
                    level -= 1
                elif text == ";" and level <= 1 and ";" in stops:
                    return
            self.advance()
