"""String functions: cutting, joining, searching, replacing."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.kql.bind.functions.declare import (
    BOOL,
    DOCUMENTED,
    DYNAMIC,
    LONG,
    STRING,
    scalar,
    way,
)
from headrace.kql.bind.functions.registry import Argument, Function, Mismatch, Naming, Surface
from headrace.kql.types import KustoType, parse_type


def named_type(arguments: Sequence[Argument]) -> KustoType:
    """The type that the last argument, a `typeof(...)`, names. Raises `Mismatch`."""
    constant = arguments[-1].constant
    kind = parse_type(constant.value) if constant and isinstance(constant.value, str) else None
    if kind is None:
        raise Mismatch("needs a type such as `typeof(long)`", len(arguments) - 1)
    return kind


def _declare(
    name: str,
    doc: str,
    text: str,
    result: KustoType = STRING,
    *,
    aliases: tuple[str, ...] = (),
    listed: bool = False,
    naming: Naming = Naming.COLUMN,
) -> Function:
    return scalar(
        name,
        doc,
        text,
        result,
        family="strings",
        aliases=aliases,
        transform=DOCUMENTED if listed else Surface.EXTENDED,
        naming=naming,
    )


FUNCTIONS = (
    _declare("strcat", "Joins 1 to 64 values, each as text.", "value+: any", listed=True),
    _declare(
        "strcat_delim",
        "Joins values, as text, with a delimiter.",
        "delimiter: ~string, value+: any",
        listed=True,
    ),
    _declare(
        "strcat_array",
        "Joins an array's elements with a delimiter.",
        "array: dynamic, delimiter: ~string",
        aliases=("array_strcat",),
    ),
    _declare("strlen", "The number of characters.", "text: ~string", LONG, listed=True, naming=Naming.PREFIX),
    _declare("string_size", "The number of bytes in UTF-8.", "text: ~string", LONG, naming=Naming.PREFIX),
    _declare(
        "strcmp",
        "-1, 0 or 1 as the first text sorts before, with or after the second.",
        "left: ~string, right: ~string",
        LONG,
    ),
    _declare(
        "strrep",
        "Repeats a value as text, with a delimiter between.",
        "value: ~string, times: long, delimiter?: ~string",
    ),
    _declare("tolower", "The text in lower case.", "text: ~string", listed=True),
    _declare("toupper", "The text in upper case.", "text: ~string", listed=True),
    _declare(
        "substring",
        "The part from a start (counted from 0) of a length.",
        "text: ~string, start: long, length?: long",
        listed=True,
    ),
    _declare(
        "indexof",
        "Where a text first occurs, counted from 0; -1 if it does not.",
        "text: ~string, search: ~string, start?: long, length?: long, occurrence?: long",
        LONG,
        listed=True,
    ),
    _declare(
        "indexof_regex",
        "Where a pattern first matches, counted from 0; -1 if it does not.",
        "text: ~string, pattern: string!, start?: long, length?: long, occurrence?: long",
        LONG,
    ),
    _declare("reverse", "The characters in reverse order.", "text: ~string"),
    _declare(
        "split",
        "The parts between delimiters, as an array.",
        "text: ~string, delimiter: string, index?: long",
        DYNAMIC,
        listed=True,
        naming=Naming.FIRST,
    ),
    _declare(
        "countof",
        "How often a text, or a pattern (kind `regex`), occurs.",
        "text: string, search: string, kind?: string!",
        LONG,
        listed=True,
    ),
    scalar(
        "extract",
        "The part of the text that a group of the pattern matches; optionally converted to a type.",
        "pattern: string!, group: long, text: string",
        STRING,
        way("pattern: string!, group: long, text: string, type: string!", named_type),
        family="strings",
        transform=DOCUMENTED,
    ),
    scalar(
        "extract_all",
        "All matches of the pattern, as an array of groups (of arrays when there are several).",
        "pattern: string!, text: string",
        DYNAMIC,
        way("pattern: string!, groups: dynamic, text: string", DYNAMIC),
        family="strings",
        aliases=("extractall",),
        transform=DOCUMENTED,
    ),
    scalar(
        "extract_json",
        "The value at a JSON path of a JSON text; optionally converted to a type.",
        "path: string!, text: string",
        STRING,
        way("path: string!, text: string, type: string!", named_type),
        family="strings",
        aliases=("extractjson",),
    ),
    _declare(
        "replace_regex",
        "Replaces all matches of the pattern; `\\1` stands for a group.",
        "text: string, pattern: string, rewrite: string",
    ),
    _declare(
        "replace",
        "Replaces all matches of the pattern (an old name with the pattern first).",
        "pattern: string, rewrite: string, text: string",
    ),
    _declare(
        "replace_string",
        "Replaces all occurrences of a text.",
        "text: string, search: string, rewrite: string",
    ),
    _declare(
        "replace_strings",
        "Replaces every text of an array by its partner.",
        "text: string, searches: dynamic, rewrites: dynamic",
    ),
    _declare("trim", "Cuts matches of the pattern off both ends.", "pattern: string, text: string"),
    _declare("trim_start", "Cuts a match of the pattern off the start.", "pattern: string, text: string"),
    _declare("trim_end", "Cuts a match of the pattern off the end.", "pattern: string, text: string"),
    _declare(
        "translate",
        "Replaces characters by their partners.",
        "search: string, replacement: string, text: string",
    ),
    _declare("regex_quote", "The text as a pattern that matches just it.", "text: ~string"),
    _declare(
        "unicode_codepoints_from_string",
        "The characters' code points, as an array.",
        "text: ~string",
        DYNAMIC,
        aliases=("to_utf8",),
    ),
    _declare(
        "unicode_codepoints_to_string",
        "The text of code points.",
        "value+: long|int|dynamic",
        aliases=("make_string",),
    ),
    _declare(
        "has_any_index",
        "Which of the terms the text holds first, counted from 0; -1 if none.",
        "text: string, terms: dynamic",
        LONG,
    ),
    _declare("isempty", "Whether a text is empty, or a value null.", "value: any", BOOL, listed=True),
    _declare(
        "isnotempty",
        "Whether a text is not empty, or a value not null.",
        "value: any",
        BOOL,
        listed=True,
        aliases=("notempty",),
    ),
    _declare("isascii", "Whether all characters are ASCII.", "text: ~string", BOOL),
    _declare("isutf8", "Whether the text is valid UTF-8: always.", "text: ~string", BOOL),
    _declare("tohex", "A number in hexadecimal.", "value: integer, length?: long", naming=Naming.FIRST),
    _declare(
        "parse_command_line",
        "The arguments of a Windows command line.",
        "text: string, parser: string!",
        DYNAMIC,
    ),
    _declare("parse_csv", "The fields of one line of CSV.", "text: string", DYNAMIC, naming=Naming.FIRST),
    _declare("parse_path", "The parts of a file path.", "path: string", DYNAMIC),
    _declare(
        "format_bytes",
        "A number of bytes in a readable unit.",
        "bytes: number, precision?: long!, unit?: string!",
        naming=Naming.FIRST,
    ),
    _declare("punycode_from_string", "The text in Punycode.", "text: string"),
    _declare("punycode_to_string", "The text that Punycode stands for.", "text: string"),
    _declare("punycode_domain_from_string", "The domain name that an ASCII form stands for.", "text: string"),
    _declare("punycode_domain_to_string", "The domain name in its ASCII form.", "text: string"),
)
