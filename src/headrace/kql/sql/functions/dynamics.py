"""Lowerings over arrays, property bags and sets.

Small shapes are built and read as JSON text by the engine; what needs to walk a value is Python's.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from headrace.kql.sql.functions import build as b
from headrace.kql.sql.functions.base import Typed, lowers, lowers_several
from headrace.kql.sql.functions.convert import (
    BOOL,
    DYNAMIC,
    INT,
    LONG,
    REAL,
    STRING,
    member,
    quoted,
    to_dynamic_of,
)
from headrace.kql.sql.functions.direct import by_python
from headrace.kql.sql.functions.strings import constant_text


def element(argument: Typed) -> exp.Expression:
    """The argument as JSON text inside a container: null is spelled out."""
    if argument.constant is not None and argument.constant.value is not None:
        return to_dynamic_of(argument)
    return b.coalesce(to_dynamic_of(argument), "null")


def elements(sql: exp.Expression) -> exp.Expression:
    """An array's elements as a list of JSON texts (NULL for null); NULL for what is no array."""
    return b.call("kql_json_list", sql)


def array_of(listed: exp.Expression) -> exp.Expression:
    """A list of JSON texts as an array."""
    return b.call("kql_list_json", listed)


@lowers("array_length")
def array_length(arguments: Sequence[Typed]) -> exp.Expression:
    """Null of anything but an array."""
    sql = arguments[0].sql
    length = b.cast(b.call("json_array_length", sql), "BIGINT")
    return b.when(b.call("starts_with", b.again(sql), "["), length)


@lowers("pack_array")
def pack_array(arguments: Sequence[Typed]) -> exp.Expression:
    """Text joined to text: keeps digits and is quick."""
    parts: list[exp.Expression] = [b.text("[")]
    for index, argument in enumerate(arguments):
        if index:
            parts.append(b.text(","))
        parts.append(element(argument))
    parts.append(b.text("]"))
    return b.call("concat", *parts)


@lowers("bag_pack", "pack")
def bag_pack(arguments: Sequence[Typed]) -> exp.Expression:
    """Text joined to text. Of a key given twice the last one wins, as JSON readers have it."""
    parts: list[exp.Expression] = [b.text("{")]
    for index in range(0, len(arguments), 2):
        key, value = arguments[index], arguments[index + 1]
        if index:
            parts.append(b.text(","))
        known = constant_text(key)
        if known is not None:
            parts.append(b.text(quoted(known) + ":"))
        else:
            parts.extend([b.cast(b.call("to_json", key.sql), "VARCHAR"), b.text(":")])
        parts.append(element(value))
    parts.append(b.text("}"))
    return b.call("concat", *parts)


_EMPTY = {STRING: ("",), DYNAMIC: ("{}", "[]", '""')}


@lowers("__pack_known")
def pack_known(arguments: Sequence[Typed]) -> exp.Expression:
    """As `bag_pack`, each member only where it has a value; the first comma is cut off."""
    parts: list[exp.Expression] = []
    for key, value in zip(arguments[::2], arguments[1::2], strict=True):
        empty = [b.text(text) for text in _EMPTY.get(value.type, ())]
        known = b.is_not_null(value.sql)
        if empty:
            known = b.both(known, b.negation(exp.In(this=b.again(value.sql), expressions=empty)))
        name = b.text("," + quoted(constant_text(key) or "") + ":")
        parts.append(b.when(known, b.call("concat", name, to_dynamic_of(value)), b.text("")))
    return b.call("concat", "{", b.call("substr", b.call("concat", *parts), 2), "}")


@lowers("array_concat")
def array_concat(arguments: Sequence[Typed]) -> exp.Expression:
    """Null if one of them is no array."""
    if len(arguments) == 1:
        return array_of(elements(arguments[0].sql))
    joined = elements(arguments[0].sql)
    known = [b.is_not_null(b.again(joined))]
    for argument in arguments[1:]:
        more = elements(argument.sql)
        known.append(b.is_not_null(b.again(more)))
        joined = b.call("list_concat", joined, more)
    return b.when(b.both(*known), array_of(joined))


