"""Lowerings of string functions."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sqlglot import exp

from headrace.kql.bind.patterns import capture_groups
from headrace.kql.sql.functions import build as b
from headrace.kql.sql.functions.base import Typed, lowers
from headrace.kql.sql.functions.convert import (
    DYNAMIC,
    INT,
    STRING,
    converted,
    text_or_null,
    to_string,
)
from headrace.kql.sql.functions.direct import by_engine, by_python
from headrace.kql.types import KustoType, parse_type

_MOST_CHARACTERS = 2**31
"""No text is longer; the engine takes no greater numbers."""


def constant_text(argument: Typed) -> str | None:
    """The text of a constant string."""
    if argument.constant is not None and isinstance(argument.constant.value, str):
        return argument.constant.value
    return None


def constant_long(argument: Typed) -> int | None:
    """The number of a constant integer."""
    if argument.constant is not None and isinstance(argument.constant.value, int):
        return argument.constant.value
    return None


@lowers("strcat")
def strcat(arguments: Sequence[Typed]) -> exp.Expression:
    """Nulls are empty text, which `concat` passes over."""
    return b.call(
        "concat", *[member.sql if member.type is STRING else text_or_null(member) for member in arguments]
    )


@lowers("strcat_delim")
def strcat_delim(arguments: Sequence[Typed]) -> exp.Expression:
    """Empty texts keep their delimiters."""
    return b.call("concat_ws", arguments[0].sql, *[to_string(argument) for argument in arguments[1:]])


def texts(array: exp.Expression) -> exp.Expression:
    """A dynamic array's elements as a list of texts, none null; NULL for no array."""
    name = "kql_e"
    element = b.coalesce(b.call("kql_json_text", b.name_(name)), "")
    return b.call("list_transform", b.call("kql_json_list", array), b.lambda_(name, element))


def array_of_texts(listed: exp.Expression) -> exp.Expression:
    """A list of texts as a dynamic array."""
    made = b.call("to_json", listed)
    made.set("kql_texts", True)
    return b.cast(made, "VARCHAR")


@lowers("strcat_array")
def strcat_array(arguments: Sequence[Typed]) -> exp.Expression:
    """Null elements are empty."""
    if constant_text(arguments[1]) is None:
        return b.coalesce(b.python("strcat_array", arguments[0].sql, arguments[1].sql), "")
    return b.coalesce(b.call("array_to_string", texts(arguments[0].sql), arguments[1].sql), "")


@lowers("string_size")
def string_size(arguments: Sequence[Typed]) -> exp.Expression:
    """Bytes."""
    return b.cast(b.call("strlen", arguments[0].sql), "BIGINT")


@lowers("strcmp")
def strcmp(arguments: Sequence[Typed]) -> exp.Expression:
    """By code points."""
    left, right = arguments[0].sql, arguments[1].sql
    return b.cast(
        b.choose(
            [
                (exp.LT(this=b.wrap(left), expression=b.wrap(right)), b.number(-1)),
                (b.equals(b.again(left), b.again(right)), b.number(0)),
            ],
            b.number(1),
        ),
        "BIGINT",
    )


@lowers("strrep")
def strrep(arguments: Sequence[Typed]) -> exp.Expression:
    """At most 1024 times, as the reference says."""
    times = b.call("least", b.call("greatest", arguments[1].sql, 0), 1024)
    if len(arguments) == 2:
        return b.call("repeat", arguments[0].sql, times)
    last = b.when(
        exp.GT(this=b.wrap(b.again(arguments[1].sql)), expression=b.number(0)), b.again(arguments[0].sql)
    )
    more = b.call("repeat", b.call("concat", arguments[0].sql, arguments[2].sql), b.subtract(times, 1))
    return b.call("concat", more, last)


@lowers("substring")
def substring(arguments: Sequence[Typed]) -> exp.Expression:
    """A negative start counts from the end; a start before the text takes it from its first character."""
    source, start = arguments[0].sql, arguments[1]
    known = constant_long(start)
    if known is not None and known >= 0:
        first: exp.Expression = b.number(min(known, _MOST_CHARACTERS) + 1)
    else:
        from_end = b.call(
            "greatest", b.add(b.call("length", b.again(source)), b.add(b.again(start.sql), 1)), 1
        )
        forward = b.add(b.call("least", b.again(start.sql), _MOST_CHARACTERS), 1)
        first = b.when(b.less(start.sql, 0), from_end, forward)
    if len(arguments) == 2:
        return b.coalesce(b.call("substring", source, first), "")
    size = constant_long(arguments[2])
    length: exp.Expression
    if size is None:
        length = b.call("least", b.call("greatest", arguments[2].sql, 0), _MOST_CHARACTERS)
    else:
        length = b.number(min(max(size, 0), _MOST_CHARACTERS))
    cut = b.call("substring", source, first, length)
    if known is not None and size is not None:
        return cut
    return b.coalesce(cut, "")


