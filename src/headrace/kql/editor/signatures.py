"""Signatures of functions as text, and the help on the call around a cursor."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.kql.bind.functions import FUNCTIONS
from headrace.kql.bind.functions.declare import ANY, NUMBERS, SCALARS
from headrace.kql.bind.functions.registry import Function, Param, Signature
from headrace.kql.editor.model import SignatureHelp, SignatureLine, Target
from headrace.kql.editor.scope import parameter_text
from headrace.kql.editor.words import CLAUSE_WORDS, OPERATORS
from headrace.kql.syntax import nodes as n
from headrace.kql.syntax.lexer import NAME, OP, SourceText, Token, tokenize
from headrace.kql.syntax.parser import Parser
from headrace.kql.types import KustoType

_OPEN = {"(": ")", "[": "]", "{": "}"}


def param_text(param: Param) -> str:
    """A parameter as a signature shows it: `[name: type]` where it may be left out."""
    kinds = frozenset(param.types)
    if kinds >= frozenset(ANY):
        type = "any"
    elif kinds == frozenset(SCALARS):
        type = "scalar"
    elif kinds == frozenset(NUMBERS):
        type = "number"
    else:
        type = " | ".join(kind.value for kind in param.types)
    text = f"{param.name}: {type}"
    if param.variadic:
        return f"{text}, ..." if param.at_least else f"[{text}, ...]"
    return f"[{text}]" if param.optional else text


def signature_line(name: str, signature: Signature) -> SignatureLine:
    """A signature with the place of each parameter in it."""
    result = f" -> {signature.result.value}" if isinstance(signature.result, KustoType) else ""
    return _line(name, [param_text(param) for param in signature.params], result)


def _line(name: str, params: Sequence[str], result: str) -> SignatureLine:
    label, places = f"{name}(", []
    for index, text in enumerate(params):
        label += ", " if index else ""
        places.append((len(label), len(label) + len(text)))
        label += text
    return SignatureLine(f"{label}){result}", tuple(places))


def signature_text(function: Function, name: str | None = None) -> str:
    """All signatures of a function, a line each."""
    lines = (signature_line(name or function.name, signature).label for signature in function.signatures)
    return "\n".join(dict.fromkeys(lines))


def signature_help(text: str, offset: int, target: Target) -> SignatureHelp | None:
    """Help on the innermost call that the cursor is in the arguments of; None outside any."""
    call = _call_at(text, offset)
    if call is None:
        return None
    name, place = call
    user = _user_function(text, name)
    if user is not None:
        line = _line(name, [parameter_text(parameter) for parameter in user.parameters], "")
        known = place if place < len(user.parameters) else None
        return SignatureHelp(name, (line,), 0, known, "A function of this text.")
    function = FUNCTIONS.find(name)
    if function is None or target.profile.function(function, name)[0] == "refuse":
        return None
    active = _fitting(function.signatures, place)
    lines = tuple(signature_line(name, signature) for signature in function.signatures)
    return SignatureHelp(name, lines, active, _parameter(function.signatures[active], place), function.doc)


def _fitting(signatures: Sequence[Signature], place: int) -> int:
    for index, signature in enumerate(signatures):
        if signature.most is None or place < max(signature.most, 1):
            return index
    return len(signatures) - 1


def _parameter(signature: Signature, place: int) -> int | None:
    if signature.most is None:
        return min(place, len(signature.params) - 1)
    return place if place < signature.most else None


def _call_at(text: str, offset: int) -> tuple[str, int] | None:
    """The name of the innermost call around the cursor, and which argument is being typed."""
    tokens, _ = tokenize(SourceText(text[:offset]))
    stack: list[tuple[str, int]] = []
    previous: Token | None = None
    for token in tokens:
        if token.kind == OP and token.text in _OPEN:
            name = previous.text if previous is not None and previous.kind == NAME else ""
            called = token.text == "(" and name not in CLAUSE_WORDS and name not in OPERATORS
            stack.append((name if called else "", 0))
        elif token.kind == OP and token.text in (")", "]", "}"):
            if stack:
                stack.pop()
        elif token.kind == OP and token.text == "," and stack:
            stack[-1] = (stack[-1][0], stack[-1][1] + 1)
        elif token.kind == OP and token.text in ("|", ";") and stack:
            stack[-1] = ("", 0)
        previous = token
    return next((entry for entry in reversed(stack) if entry[0]), None)


def _user_function(text: str, name: str) -> n.LetFunction | None:
    if f"let {name}" not in text:
        return None
    script = Parser(SourceText(text)).script()
    for statement in reversed(script.statements):
        if isinstance(statement, n.LetFunction) and statement.name == name:
            return statement
    return None
