"""Hover: what stands under the cursor, from the registry, the schema and binding."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.kql.bind.functions import FUNCTIONS
from headrace.kql.bind.scope import Binding, FunctionBinding, Relation, ScalarBinding
from headrace.kql.editor.model import Hover, Target
from headrace.kql.editor.scope import Meaning, function_text, meaning_of
from headrace.kql.editor.signatures import signature_text
from headrace.kql.editor.words import BINARY_WORDS, OPERATORS, PLUGINS, STATEMENTS
from headrace.kql.plan.expressions import Poison
from headrace.kql.syntax.lexer import END, NAME, OP, SourceText, Token, tokenize

_SHOWN_COLUMNS = 30


def hover(text: str, offset: int, target: Target) -> Hover | None:
    """Type and meaning of the word under the cursor; None where there is nothing to say."""
    tokens, _ = tokenize(SourceText(text))
    place = next(
        (i for i, token in enumerate(tokens) if token.kind != END and token.start <= offset < token.end), None
    )
    if place is None or (place and tokens[place].kind == OP and tokens[place - 1].kind == NAME):
        before = next(
            (i for i, token in enumerate(tokens) if token.kind == NAME and token.end == offset), None
        )
        place = before if before is not None else place
    if place is None:
        return None
    token = tokens[place]
    if token.kind == NAME:
        operator = _operator(tokens, place)
        if operator is not None:
            return operator
    elif token.kind == OP and token.text not in ("[", "]"):
        doc = BINARY_WORDS.get(token.text)
        return Hover(token.text, doc, token.start, token.end) if doc is not None else None
    return _value(tokens, place, meaning_of(target, text), target)


def _operator(tokens: Sequence[Token], place: int) -> Hover | None:
    """The tabular operator or statement whose name the cursor is in."""
    first = place
    while first >= 2 and tokens[first - 1].text == "-" and not tokens[first].space:
        first -= 2
    name, last = tokens[first].text, first
    while last + 2 < len(tokens) and tokens[last + 1].text == "-" and not tokens[last + 1].space:
        name += "-" + tokens[last + 2].text
        last += 2
    word = OPERATORS.get(name)
    before = tokens[first - 1].text if first else ";"
    if word is not None and (before == "|" or (word.source and before in (";", "(", "=", "{"))):
        return Hover(word.syntax, word.doc, tokens[first].start, tokens[last].end)
    token = tokens[place]
    if token.text in STATEMENTS and before in (";", "{"):
        return Hover(token.text, STATEMENTS[token.text], token.start, token.end)
    following = tokens[place + 1] if place + 1 < len(tokens) else token
    if token.text in BINARY_WORDS and first and following.text != "=" and before not in ("|", "(", ","):
        return Hover(token.text, BINARY_WORDS[token.text], token.start, token.end)
    return None


def _value(tokens: Sequence[Token], place: int, meaning: Meaning, target: Target) -> Hover | None:
    token = tokens[place]
    called = tokens[place + 1].text == "(" if place + 1 < len(tokens) else False
    member = place > 0 and tokens[place - 1].text == "."
    if called and not member:
        return _function(token, meaning, target)
    value = meaning.values.get((token.start, token.end))
    if value is None and member:
        value = next((found for (_, end), found in meaning.values.items() if end == token.end), None)
    if value is not None and not isinstance(value, Poison) and token.kind == NAME:
        return Hover(f"{token.text}: {value.type}", "", token.start, token.end)
    rows = meaning.tables.get((token.start, token.end))
    if rows is not None and not rows.broken:
        return Hover(token.text, _columns_text(rows), token.start, token.end)
    binding = meaning.environment.find(token.text) if token.kind == NAME else None
    if binding is not None:
        return _binding(token, binding)
    return _named(token, meaning)


def _named(token: Token, meaning: Meaning) -> Hover | None:
    """A column in a place where only names stand, such as `project-away`."""
    around = [place for place in meaning.inputs if place[0] <= token.start]
    if token.kind != NAME or not around:
        return None
    column = meaning.inputs[max(around)].find(token.text)
    if column is None:
        return None
    return Hover(f"{token.text}: {column.type}", "", token.start, token.end)


def _function(token: Token, meaning: Meaning, target: Target) -> Hover | None:
    binding = meaning.environment.find(token.text)
    if binding is not None:
        return _binding(token, binding)
    function = FUNCTIONS.find(token.text)
    if function is None:
        doc = PLUGINS.get(token.text)
        return Hover(f"{token.text}()", doc, token.start, token.end) if doc is not None else None
    verdict, message = target.profile.function(function, token.text)
    text = function.doc if verdict == "allow" else f"{function.doc}\n\n{message}"
    return Hover(signature_text(function, token.text), text, token.start, token.end)


def _binding(token: Token, binding: Binding) -> Hover:
    if isinstance(binding, FunctionBinding):
        return Hover(function_text(binding), "A function of this text.", token.start, token.end)
    if isinstance(binding, ScalarBinding):
        return Hover(f"{token.text}: {binding.value.type}", "A value of this text.", token.start, token.end)
    return Hover(token.text, "A table of this text.", token.start, token.end)


def _columns_text(rows: Relation) -> str:
    shown = [f"- `{column.name}`: {column.type}" for column in rows.visible[:_SHOWN_COLUMNS]]
    more = len(rows.visible) - len(shown)
    return "\n".join([*shown, *([f"- and {more} more"] if more > 0 else [])])