@lowers("indexof")
def indexof(arguments: Sequence[Typed]) -> exp.Expression:
    """From 0; the common form is a plain search."""
    if len(arguments) == 2:
        return b.subtract(b.call("strpos", arguments[0].sql, arguments[1].sql), 1)
    return b.cast(b.python("indexof", *[argument.sql for argument in arguments]), "BIGINT")


@lowers("indexof_regex")
def indexof_regex(arguments: Sequence[Typed]) -> exp.Expression:
    """The place of a match is found by the length of what stands before it."""
    if len(arguments) > 2:
        return b.cast(b.python("indexof_regex", *[argument.sql for argument in arguments]), "BIGINT")
    source, pattern = arguments[0].sql, arguments[1].sql
    before = b.call("concat", "(?s)^(.*?)(?:", pattern, ")")
    found = b.call("regexp_extract", source, before, b.number(1))
    return b.when(
        b.call("regexp_matches", b.again(source), b.again(pattern)),
        b.call("length", found),
        b.long(-1),
    )


@lowers("split")
def split(arguments: Sequence[Typed]) -> exp.Expression:
    """An array of texts; with an index an array of just that part."""
    parts = b.call("string_split", arguments[0].sql, arguments[1].sql)
    if constant_text(arguments[1]) is None:
        # The engine would cut at every character.
        parts = b.when(b.equals(b.again(arguments[1].sql), ""), b.array([b.again(arguments[0].sql)]), parts)
    elif constant_text(arguments[1]) == "":
        parts = b.array([arguments[0].sql])
    if len(arguments) == 2:
        return array_of_texts(parts)
    return b.when(
        is_inside(parts, arguments[2].sql),
        array_of_texts(b.array([b.call("list_extract", b.again(parts), b.add(arguments[2].sql, 1))])),
        b.text("[]"),
    )


def is_inside(listed: exp.Expression, place: exp.Expression) -> exp.Expression:
    """Whether the place, from 0, is one of the list."""
    return b.both(b.at_least(b.again(place), 0), b.less(b.again(place), b.call("len", b.again(listed))))


@lowers("countof")
def countof(arguments: Sequence[Typed]) -> exp.Expression:
    """Plain occurrences may overlap, matches of a pattern do not."""
    source, search = arguments[0].sql, arguments[1]
    if len(arguments) == 3 and constant_text(arguments[2]) == "regex":
        return b.cast(b.call("len", b.call("regexp_extract_all", source, search.sql)), "BIGINT")
    known = constant_text(search)
    if known and not any(known.startswith(known[index:]) for index in range(1, len(known))):
        shorter = b.call("length", b.call("replace", b.again(source), search.sql, ""))
        return b.whole(b.subtract(b.call("length", source), shorter), len(known))
    return b.cast(b.python("countof", source, search.sql), "BIGINT")


@lowers("extract")
def extract(arguments: Sequence[Typed]) -> exp.Expression:
    """A group of the first match; as text it is empty where there is no match."""
    pattern, group, source = arguments[0], arguments[1], arguments[2].sql
    place = constant_long(group)
    if place is not None and 0 <= place <= 9:
        found: exp.Expression = b.call("regexp_extract", source, pattern.sql, b.number(place))
    elif place is not None and 9 < place <= capture_groups(constant_text(pattern) or ""):
        # The engine takes group numbers up to 9, and any number of names.
        names = b.array([b.text(f"g{number}") for number in range(1, place + 1)])
        found = b.call("struct_extract", b.call("regexp_extract", source, pattern.sql, names), f"g{place}")
    else:
        found = b.coalesce(b.python("extract", pattern.sql, group.sql, source), "")
    if len(arguments) == 3:
        return found
    return converted(b.null_if(found, ""), STRING, _named(arguments[3]))


def _named(argument: Typed) -> KustoType:
    return parse_type(constant_text(argument) or "") or STRING


