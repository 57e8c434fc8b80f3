"""Arrays, property bags and sets as Python walks them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial

from headrace.kql.sql.udf.dates import moment_text, timespan_text
from headrace.kql.sql.udf.text import path_steps, step_into
from headrace.kql.sql.udf.values import (
    Json,
    as_bool,
    as_float,
    as_int,
    dump,
    identity,
    parse,
    parse_array,
    parse_bag,
)

MOST_ELEMENTS = 1_048_576


def _arithmetic(symbol: str | None, left: str | None, right: str | None) -> str | None:
    first, second = parse(left), parse(right)
    if not isinstance(first, int | float) or not isinstance(second, int | float):
        return None
    if symbol == "+":
        return dump(first + second)
    if symbol == "-":
        return dump(first - second)
    if symbol == "*":
        return dump(first * second)
    if second == 0:
        return None
    whole = isinstance(first, int) and isinstance(second, int)
    if symbol == "%":
        # Of floats, Python's own remainder rounds where fmod is exact.
        remainder = first % abs(second) if whole else math.fmod(first, second)
        return dump(remainder + abs(second) if remainder < 0 else remainder)
    if not whole:
        return dump(first / second)
    quotient = abs(first) // abs(second)
    return dump(quotient if (first < 0) == (second < 0) else -quotient)


def _member(value: str | None, key: str | None) -> str | None:
    content, step = parse(value), parse(key)
    return dump(step_into(content, step)[1]) if isinstance(step, str | int) else None


def _extreme(sign: int, *values: str | None) -> str | None:
    numbers = [item for item in (parse(value) for value in values) if isinstance(item, int | float)]
    return dump(max(numbers, key=lambda item: sign * item)) if numbers else None


def _array_iff(conditions: str | None, then: str | None, otherwise: str | None) -> str | None:
    listed = parse_array(conditions)
    if listed is None:
        return None
    first, second = parse(then), parse(otherwise)

    def pick(source: Json, index: int) -> Json:
        if isinstance(source, list):
            return source[index] if index < len(source) else None
        return source

    made = []
    for index, condition in enumerate(listed):
        if isinstance(condition, bool | int | float):
            made.append(pick(first if condition else second, index))
        else:
            made.append(None)
    return dump(made)


def _slice(array: str | None, start: str | None, end: str | None) -> str | None:
    listed, first, last = parse_array(array), as_int(start), as_int(end)
    if listed is None or first is None or last is None:
        return None
    first = max(first + len(listed), 0) if first < 0 else first
    last = last + len(listed) if last < 0 else last
    return dump(listed[first : last + 1] if last >= 0 else [])


def _split(array: str | None, indices: str | None) -> str | None:
    listed, places = parse_array(array), parse(indices)
    if listed is None:
        return None
    made, before = [], 0
    for place in places if isinstance(places, list) else [places]:
        if not isinstance(place, int):
            return None
        at = min(max(place + len(listed) if place < 0 else place, before), len(listed))
        made.append(listed[before:at])
        before = at
    return dump([*made, listed[before:]])


def _sum(array: str | None) -> str | None:
    listed = parse_array(array)
    if listed is None or not all(isinstance(item, int | float) for item in listed):
        return None
    return repr(float(sum(listed)))


def _index_of(
    array: str | None,
    value: str | None,
    start: str | None = None,
    length: str | None = None,
    occurrence: str | None = None,
) -> str | None:
    listed = parse_array(array)
    if listed is None:
        return None
    wanted = identity(parse(value))
    first = as_int(start) or 0
    first = max(first + len(listed), 0) if first < 0 else first
    size = as_int(length)
    end = len(listed) if size is None or size < 0 else min(first + size, len(listed))
    count = as_int(occurrence) or 1
    if count < 1 or (size is not None and size < -1):
        return None
    for index in range(first, end):
        if identity(listed[index]) == wanted:
            count -= 1
            if count == 0:
                return str(index)
    return "-1"


def _range(kind: str | None, start: str | None, stop: str | None, step: str | None) -> str | None:
    if kind == "real":
        first, last, stride = as_float(start), as_float(stop), as_float(step)
    else:
        first, last, stride = as_int(start), as_int(stop), as_int(step)
    if first is None or last is None or not stride:
        return None
    count = math.floor((last - first) / stride) + 1
    values = [first + index * stride for index in range(min(max(count, 0), MOST_ELEMENTS))]
    if kind == "datetime":
        return dump([moment_text(int(item)) for item in values])
    if kind == "timespan":
        return dump([timespan_text(int(item)) for item in values])
    return dump(values)


def _repeat(value: str | None, count: str | None) -> str | None:
    times = as_int(count)
    if times is None or times < 0:
        return None
    return dump([parse(value)] * min(times, MOST_ELEMENTS))


def _shift(left: int, array: str | None, count: str | None, default: str | None = None) -> str | None:
    listed, amount = parse_array(array), as_int(count)
    if listed is None or amount is None:
        return None
    amount *= left
    filler = parse(default)
    size = len(listed)
    moved = [listed[index + amount] if 0 <= index + amount < size else filler for index in range(size)]
    return dump(moved)


def _rotate(left: int, array: str | None, count: str | None) -> str | None:
    listed, amount = parse_array(array), as_int(count)
    if listed is None or amount is None:
        return None
    if not listed:
        return "[]"
    amount = amount * left % len(listed)
    return dump(listed[amount:] + listed[:amount])


def _zip(*arrays: str | None) -> str | None:
    listed = [value if isinstance(value, list) else [value] for value in (parse(array) for array in arrays)]
    longest = max((len(items) for items in listed), default=0)
    return dump(
        [[items[index] if index < len(items) else None for items in listed] for index in range(longest)]
    )


def _sets(arrays: tuple[str | None, ...]) -> list[dict[Json, Json]] | None:
    found = []
    for array in arrays:
        listed = parse_array(array)
        if listed is None:
            return None
        unique: dict[Json, Json] = {}
        for item in listed:
            unique.setdefault(identity(item), item)
        found.append(unique)
    return found


def _union(*arrays: str | None) -> str | None:
    sets = _sets(arrays)
    if sets is None:
        return None
    merged: dict[Json, Json] = {}
    for items in sets:
        for key, item in items.items():
            merged.setdefault(key, item)
    return dump(list(merged.values()))


def _intersect(*arrays: str | None) -> str | None:
    sets = _sets(arrays)
    if sets is None:
        return None
    return dump([item for key, item in sets[0].items() if all(key in other for other in sets[1:])])


def _difference(*arrays: str | None) -> str | None:
    sets = _sets(arrays)
    if sets is None:
        return None
    return dump([item for key, item in sets[0].items() if not any(key in other for other in sets[1:])])


def _has_element(array: str | None, value: str | None) -> str | None:
    listed = parse_array(array)
    if listed is None:
        return None
    wanted = identity(parse(value))
    return as_bool(any(identity(item) == wanted for item in listed))


def _set_equals(left: str | None, right: str | None) -> str | None:
    sets = _sets((left, right))
    return None if sets is None else as_bool(sets[0].keys() == sets[1].keys())


def _jaccard(left: str | None, right: str | None) -> str | None:
    sets = _sets((left, right))
    if sets is None:
        return None
    both = len(sets[0].keys() & sets[1].keys())
    either = len(sets[0].keys() | sets[1].keys())
    return repr(both / either) if either else "nan"


def _merge(*bags: str | None) -> str | None:
    merged: dict[str, Json] = {}
    found = False
    for bag in bags:
        members = parse_bag(bag)
        if members is not None:
            found = True
            for key, value in members.items():
                merged.setdefault(key, value)
    return dump(merged) if found else None


def _remove_keys(bag: str | None, keys: str | None) -> str | None:
    members, listed = parse_bag(bag), parse_array(keys)
    if members is None:
        return None
    for key in listed or []:
        if isinstance(key, str):
            _remove(members, _steps(key))
    return dump(members)


def _remove(value: Json, steps: list[str | int]) -> None:
    for step in steps[:-1]:
        found, value = step_into(value, step)
        if not found:
            return
    if steps and isinstance(value, dict):
        value.pop(str(steps[-1]), None)


def _steps(key: str) -> list[str | int]:
    """The steps of a path `$...`, or the key as the only step."""
    return (path_steps(key) or []) if key.startswith("$") else [key]


def _has_key(bag: str | None, key: str | None) -> str | None:
    value: Json = parse_bag(bag)
    if value is None or key is None:
        return None
    steps = _steps(key)
    for step in steps:
        found, value = step_into(value, step)
        if not found:
            return "false"
    return as_bool(bool(steps))


def _set_key(bag: str | None, key: str | None, value: str | None) -> str | None:
    members = parse_bag(bag)
    if members is None or not key:
        return None
    steps = _steps(key)
    if not steps or not all(isinstance(step, str) for step in steps):
        return None
    target = members
    for step in steps[:-1]:
        inner = target.get(str(step))
        if not isinstance(inner, dict):
            inner = {}
            target[str(step)] = inner
        target = inner
    target[str(steps[-1])] = parse(value)
    return dump(members)


def _bag_zip(keys: str | None, values: str | None) -> str | None:
    names, items = parse_array(keys), parse_array(values) or []
    if names is None:
        return None
    made = {}
    for index, name in enumerate(names):
        if isinstance(name, str):
            made[name] = items[index] if index < len(items) else None
    return dump(made)


def _treepath(value: str | None) -> str | None:
    paths: list[str] = []

    def walk(item: Json, prefix: str) -> None:
        if isinstance(item, dict):
            for key, inner in item.items():
                paths.append(f"{prefix}['{key}']")
                walk(inner, paths[-1])
        elif isinstance(item, list):
            # One path stands for all elements; what is in any of them follows it.
            if item:
                paths.append(f"{prefix}[0]")
            for inner in item:
                walk(inner, f"{prefix}[0]")

    walk(parse(value), "")
    return dump(list(dict.fromkeys(paths)))


def _rank(item: Json) -> int:
    """Numbers come first, then texts, then all else, in either direction."""
    if isinstance(item, int | float) and not isinstance(item, bool):
        return 0
    return 1 if isinstance(item, str) else 2


def _sort(descending: bool, nulls_last: str | None, *arrays: str | None) -> str | None:
    first = parse_array(arrays[0])
    if first is None:
        return dump([None for _ in arrays])
    known: list[int] = []
    for rank in range(3):
        same = [place for place, item in enumerate(first) if item is not None and _rank(item) == rank]
        values = [json.dumps(item, sort_keys=True) if rank == 2 else item for item in first]
        same.sort(key=values.__getitem__, reverse=descending)
        known.extend(same)
    empty = [index for index, item in enumerate(first) if item is None]
    order = known + empty if nulls_last != "false" else empty + known
    made: list[Json] = []
    for array in arrays:
        listed = parse_array(array)
        if listed is None or len(listed) != len(first):
            made.append(None)
        else:
            made.append([listed[index] for index in order])
    return dump(made)


def _canonical(value: str | None) -> str | None:
    parsed = parse(value)
    return (
        None
        if parsed is None
        else json.dumps(parsed, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    )


def _make_bag(values: str | None, size: str | None) -> str | None:
    merged: dict[str, Json] = {}
    most = as_int(size) or 0
    for bag in parse_array(values) or []:
        if isinstance(bag, dict):
            for key, value in bag.items():
                if len(merged) < most:
                    merged.setdefault(key, value)
    return dump(merged)


def _schema(value: Json) -> Json:
    if isinstance(value, dict):
        return {key: _schema(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return {"`indexer`": _merged_schema([_schema(item) for item in value])}
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "long"
    if isinstance(value, float):
        return "double"
    return "string"


def _merged_schema(schemas: list[Json]) -> Json:
    kinds: dict[str, Json] = {}
    bags = [schema for schema in schemas if isinstance(schema, dict)]
    for schema in schemas:
        for kind in schema if isinstance(schema, list) else [schema]:
            if isinstance(kind, str):
                kinds.setdefault(kind, kind)
            elif "{}" not in kinds:
                keys = dict.fromkeys(key for bag in bags for key in bag)
                kinds["{}"] = {key: _merged_schema([bag[key] for bag in bags if key in bag]) for key in keys}
    found = list(kinds.values())
    return found[0] if len(found) == 1 else found


def _buildschema(values: str | None) -> str | None:
    listed = [item for item in parse_array(values) or [] if item is not None]
    return dump(_merged_schema([_schema(item) for item in listed])) if listed else None


def _percentiles_weighted(pairs: str | None, shares: str | None) -> str | None:
    items = [
        (item[0], item[1])
        for item in parse_array(pairs) or []
        if item[0] is not None and isinstance(item[1], int | float) and item[1] > 0
    ]
    items.sort()
    total = sum(weight for _, weight in items)
    made: list[Json] = []
    for share in parse_array(shares) or []:
        reached: float = 0
        found = None
        for value, weight in items:
            reached += weight
            found = value
            if reached >= total * share / 100:
                break
        made.append(found)
    return dump(made)


FUNCTIONS: dict[str, Callable[..., str | None]] = {
    "dynamic_arithmetic": _arithmetic,
    "member": _member,
    "max_of": partial(_extreme, 1),
    "min_of": partial(_extreme, -1),
    "array_iff": _array_iff,
    "array_slice": _slice,
    "array_split": _split,
    "array_sum": _sum,
    "array_index_of": _index_of,
    "range": _range,
    "repeat": _repeat,
    "array_shift_left": partial(_shift, 1),
    "array_shift_right": partial(_shift, -1),
    "array_rotate_left": partial(_rotate, 1),
    "array_rotate_right": partial(_rotate, -1),
    "zip": _zip,
    "set_union": _union,
    "set_intersect": _intersect,
    "set_difference": _difference,
    "set_has_element": _has_element,
    "set_equals": _set_equals,
    "jaccard_index": _jaccard,
    "bag_merge": _merge,
    "bag_remove_keys": _remove_keys,
    "bag_has_key": _has_key,
    "bag_set_key": _set_key,
    "bag_zip": _bag_zip,
    "treepath": _treepath,
    "array_sort_asc": partial(_sort, False),
    "array_sort_desc": partial(_sort, True),
    "dynamic_to_json": _canonical,
    "make_bag": _make_bag,
    "buildschema": _buildschema,
    "percentiles_weighted": _percentiles_weighted,
}
