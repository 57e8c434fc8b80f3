"""The formatter: a text in, the same text in canonical layout out."""

from __future__ import annotations

from headrace.kql.editor.layout import lay_out
from headrace.kql.editor.tokens import words
from headrace.kql.model import KqlError
from headrace.kql.syntax.lexer import END, tokenize
from headrace.kql.syntax.parser import parse
from headrace.kql.syntax.walk import shape


def format_text(text: str) -> str:
    """One operator a line, `|` first, plain spacing, long lists wrapped; comments stay.

    Formatting what is formatted changes nothing, and the tree of the text stays what it was. Raises `KqlError`
    with the problems of a text that does not parse.
    """
    script, source, problems = parse(text)
    if problems:
        raise KqlError(problems)
    tokens, _ = tokenize(source)
    if len(tokens) == 1 and tokens[0].kind == END and "//" not in text:
        return ""
    formatted = lay_out(words(text, tokens, script))
    again, other, problems = parse(formatted)
    if problems or [token.text for token in tokenize(other)[0]] != [token.text for token in tokens]:
        return text
    return formatted if shape(again) == shape(script) else text
