"""String functions: cutting, joining, searching, replacing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from headrace.kql.bind.functions.declare import (
    BOOL,
    DOCUMENTED,
    DYNAMIC,
    LONG,
    STRING,
    scalar,
    way,
)
from headrace.kql.bind.functions.registry import Argument, Mismatch, Naming
from headrace.kql.types import KustoType, parse_type


def named_type(arguments: Sequence[Argument]) -> KustoType:
    """The type that the last argument, a `typeof(...)`, names. Raises `Mismatch`."""
    constant = arguments[-1].constant
    kind = parse_type(constant.value) if constant and isinstance(constant.value, str) else None
    if kind is None:
        raise Mismatch("needs a type such as `typeof(long)`", len(arguments) - 1)
    return kind


_listed = partial(scalar, family="strings", transform=DOCUMENTED)
_extended = partial(scalar, family="strings")

FUNCTIONS = (
    _listed("strcat", "Joins 1 to 64 values, each as text.", "value+: any", STRING),
    _listed(
        "strcat_delim", "Joins values, as text, with a delimiter.", "delimiter: ~string, value+: any", STRING
    ),
    _extended(
        "strcat_array",
        "Joins an array's elements with a delimiter.",
        "array: dynamic, delimiter: ~string",
        STRING,
        aliases=("array_strcat",),
    ),
    _listed("strlen", "The number of characters.", "text: ~string", LONG, naming=Naming.PREFIX),
    _extended("string_size", "The number of bytes in UTF-8.", "text: ~string", LONG, naming=Naming.PREFIX),
    _extended(
        "strcmp",
        "-1, 0 or 1 as the first text sorts before, with or after the second.",
        "left: ~string, right: ~string",
        LONG,
    ),
    _extended(
        "strrep",
        "Repeats a value as text, with a delimiter between.",
        "value: ~string, times: long, delimiter?: ~string",
        STRING,
    ),
    _listed("tolower", "The text in lower case.", "text: ~string", STRING),
    _listed("toupper", "The text in upper case.", "text: ~string", STRING),
    _listed(
        "substring",
        "The part from a start (counted from 0) of a length.",
        "text: ~string, start: long, length?: long",
        STRING,
    ),
    _listed(
        "indexof",
        "Where a text first occurs, counted from 0; -1 if it does not.",
        "text: ~string, search: ~string, start?: long, length?: long, occurrence?: long",
        LONG,
    ),
    _extended(
        "indexof_regex",
        "Where a pattern first matches, counted from 0; -1 if it does not.",
        "text: ~string, pattern: string!, start?: long, length?: long, occurrence?: long",
        LONG,
    ),
    _extended("reverse", "The characters in reverse order.", "text: ~string", STRING),
    _listed(
        "split",
        "The parts between delimiters, as an array.",
        "text: ~string, delimiter: string, index?: long",
        DYNAMIC,
        naming=Naming.FIRST,
    ),
    _listed(
        "countof",
        "How often a text, or a pattern (kind `regex`), occurs.",
        "text: string, search: string, kind?: string!",
        LONG,
    ),
    _listed(
        "extract",
        "The part of the text that a group of the pattern matches; optionally converted to a type.",
        "pattern: string!, group: long, text: string",
        STRING,
        way("pattern: string!, group: long, text: string, type: string!", named_type),
    ),
    _listed(
        "extract_all",
        "All matches of the pattern, as an array of groups (of arrays when there are several).",
        "pattern: string!, text: string",
        DYNAMIC,
        way("pattern: string!, groups: dynamic, text: string", DYNAMIC),
        aliases=("extractall",),
    ),
    _extended(
        "extract_json",
        "The value at a JSON path of a JSON text; optionally converted to a type.",
        "path: string!, text: string",
        STRING,
        way("path: string!, text: string, type: string!", named_type),
        aliases=("extractjson",),
    ),
    _extended(
        "replace_regex",
        "Replaces all matches of the pattern; `\\1` stands for a group.",
        "text: string, pattern: string, rewrite: string",
        STRING,
    ),
    _extended(
        "replace",
        "Replaces all matches of the pattern (an old name with the pattern first).",
        "pattern: string, rewrite: string, text: string",
        STRING,
    ),
    _extended(
        "replace_string",
        "Replaces all occurrences of a text.",
        "text: string, search: string, rewrite: string",
        STRING,
    ),
    _extended(
        "replace_strings",
        "Replaces every text of an array by its partner.",
        "text: string, searches: dynamic, rewrites: dynamic",
        STRING,
    ),
    _extended("trim", "Cuts matches of the pattern off both ends.", "pattern: string, text: string", STRING),
    _extended(
        "trim_start", "Cuts a match of the pattern off the start.", "pattern: string, text: string", STRING
    ),
    _extended(
        "trim_end", "Cuts a match of the pattern off the end.", "pattern: string, text: string", STRING
    ),
    _extended(
        "translate",
        "Replaces characters by their partners.",
        "search: string, replacement: string, text: string",
        STRING,
    ),
    _extended("regex_quote", "The text as a pattern that matches just it.", "text: ~string", STRING),
    _extended(
        "unicode_codepoints_from_string",
        "The characters' code points, as an array.",
        "text: ~string",
        DYNAMIC,
        aliases=("to_utf8",),
    ),
    _extended(
        "unicode_codepoints_to_string",
        "The text of code points.",
        "value+: long|int|dynamic",
        STRING,
        aliases=("make_string",),
    ),
    _extended(
        "has_any_index",
        "Which of the terms the text holds first, counted from 0; -1 if none.",
        "text: string, terms: dynamic",
        LONG,
    ),
    _listed("isempty", "Whether a text is empty, or a value null.", "value: any", BOOL),
    _listed(
        "isnotempty",
        "Whether a text is not empty, or a value not null.",
        "value: any",
        BOOL,
        aliases=("notempty",),
    ),
    _extended("isascii", "Whether all characters are ASCII.", "text: ~string", BOOL),
    _extended("isutf8", "Whether the text is valid UTF-8: always.", "text: ~string", BOOL),
    _extended(
        "tohex", "A number in hexadecimal.", "value: integer, length?: long", STRING, naming=Naming.FIRST
    ),
    _extended(
        "parse_command_line",
        "The arguments of a Windows command line.",
        "text: string, parser: string!",
        DYNAMIC,
    ),
    _extended("parse_csv", "The fields of one line of CSV.", "text: string", DYNAMIC, naming=Naming.FIRST),
    _extended("parse_path", "The parts of a file path.", "path: string", DYNAMIC),
    _extended(
        "format_bytes",
        "A number of bytes in a readable unit.",
        "bytes: number, precision?: long!, unit?: string!",
        STRING,
        naming=Naming.FIRST,
    ),
    _extended("punycode_from_string", "The text in Punycode.", "text: string", STRING),
    _extended("punycode_to_string", "The text that Punycode stands for.", "text: string", STRING),
    _extended(
        "punycode_domain_from_string",
        "The domain name that an ASCII form stands for.",
        "text: string",
        STRING,
    ),
    _extended("punycode_domain_to_string", "The domain name in its ASCII form.", "text: string", STRING),
)
