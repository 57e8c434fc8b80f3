"""The content of `dynamic(...)`: JSON with KQL's strings and typed literals, kept as canonical JSON text."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta

from headrace.kql.syntax import nodes as n
from headrace.kql.syntax.lexer import NAME, NUMBER, STRING, TIMESPAN, TYPED, string_value
from headrace.kql.syntax.stream import TokenStream
from headrace.kql.types import KustoType


def dynamic_text(stream: TokenStream, literal: Callable[[], n.Expression]) -> str:
    """The JSON text of the value at hand; number digits stay as written. `literal` parses a KQL literal."""
    with stream.nested():
        return _value(stream, literal)


def _value(stream: TokenStream, literal: Callable[[], n.Expression]) -> str:
    token = stream.token
    if token.kind == STRING:
        stream.advance()
        return json.dumps(string_value(token.text), ensure_ascii=False)
    if stream.accept("["):
        return _array(stream, literal)
    if stream.accept("{"):
        return _object(stream, literal)
    if token.text in ("-", "+") and stream.peek().kind == NUMBER:
        stream.advance()
        return ("-" if token.text == "-" else "") + _number(stream.advance().text)
    if token.kind == NUMBER:
        return _number(stream.advance().text)
    if (token.kind == NAME and token.text.lower() in ("true", "false")) or token.text == "null":
        return stream.advance().text.lower()
    if token.kind == NAME and token.text == "dynamic" and stream.peek().text == "(":
        stream.skip(2)
        text = dynamic_text(stream, literal)
        stream.expect(")", "to close `dynamic`")
        return text
    if token.kind in (TYPED, TIMESPAN):
        return _typed(literal())
    raise stream.fail(
        f"A dynamic literal holds JSON; {stream.shown()} is none.", hint="Use `bag_pack` or `pack_array`."
    )


def _number(text: str) -> str:
    if text[:2] in ("0x", "0X"):
        return str(int(text, 16))
    if text.endswith("."):
        return text + "0"
    return text.lstrip("0") or "0" if text.isdigit() else text


def _array(stream: TokenStream, literal: Callable[[], n.Expression]) -> str:
    items: list[str] = []
    while not stream.at("]"):
        items.append(dynamic_text(stream, literal))
        if not stream.accept(","):
            break
    if stream.token.kind == STRING:
        stream.fail(f"Expected `,` or `]` after a value of the array, found {stream.shown()}.")
    stream.expect("]", "to close the array")
    return "[" + ",".join(items) + "]"


def _object(stream: TokenStream, literal: Callable[[], n.Expression]) -> str:
    members: dict[str, str] = {}
    while not stream.at("}"):
        if stream.token.kind != STRING:
            stream.fail(f"A property's name in a dynamic literal is a string, found {stream.shown()}.")
        key = json.dumps(string_value(stream.advance().text), ensure_ascii=False)
        stream.expect(":", "after the property's name")
        members[key] = dynamic_text(stream, literal)
        if not stream.accept(","):
            break
    if stream.token.kind == STRING:
        stream.fail(f"Expected `,` or `}}` after a property of the object, found {stream.shown()}.")
    stream.expect("}", "to close the object")
    return "{" + ",".join(f"{key}:{value}" for key, value in members.items()) + "}"


def _typed(literal: n.Expression) -> str:
    if not isinstance(literal, n.Literal) or literal.value is None:
        return "null"
    if literal.type is KustoType.DATETIME:
        return f'"{format_datetime(literal.value)}"'
    if literal.type is KustoType.TIMESPAN:
        return f'"{format_timespan(literal.value)}"'
    if literal.type is KustoType.BOOL:
        return "true" if literal.value else "false"
    if literal.type in (KustoType.GUID, KustoType.STRING):
        return json.dumps(literal.value, ensure_ascii=False)
    return str(literal.value)


def format_timespan(ticks: int) -> str:
    """`[-][d.]hh:mm:ss[.fffffff]`."""
    sign = "-" if ticks < 0 else ""
    seconds, fraction = divmod(abs(ticks), 10_000_000)
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    text = f"{sign}{f'{days}.' if days else ''}{hour:02}:{minute:02}:{second:02}"
    return f"{text}.{fraction:07}" if fraction else text


def format_datetime(ticks: int) -> str:
    """ISO 8601 with seven decimals and Z."""
    seconds, fraction = divmod(ticks, 10_000_000)
    moment = datetime(1970, 1, 1) + timedelta(seconds=seconds)
    return f"{moment.year:04}-{moment:%m-%dT%H:%M:%S}.{fraction:07}Z"
