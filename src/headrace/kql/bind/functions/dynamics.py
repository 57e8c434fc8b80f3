"""Functions over dynamic values: arrays, property bags, sets, XML."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from headrace.kql.bind.functions.declare import (
    BOOL,
    DOCUMENTED,
    DYNAMIC,
    LONG,
    REAL,
    STRING,
    scalar,
    way,
)
from headrace.kql.bind.functions.registry import (
    Argument,
    Mismatch,
    Naming,
    Resolution,
)

_listed = partial(scalar, family="dynamic", transform=DOCUMENTED)
_extended = partial(scalar, family="dynamic")


def _bag(arguments: Sequence[Argument]) -> Resolution:
    if len(arguments) % 2:
        raise Mismatch("needs pairs of key and value")
    types = []
    for index, argument in enumerate(arguments):
        types.append(STRING if index % 2 == 0 else argument.type)
    return Resolution(tuple(types), (DYNAMIC,))


def _sorted(arguments: Sequence[Argument]) -> Resolution:
    """Arrays, and at the end perhaps a bool: whether nulls come last."""
    arrays = list(arguments)
    if arrays[-1].type is BOOL and len(arrays) > 1:
        arrays.pop()
    for index, argument in enumerate(arrays):
        if argument.type is not DYNAMIC:
            raise Mismatch(f"takes arrays, not {argument.type}", index)
    types = tuple(argument.type for argument in arguments)
    return Resolution(types, tuple(DYNAMIC for _ in arrays))


_PACK_DOC = "An object of keys and values."

FUNCTIONS = (
    _listed(
        "array_length",
        "How many elements an array has; null of anything else.",
        "array: dynamic",
        LONG,
        aliases=("arraylength",),
    ),
    _listed("array_concat", "Several arrays as one.", "array+: dynamic", DYNAMIC),
    _listed("pack_array", "The values as an array.", "value*: any", DYNAMIC),
    _extended("bag_pack", _PACK_DOC, "pair*: any", DYNAMIC, aliases=("pack_dictionary",), resolver=_bag),
    _listed("pack", _PACK_DOC, "pair*: any", DYNAMIC, resolver=_bag),
    _extended(
        "__pack_known",
        "An object of keys and those values that are neither null nor empty.",
        "pair*: any",
        DYNAMIC,
        resolver=_bag,
    ),
    _listed("zip", "An array of the n-th elements of each array.", "array+: dynamic", DYNAMIC),
    _listed(
        "parse_xml", "The value of an XML text as objects.", "text: string", DYNAMIC, naming=Naming.FIRST
    ),
    _extended(
        "__xml_path",
        "The text that a simple XPath finds in an XML text.",
        "text: string, path: string",
        STRING,
    ),
    _extended("array_reverse", "The elements in reverse order.", "array: dynamic", DYNAMIC),
    _extended(
        "array_index_of",
        "Where a value stands in an array, counted from 0; -1 if it does not.",
        "array: dynamic, value: any, start?: long, length?: long, occurrence?: long",
        LONG,
    ),
    _extended(
        "array_slice",
        "The elements from a start to an end, both included; negative counts from the end.",
        "array: dynamic, start: long, end: long",
        DYNAMIC,
    ),
    _extended(
        "array_split",
        "The array cut at one index or several.",
        "array: dynamic, index: long|int|dynamic",
        DYNAMIC,
    ),
    _extended(
        "array_shift_left",
        "The elements moved left, null (or a default) moving in.",
        "array: dynamic, count: long, default?: any",
        DYNAMIC,
    ),
    _extended(
        "array_shift_right",
        "The elements moved right, null (or a default) moving in.",
        "array: dynamic, count: long, default?: any",
        DYNAMIC,
    ),
    _extended(
        "array_rotate_left", "The elements moved left, round the end.", "array: dynamic, count: long", DYNAMIC
    ),
    _extended(
        "array_rotate_right",
        "The elements moved right, round the end.",
        "array: dynamic, count: long",
        DYNAMIC,
    ),
    _extended(
        "array_sort_asc",
        "The array sorted upwards; more arrays follow the order of the first.",
        "array+: any",
        DYNAMIC,
        naming=Naming.SORTED,
        resolver=_sorted,
    ),
    _extended(
        "array_sort_desc",
        "The array sorted downwards; more arrays follow the order of the first.",
        "array+: any",
        DYNAMIC,
        naming=Naming.SORTED,
        resolver=_sorted,
    ),
    _extended("array_sum", "The sum of an array's numbers.", "array: dynamic", REAL),
    _extended(
        "range",
        "An array of evenly spaced values.",
        "start: long, stop: long, step?: long",
        DYNAMIC,
        way("start: real, stop: real, step?: real", DYNAMIC),
        way("start: datetime, stop: datetime, step?: timespan", DYNAMIC),
        way("start: timespan, stop: timespan, step?: timespan", DYNAMIC),
    ),
    _extended(
        "repeat",
        "An array of one value, a number of times.",
        "value: any, count: long",
        DYNAMIC,
        naming=Naming.PREFIX,
    ),
    _extended("set_union", "The distinct elements of all arrays.", "array+: dynamic", DYNAMIC),
    _extended("set_intersect", "The distinct elements that every array has.", "array+: dynamic", DYNAMIC),
    _extended(
        "set_difference",
        "The distinct elements of the first array that no other has.",
        "array+: dynamic",
        DYNAMIC,
    ),
    _extended("set_has_element", "Whether an array holds a value.", "array: dynamic, value: any", BOOL),
    _extended(
        "set_equals", "Whether two arrays hold the same elements.", "left: dynamic, right: dynamic", BOOL
    ),
    _extended(
        "jaccard_index",
        "The size of the intersection over that of the union.",
        "left: dynamic, right: dynamic",
        REAL,
    ),
    _extended("bag_keys", "The keys of an object, as an array.", "bag: dynamic", DYNAMIC),
    _extended(
        "bag_has_key", "Whether an object has a key (or a path `$.a.b`).", "bag: dynamic, key: string", BOOL
    ),
    _extended("bag_merge", "Several objects as one; the first to have a key wins.", "bag+: dynamic", DYNAMIC),
    _extended("bag_remove_keys", "The object without the keys.", "bag: dynamic, keys: dynamic", DYNAMIC),
    _extended(
        "bag_set_key",
        "The object with a key set to a value.",
        "bag: dynamic, key: string, value: any",
        DYNAMIC,
    ),
    _extended(
        "bag_zip",
        "An object of an array of keys and one of values.",
        "keys: dynamic, values: dynamic",
        DYNAMIC,
    ),
    _extended(
        "treepath", "All paths of an object.", "value: dynamic", DYNAMIC, naming=Naming.PREFIX, prefix="tree"
    ),
)