@lowers("extract_all")
def extract_all(arguments: Sequence[Typed]) -> exp.Expression:
    """Matches in order; one group gives texts, several give arrays; null if nothing matches."""
    pattern, source = arguments[0], arguments[-1].sql
    count = capture_groups(constant_text(pattern) or "")
    asked: object = list(range(1, count + 1)) or [0]
    if len(arguments) == 3:
        given = arguments[1].constant
        asked = json.loads(str(given.value)) if given is not None and given.value is not None else None
    if (
        not isinstance(asked, list)
        or not asked
        or not all(isinstance(item, int) and 0 <= item <= min(count, 9) for item in asked)
    ):
        groups = arguments[1].sql if len(arguments) == 3 else b.null("VARCHAR")
        return b.python("extract_all", pattern.sql, groups, source)
    lists = [
        b.call("regexp_extract_all", b.again(source), b.again(pattern.sql), b.number(item)) for item in asked
    ]
    if len(lists) == 1:
        return b.null_if(array_of_texts(lists[0]), "[]")
    place = "kql_i"
    row = b.array([b.call("list_extract", item, b.name_(place)) for item in lists])
    places = b.call("range", b.number(1), b.add(b.call("len", b.again(lists[0])), 1))
    return b.null_if(array_of_texts(b.call("list_transform", places, b.lambda_(place, row))), "[]")


@lowers("extract_json")
def extract_json(arguments: Sequence[Typed]) -> exp.Expression:
    """The member of a JSON text at a path."""
    found = b.python("extract_json", arguments[0].sql, arguments[1].sql)
    kind = _named(arguments[2]) if len(arguments) == 3 else STRING
    return converted(found, DYNAMIC, kind)


@lowers("replace_regex")
def replace_regex(arguments: Sequence[Typed]) -> exp.Expression:
    """All matches."""
    return _replaced(*arguments)


@lowers("replace")
def replace(arguments: Sequence[Typed]) -> exp.Expression:
    """The old order of parameters."""
    return _replaced(arguments[2], arguments[0], arguments[1])


def _replaced(source: Typed, pattern: Typed, rewrite: Typed) -> exp.Expression:
    return b.call("regexp_replace", source.sql, pattern.sql, rewrite.sql, "g")


@lowers("replace_string")
def replace_string(arguments: Sequence[Typed]) -> exp.Expression:
    """All occurrences."""
    source, search, rewrite = (argument.sql for argument in arguments)
    known = constant_text(arguments[1])
    replaced = b.call("replace", source, search, rewrite)
    if known:
        return replaced
    return b.when(b.equals(b.again(search), ""), b.again(source), replaced)


def _trimmed(source: exp.Expression, pattern: Typed, *, start: bool, end: bool) -> exp.Expression:
    known = constant_text(pattern)

    def affix(template: str) -> exp.Expression:
        before, after = template.split("@")
        if known is not None:
            return b.text(before + known + after)
        return b.call("concat", before, pattern.sql, after)

    result = source
    if start:
        result = b.call("regexp_replace", result, affix("^(?:@)"), "")
    if end:
        result = b.call("regexp_replace", result, affix("(?:@)$"), "")
    return result


def _trim(name: str, *, start: bool, end: bool) -> None:
    lowers(name)(lambda arguments: _trimmed(arguments[1].sql, arguments[0], start=start, end=end))


_trim("trim", start=True, end=True)
_trim("trim_start", start=True, end=False)
_trim("trim_end", start=False, end=True)


@lowers("isascii")
def isascii(arguments: Sequence[Typed]) -> exp.Expression:
    """As many bytes as characters."""
    source = arguments[0].sql
    return b.equals(b.call("length", source), b.call("strlen", b.again(source)))


@lowers("isutf8")
def isutf8(arguments: Sequence[Typed]) -> exp.Expression:
    """A string is valid by construction."""
    return b.true()


@lowers("tohex")
def tohex(arguments: Sequence[Typed]) -> exp.Expression:
    """Two's complement: 32 bits of an int, 64 of a long."""
    source = arguments[0]
    digits = b.call("lower", b.call("to_hex", source.sql))
    if source.type is INT:
        digits = b.call("lower", b.call("right", b.call("to_hex", b.cast(source.sql, "BIGINT")), 8))
    if len(arguments) == 1:
        return b.coalesce(digits, "")
    size = b.call("greatest", b.call("length", b.again(digits)), b.call("least", arguments[1].sql, 16))
    return b.coalesce(b.call("lpad", digits, b.cast(size, "INT"), "0"), "")


by_engine("reverse", strlen="length", tolower="lower", toupper="kql_upper")
by_python(
    "replace_strings",
    "translate",
    "regex_quote",
    "unicode_codepoints_from_string",
    "unicode_codepoints_to_string",
    "punycode_from_string",
    "punycode_to_string",
    "punycode_domain_from_string",
    "punycode_domain_to_string",
    "format_bytes",
    "parse_command_line",
    "parse_csv",
    "parse_path",
)
