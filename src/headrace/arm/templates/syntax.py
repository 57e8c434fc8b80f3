"""Template expressions: `[concat(parameters('name'), '-x')]` to a tree."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from headrace.arm.templates.errors import TemplateError

MAX_EXPRESSION = 24_576
MAX_NESTING = 64
MAX_DIGITS = 19
"""ARM's own bound on an expression's length; nesting is ours."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A text or whole number."""

    value: str | int


@dataclass(frozen=True, slots=True)
class CallNode:
    """A function's call. `name` is as written; a user's function has its namespace in it: `ns.name`."""

    name: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Member:
    """`of[key]`, or `of.name` with the name as a literal key."""

    of: Node
    key: Node


Node = Literal | CallNode | Member

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>-?\d+)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<sign>[()\[\],.]))"
)


def is_expression(value: object) -> bool:
    """Whether a text of a template is an expression; one that begins with `[[` is a text."""
    return (
        isinstance(value, str)
        and value.startswith("[")
        and value.endswith("]")
        and not value.startswith("[[")
    )


def unescaped(value: str) -> str:
    """A text that is no expression, as it is meant: `[[x]` is `[x]`."""
    return value[1:] if value.startswith("[[") and value.endswith("]") else value


@lru_cache(maxsize=4096)
def parse(text: str) -> Node:
    """The tree of an expression with its brackets. Raises `TemplateError` with the character's place."""
    if len(text) > MAX_EXPRESSION:
        raise TemplateError(f"An expression has {len(text)} characters; {MAX_EXPRESSION} is the most.")
    parser = _Parser(text[1:-1], text)
    node = parser.expression(0)
    parser.end()
    return node


class _Parser:
    def __init__(self, inner: str, whole: str) -> None:
        self._text = inner
        self._whole = whole
        self._place = 0
        self._next: re.Match[str] | None = None
        self._advance()

    def expression(self, depth: int) -> Node:
        if depth > MAX_NESTING:
            raise self._fault(f"it is nested more than {MAX_NESTING} deep")
        node = self._primary(depth)
        for _ in range(MAX_NESTING):
            if self._is("."):
                self._advance()
                node = Member(node, Literal(self._name("a property's name")))
            elif self._is("["):
                self._advance()
                node = Member(node, self.expression(depth + 1))
                self._take("]")
            else:
                return node
        raise self._fault(f"more than {MAX_NESTING} properties follow one another")

    def end(self) -> None:
        if self._next is not None or self._text[self._place :].strip():
            raise self._fault("nothing more was expected")

    def _primary(self, depth: int) -> Node:
        token = self._next
        if token is None:
            raise self._fault("a text in '...', a number or a function was expected")
        if token["text"] is not None:
            self._advance()
            return Literal(token["text"][1:-1].replace("''", "'"))
        if token["number"] is not None:
            if len(token["number"]) > MAX_DIGITS:
                raise self._fault(f"a number has more than {MAX_DIGITS} characters")
            self._advance()
            return Literal(int(token["number"]))
        name = self._name("a text in '...', a number or a function")
        if self._is("."):
            self._advance()
            name = f"{name}.{self._name('the name of a function')}"
        if not self._is("("):
            raise self._fault(f"'(' was expected behind '{name}'; a text stands in single quotes")
        return CallNode(name, self._arguments(depth))

    def _arguments(self, depth: int) -> tuple[Node, ...]:
        self._take("(")
        found: list[Node] = []
        while not self._is(")"):
            if found:
                self._take(",")
            found.append(self.expression(depth + 1))
        self._advance()
        return tuple(found)

    def _name(self, what: str) -> str:
        token = self._next
        if token is None or token["name"] is None:
            raise self._fault(f"{what} was expected")
        self._advance()
        return token["name"]

    def _is(self, sign: str) -> bool:
        return self._next is not None and self._next["sign"] == sign

    def _take(self, sign: str) -> None:
        if not self._is(sign):
            raise self._fault(f"'{sign}' was expected")
        self._advance()

    def _advance(self) -> None:
        if self._next is not None:
            self._place = self._next.end()
        self._next = _TOKEN.match(self._text, self._place)

    def _fault(self, what: str) -> TemplateError:
        shown = self._whole if len(self._whole) <= 200 else f"{self._whole[:200]}..."
        return TemplateError(
            f"Unable to parse language expression '{shown}': at character {self._place + 2} {what}."
        )
