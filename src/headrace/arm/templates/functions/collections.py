"""Functions of arrays and objects, and those that take a lambda."""

from __future__ import annotations

from collections.abc import Callable
from functools import cmp_to_key
from typing import Any

from headrace.arm.templates.errors import TemplateError
from headrace.arm.templates.evaluate import Evaluator, Function, Lambda, Scope
from headrace.arm.templates.syntax import Literal, Node
from headrace.arm.templates.values import (
    as_text,
    find_key,
    member,
    need_bool,
    need_int,
    need_list,
    need_object,
    need_text,
    same,
    type_name,
)

_MOST_RANGE = 10_000


def _sized(name: str, value: Any) -> str | list[Any] | dict[str, Any]:
    if not isinstance(value, (str, list, dict)):
        raise TemplateError(
            f"The template function '{name}' expects a string, array or object, not {type_name(value)}."
        )
    return value


def _empty(_run: Evaluator, arguments: list[Any]) -> bool:
    return arguments[0] is None or len(_sized("empty", arguments[0])) == 0


def _edge(name: str, place: int) -> Function:
    def run(_run: Evaluator, arguments: list[Any]) -> Any:
        value = _sized(name, arguments[0])
        if isinstance(value, dict):
            raise TemplateError(f"The template function '{name}' expects a string or an array.")
        if not value:
            if isinstance(value, str):
                return ""
            raise TemplateError(f"The template function '{name}' has an empty array.")
        return value[place]

    return Function(name, 1, 1, run)


def _slice(name: str, cut: Callable[[Any, int], Any]) -> Function:
    def run(_run: Evaluator, arguments: list[Any]) -> Any:
        value, count = _sized(name, arguments[0]), max(0, need_int(name, arguments[1]))
        if isinstance(value, dict):
            raise TemplateError(f"The template function '{name}' expects a string or an array.")
        return cut(value, count)

    return Function(name, 2, 2, run)


def _range(_run: Evaluator, arguments: list[Any]) -> list[int]:
    start, count = (need_int("range", item) for item in arguments)
    if not 0 <= count <= _MOST_RANGE:
        raise TemplateError(f"The template function 'range' counts 0 to {_MOST_RANGE} numbers.")
    return list(range(start, start + count))


def _create_object(_run: Evaluator, arguments: list[Any]) -> dict[str, Any]:
    if len(arguments) % 2:
        raise TemplateError("The template function 'createObject' takes pairs of a name and a value.")
    names = [need_text("createObject", name) for name in arguments[::2]]
    return dict(zip(names, arguments[1::2], strict=True))


def _union(_run: Evaluator, arguments: list[Any]) -> Any:
    if isinstance(arguments[0], dict):
        result: dict[str, Any] = {}
        for item in arguments:
            result = _merged(result, need_object("union", item))
        return result
    # Of equal values of different arrays the first counts; one array's own are not compared.
    found: list[Any] = []
    seen: set[Any] = set()
    for item in arguments:
        values = [(_identity(value), value) for value in need_list("union", item)]
        found += [value for identity, value in values if identity not in seen]
        seen |= {identity for identity, _ in values}
    return found


def _merged(left: dict[str, Any], right: dict[str, Any]) -> dict[str, Any]:
    result = dict(left)
    lowered = {name.lower(): name for name in reversed(left)}
    for name, value in right.items():
        key = name if name in result else lowered.setdefault(name.lower(), name)
        before = result.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            value = _merged(before, value)
        result[key] = value
    return result


def _intersection(_run: Evaluator, arguments: list[Any]) -> Any:
    first, *rest = arguments
    if isinstance(first, dict):
        objects = [need_object("intersection", item) for item in rest]
        return {
            name: value
            for name, value in first.items()
            if all(name in item and same(item[name], value) for item in objects)
        }
    sets = [{_identity(value) for value in need_list("intersection", item)} for item in rest]
    return [v for v in need_list("intersection", first) if all(_identity(v) in one for one in sets)]


def _identity(value: Any) -> Any:
    """What is equal for values that are the same by `same`, and has a hash."""
    if isinstance(value, bool):
        return "bool", value
    if isinstance(value, list):
        return "array", tuple(_identity(item) for item in value)
    if isinstance(value, dict):
        return "object", frozenset((name, _identity(item)) for name, item in value.items())
    return value


def _items(_run: Evaluator, arguments: list[Any]) -> list[dict[str, Any]]:
    return [
        {"key": name, "value": value} for name, value in sorted(need_object("items", arguments[0]).items())
    ]


