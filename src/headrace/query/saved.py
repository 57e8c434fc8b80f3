"""The text of a saved function parted: what it takes and what it does."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.kql.syntax.lexer import SourceText, tokenize


@dataclass(frozen=True, slots=True)
class SavedParts:
    """Parameters as declared and the body's KQL, both without the brackets around them."""

    parameters: str
    body: str


def parted(text: str) -> SavedParts:
    """The parts of `(parameters) { body }`; a text of another form is a body without parameters."""
    end = _closing(text)
    rest = text[end:].strip()
    if not end or not (rest.startswith("{") and rest.endswith("}")):
        return SavedParts("", text.strip())
    return SavedParts(text[: end - 1].strip()[1:].strip(), rest[1:-1].strip())


def _closing(text: str) -> int:
    """Where the parenthesis ends that a text begins with; 0 where there is none."""
    depth = 0
    for token in tokenize(SourceText(text))[0]:
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if depth <= 0:
            return token.end if token.text == ")" else 0
    return 0
