"""Conditions and comparisons."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from headrace.arm.templates.errors import TemplateError
from headrace.arm.templates.evaluate import Evaluator, Function, Scope
from headrace.arm.templates.syntax import Node
from headrace.arm.templates.values import need_bool, need_text, same, shown, type_name


def _if(run: Evaluator, arguments: tuple[Node, ...], scope: Scope) -> Any:
    chosen = arguments[1] if need_bool("if", run.node(arguments[0], scope)) else arguments[2]
    return run.node(chosen, scope)


def _and(run: Evaluator, arguments: tuple[Node, ...], scope: Scope) -> bool:
    return all(need_bool("and", run.node(argument, scope)) for argument in arguments)


def _or(run: Evaluator, arguments: tuple[Node, ...], scope: Scope) -> bool:
    return any(need_bool("or", run.node(argument, scope)) for argument in arguments)


def _coalesce(run: Evaluator, arguments: tuple[Node, ...], scope: Scope) -> Any:
    for argument in arguments:
        value = run.node(argument, scope)
        if value is not None:
            return value
    return None


def _ordered(name: str, compare: Callable[[Any, Any], bool]) -> Function:
    def run(_run: Evaluator, arguments: list[Any]) -> bool:
        left, right = arguments
        if type_name(left) != type_name(right) or type_name(left) not in ("int", "float", "string"):
            raise TemplateError(
                f"The template function '{name}' compares two integers or two strings, not {type_name(left)} "
                f"and {type_name(right)}."
            )
        return compare(left, right)

    return Function(name, 2, 2, run)


def _fail(_run: Evaluator, arguments: list[Any]) -> Any:
    raise TemplateError(need_text("fail", arguments[0]))


def _bool(_run: Evaluator, arguments: list[Any]) -> bool:
    value = arguments[0]
    if isinstance(value, (bool, int)):
        return bool(value)
    known = {"true": True, "false": False, "1": True, "0": False}
    if isinstance(value, str) and value.lower() in known:
        return known[value.lower()]
    raise TemplateError(f"The template function 'bool' cannot read '{shown(value)}'.")


FUNCTIONS = (
    Function("if", 3, 3, lazy=_if),
    Function("and", 2, None, lazy=_and),
    Function("or", 2, None, lazy=_or),
    Function("not", 1, 1, lambda _run, arguments: not need_bool("not", arguments[0])),
    Function("coalesce", 1, None, lazy=_coalesce),
    Function("equals", 2, 2, lambda _run, arguments: same(*arguments)),
    _ordered("less", lambda left, right: bool(left < right)),
    _ordered("lessOrEquals", lambda left, right: bool(left <= right)),
    _ordered("greater", lambda left, right: bool(left > right)),
    _ordered("greaterOrEquals", lambda left, right: bool(left >= right)),
    Function("bool", 1, 1, _bool),
    Function("fail", 1, 1, _fail),
    Function("true", 0, 0, lambda _run, _arguments: True),
    Function("false", 0, 0, lambda _run, _arguments: False),
    Function("null", 0, 0, lambda _run, _arguments: None),
)