def _shallow_merge(_run: Evaluator, arguments: list[Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for item in need_list("shallowMerge", arguments[0]):
        result |= need_object("shallowMerge", item)
    return result


def _flatten(_run: Evaluator, arguments: list[Any]) -> list[Any]:
    return [value for item in need_list("flatten", arguments[0]) for value in need_list("flatten", item)]


def _try_get(_run: Evaluator, arguments: list[Any]) -> Any:
    value, *keys = arguments
    for key in keys:
        inside = (isinstance(value, dict) and isinstance(key, str) and find_key(value, key) is not None) or (
            isinstance(value, list) and isinstance(key, int) and 0 <= key < len(value)
        )
        if not inside:
            return None
        value = member(value, key)
    return value


def _index_from_end(_run: Evaluator, arguments: list[Any]) -> Any:
    items = need_list("indexFromEnd", arguments[0])
    return member(items, len(items) - need_int("indexFromEnd", arguments[1]))


# Lambdas


def _lambda(_run: Evaluator, arguments: tuple[Node, ...], scope: Scope) -> Lambda:
    names = [
        node.value for node in arguments[:-1] if isinstance(node, Literal) and isinstance(node.value, str)
    ]
    if len(names) != len(arguments) - 1:
        raise TemplateError("The names of a lambda are texts: lambda('x', ...).")
    return Lambda(tuple(names), arguments[-1], scope)


def _lambda_variable(run: Evaluator, arguments: tuple[Node, ...], scope: Scope) -> Any:
    name = need_text("lambdaVariables", run.node(arguments[0], scope))
    if name.lower() not in scope.lambdas:
        raise TemplateError(f"There is no lambda variable '{name}' here.")
    return scope.lambdas[name.lower()]


def _map(run: Evaluator, arguments: list[Any]) -> list[Any]:
    return [run.apply(arguments[1], item, place) for place, item in enumerate(need_list("map", arguments[0]))]


def _filter(run: Evaluator, arguments: list[Any]) -> list[Any]:
    items = enumerate(need_list("filter", arguments[0]))
    return [item for place, item in items if need_bool("filter", run.apply(arguments[1], item, place))]


def _reduce(run: Evaluator, arguments: list[Any]) -> Any:
    result = arguments[1]
    for place, item in enumerate(need_list("reduce", arguments[0])):
        result = run.apply(arguments[2], result, item, place)
    return result


def _sort(run: Evaluator, arguments: list[Any]) -> list[Any]:
    def compare(left: Any, right: Any) -> int:
        if need_bool("sort", run.apply(arguments[1], left, right)):
            return -1
        return 1 if need_bool("sort", run.apply(arguments[1], right, left)) else 0

    return sorted(need_list("sort", arguments[0]), key=cmp_to_key(compare))


def _to_object(run: Evaluator, arguments: list[Any]) -> dict[str, Any]:
    items, key, *value = arguments
    return {
        as_text(run.apply(key, item)): run.apply(value[0], item) if value else item
        for item in need_list("toObject", items)
    }


def _map_values(run: Evaluator, arguments: list[Any]) -> dict[str, Any]:
    return {k: run.apply(arguments[1], v) for k, v in need_object("mapValues", arguments[0]).items()}


FUNCTIONS = (
    Function("length", 1, 1, lambda _run, a: len(_sized("length", a[0]))),
    Function("empty", 1, 1, _empty),
    _edge("first", 0),
    _edge("last", -1),
    _slice("skip", lambda value, count: value[count:]),
    _slice("take", lambda value, count: value[:count]),
    Function("range", 2, 2, _range),
    Function("array", 1, 1, lambda _run, a: a[0] if isinstance(a[0], list) else [a[0]]),
    Function("createArray", 0, None, lambda _run, a: list(a)),
    Function("createObject", 0, None, _create_object),
    Function("union", 1, None, _union),
    Function("intersection", 2, None, _intersection),
    Function("items", 1, 1, _items),
    Function("objectKeys", 1, 1, lambda _run, a: sorted(need_object("objectKeys", a[0]))),
    Function("shallowMerge", 1, 1, _shallow_merge),
    Function("flatten", 1, 1, _flatten),
    Function("tryGet", 2, None, _try_get),
    Function("indexFromEnd", 2, 2, _index_from_end),
    Function("lambda", 1, None, lazy=_lambda),
    Function("lambdaVariables", 1, 1, lazy=_lambda_variable),
    Function("map", 2, 2, _map, calls=True),
    Function("filter", 2, 2, _filter, calls=True),
    Function("reduce", 3, 3, _reduce, calls=True),
    Function("sort", 2, 2, _sort, calls=True),
    Function("toObject", 2, 3, _to_object, calls=True),
    Function("mapValues", 2, 2, _map_values, calls=True),
)