@lowers("array_reverse")
def array_reverse(arguments: Sequence[Typed]) -> exp.Expression:
    """A value that is no array stays null."""
    sql = arguments[0].sql
    return b.when(b.call("starts_with", sql, "["), array_of(b.call("list_reverse", elements(b.again(sql)))))


@lowers("array_index_of")
def array_index_of(arguments: Sequence[Typed]) -> exp.Expression:
    """From 0, -1 if it is not there, null of no array."""
    value = to_dynamic_of(arguments[1])
    rest = [argument.sql for argument in arguments[2:]]
    return b.cast(b.python("array_index_of", arguments[0].sql, value, *rest), "BIGINT")


@lowers("range")
def range_(arguments: Sequence[Typed]) -> exp.Expression:
    """At most 1,048,576 elements."""
    kind = arguments[0].type
    steps = {LONG: b.long(1), INT: b.long(1), REAL: b.real(1.0)}
    step = arguments[2].sql if len(arguments) == 3 else steps.get(kind, b.long(36_000_000_000))
    return b.python("range", b.text(kind.value), arguments[0].sql, arguments[1].sql, step)


@lowers("repeat")
def repeat(arguments: Sequence[Typed]) -> exp.Expression:
    """An array of one value."""
    return b.python("repeat", element(arguments[0]), arguments[1].sql)


@lowers("set_has_element")
def set_has_element(arguments: Sequence[Typed]) -> exp.Expression:
    """Numbers are compared as numbers, text in the same case."""
    value = to_dynamic_of(arguments[1])
    return b.cast(b.python("set_has_element", arguments[0].sql, value), "BOOLEAN")


@lowers("bag_keys")
def bag_keys(arguments: Sequence[Typed]) -> exp.Expression:
    """In order; null of anything but an object."""
    sql = arguments[0].sql
    keys = b.cast(b.call("to_json", b.call("json_keys", sql)), "VARCHAR")
    return b.when(b.call("starts_with", b.again(sql), "{"), keys)


@lowers("bag_set_key")
def bag_set_key(arguments: Sequence[Typed]) -> exp.Expression:
    """A key, or a path that starts with `$`."""
    return b.python("bag_set_key", arguments[0].sql, arguments[1].sql, element(arguments[2]))


def _shifted(name: str) -> None:
    def lowering(arguments: Sequence[Typed]) -> exp.Expression:
        rest = [element(argument) for argument in arguments[2:]]
        return b.python(name, arguments[0].sql, arguments[1].sql, *rest)

    lowers(name)(lowering)


for _name in ("array_shift_left", "array_shift_right", "array_rotate_left", "array_rotate_right"):
    _shifted(_name)


by_python(
    "array_split",
    "zip",
    "set_union",
    "set_intersect",
    "set_difference",
    "bag_merge",
    "bag_remove_keys",
    "bag_zip",
    "treepath",
    "dynamic_to_json",
    json=True,
)
by_python("array_slice", "array_sum", "bag_has_key", "set_equals", "jaccard_index", "parse_xml", "__xml_path")


def _sorted(name: str) -> None:
    def packed(arguments: Sequence[Typed]) -> tuple[exp.Expression, int]:
        arrays = [argument.sql for argument in arguments if argument.type is not BOOL]
        nulls_last = arguments[-1].sql if arguments[-1].type is BOOL else b.true()
        return b.python(name, nulls_last, *arrays), len(arrays)

    def several(arguments: Sequence[Typed]) -> Sequence[exp.Expression]:
        made, count = packed(arguments)
        return [member(b.again(made), f"$[{index}]") for index in range(count)]

    def lowering(arguments: Sequence[Typed]) -> exp.Expression:
        # As one value, several sorted arrays are an array of arrays.
        made, count = packed(arguments)
        return made if count > 1 else member(made, "$[0]")

    lowers_several(name)(several)
    lowers(name)(lowering)


_sorted("array_sort_asc")
_sorted("array_sort_desc")
