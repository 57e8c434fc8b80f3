"""Evaluates a template's values: expressions to JSON, within bounds of steps and sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from headrace.arm.templates.errors import TemplateError
from headrace.arm.templates.syntax import CallNode, Literal, Member, Node, is_expression, parse, unescaped
from headrace.arm.templates.values import member, shown

MAX_STEPS = 200_000
MAX_NODES = 2_000_000
MAX_TEXT = 4 * 1024 * 1024
CHARACTERS_A_NODE = 32
MAX_CALLS = 64
MAX_LEVELS = 120
MAX_DEPTH = 64
MAX_ITERATIONS = 800
MAX_RESOURCES_IN_ALL = 2_000
"""Bounds of one deployment: function calls, values made in all, characters of one text, variables and functions of
the template within one another, expressions under evaluation, how deep a value is nested, rounds of a copy loop
(ARM's own), and resources with those of nested deployments."""


class Live(Protocol):
    """What only exists while a deployment runs: the state of resources."""

    def reference(self, resource: str, version: str | None, *, full: bool) -> Any:
        """A resource's properties, by id or by its name in the template; with `full` the whole document."""
        ...

    def references(self, loop: str, *, full: bool) -> list[Any]:
        """The same of every resource of a copy loop, by its symbolic name."""
        ...

    def act(self, action: str, resource: str, version: str, body: Any) -> Any:
        """The answer to `POST {resource}/{action}`: what `listKeys()` and its kin give."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where and when a deployment runs: what `resourceGroup()` and its kin answer. `now` is UTC microseconds."""

    subscription: Mapping[str, Any]
    group: Mapping[str, Any] | None
    tenant: Mapping[str, Any]
    environment: Mapping[str, Any]
    deployment: Mapping[str, Any]
    deployer: Mapping[str, Any]
    now: int

    @property
    def scope(self) -> str:
        """The id of the group, else of the subscription."""
        return str((self.group or self.subscription)["id"])


@dataclass(frozen=True, slots=True)
class UserFunction:
    """A function that the template itself defines."""

    parameters: tuple[str, ...]
    output: Any


@dataclass(frozen=True, slots=True)
class Scope:
    """The names that an expression may use. All keys are lower-case."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, Any] = field(default_factory=dict)
    functions: Mapping[str, UserFunction] = field(default_factory=dict)
    lambdas: Mapping[str, Any] = field(default_factory=dict)
    loops: Mapping[str, int] = field(default_factory=dict)
    """The round that each copy loop around the expression is in, by the loop's name."""
    round: int | None = None
    """The round of the resource's or output's own loop: what `copyIndex()` without a name is."""
    allow_new: bool = False
    """Whether `newGuid()` and `utcNow()` may be used: in default values of parameters only."""


@dataclass(frozen=True, slots=True)
class Loop:
    """A copy loop of a property, variable or output: an array of `item`, evaluated `count` times.

    A loop without a name is an output's; `copyIndex()` needs no name in it.
    """

    name: str
    count: Any
    item: Any


@dataclass(frozen=True, slots=True)
class Lambda:
    """`lambda('x', ...)`, as `map` and its kin call it."""

    names: tuple[str, ...]
    body: Node
    scope: Scope


@dataclass(slots=True)
class Budget:
    """What is left of the bounds; shared by a deployment and those nested in it."""

    steps: int = MAX_STEPS
    nodes: int = MAX_NODES
    resources: int = MAX_RESOURCES_IN_ALL

    def plan(self, count: int) -> None:
        """So many resources more. Raises `TemplateError` when nested deployments make too many in all."""
        self.resources -= count
        if self.resources < 0:
            raise TemplateError(
                f"The template and those nested in it have more than {MAX_RESOURCES_IN_ALL} resources in all."
            )

    def step(self) -> None:
        """One function call."""
        self.steps -= 1
        if self.steps < 0:
            raise TemplateError(f"The template takes more than {MAX_STEPS} steps to evaluate.")

    def look(self, parts: int) -> None:
        """So many parts of a value that a function goes through. Raises `TemplateError` as `measure` does."""
        self.nodes -= parts
        if self.nodes < 0:
            raise TemplateError(f"The template makes more than {MAX_NODES} values.")

    def measure(self, value: Any) -> None:
        """Count a value's parts. Raises `TemplateError` when the template has made too many."""
        pending = [(value, 0)]
        while pending:
            item, depth = pending.pop()
            self.nodes -= 1
            if isinstance(item, str):
                self._measure_text(item)
            if self.nodes < 0:
                raise TemplateError(f"The template makes more than {MAX_NODES} values.")
            if isinstance(item, Lambda) and depth:
                raise TemplateError("A lambda is an argument of a function that calls it, and nothing else.")
            if depth > MAX_DEPTH:
                raise TemplateError(f"The template makes a value that is nested more than {MAX_DEPTH} deep.")
            if isinstance(item, (dict, list)):
                inside = item.values() if isinstance(item, dict) else item
                pending.extend((one, depth + 1) for one in inside)
            if isinstance(item, dict):
                for name in item:
                    self._measure_text(name)

    def _measure_text(self, text: str) -> None:
        if len(text) > MAX_TEXT:
            raise TemplateError(f"The template makes a text of more than {MAX_TEXT} characters.")
        # A long text counts for many values: else one text, held many times, could be joined to any length.
        self.nodes -= len(text) // CHARACTERS_A_NODE


Eager = Callable[["Evaluator", list[Any]], Any]
Lazy = Callable[["Evaluator", tuple[Node, ...], Scope], Any]


@dataclass(frozen=True, slots=True)
class Function:
    """A built-in function and how many arguments it takes; None is any number."""

    name: str
    least: int
    most: int | None
    eager: Eager | None = None
    lazy: Lazy | None = None
    calls: bool = False
    """Whether it takes lambdas."""


class Evaluator:
    """Evaluates the values of one template. `live` is None before anything is deployed."""

    def __init__(
        self,
        place: Place,
        functions: Mapping[str, Function],
        live: Live | None = None,
        budget: Budget | None = None,
    ) -> None:
        self.place = place
        self.live = live
        self.budget = budget or Budget()
        self._functions = functions
        self._variables: dict[str, Any] = {}
        self._depth = 0
        self._level = 0

    def value(self, value: Any, scope: Scope, where: str) -> Any:
        """A JSON value with every expression in it evaluated. Raises `TemplateError` with its place."""
        if isinstance(value, str):
            return self._text(value, scope, where)
        if not isinstance(value, (dict, list, Loop)):
            return value
        with self._deeper():
            if isinstance(value, list):
                return [self.value(item, scope, f"{where}[{place}]") for place, item in enumerate(value)]
            if isinstance(value, Loop):
                return self._items(value, scope, where)
            return {
                self._key(key, scope, where): self.value(item, scope, f"{where}.{key}")
                for key, item in without_loops(value, where).items()
            }

    def _items(self, loop: Loop, scope: Scope, where: str) -> list[Any]:
        found: list[Any] = []
        for inner in self.rounds(loop.count, loop.name, scope, where, own=not loop.name):
            item = self.value(loop.item, inner, f"{where}[{len(found)}]")
            self.budget.measure(item)
            found.append(item)
        return found

    def rounds(self, count: Any, name: str, scope: Scope, where: str, *, own: bool) -> Iterator[Scope]:
        """A scope for every round of a copy loop. `own` is the loop of a resource or output itself.

        Raises `TemplateError` when `count` is no number of rounds.
        """
        most = self.value(count, scope, f"{where}.count")
        if isinstance(most, bool) or not isinstance(most, int) or not 0 <= most <= MAX_ITERATIONS:
            raise TemplateError(
                f"The count of the copy loop '{shown(name)}' is {shown(most)}: it is a whole number from 0 to "
                f"{MAX_ITERATIONS}.",
                f"{where}.count",
            )
        for place in range(most):
            self.budget.step()
            loops = {**scope.loops, name.lower(): place}
            yield replace(scope, loops=loops, round=place if own else scope.round)

    def _text(self, value: str, scope: Scope, where: str) -> Any:
        if not is_expression(value):
            return unescaped(value)
        try:
            result = self.node(parse(value), scope)
            if isinstance(result, Lambda):
                raise TemplateError("A lambda is an argument of a function that calls it, and nothing else.")
        except TemplateError as error:
            raise error.at(where) from None
        return result

    @contextmanager
    def _deeper(self) -> Iterator[None]:
        """One level further in. Raises `TemplateError` long before Python's own bound."""
        self._level += 1
        try:
            if self._level > MAX_LEVELS:
                raise TemplateError(
                    f"The template's expressions are nested more than {MAX_LEVELS} deep in all."
                )
            yield
        finally:
            self._level -= 1

    def _key(self, key: str, scope: Scope, where: str) -> str:
        return str(self.value(key, scope, where)) if is_expression(key) else unescaped(key)

    def node(self, node: Node, scope: Scope) -> Any:
        """The value of an expression."""
        if isinstance(node, Literal):
            return node.value
        with self._deeper():
            if isinstance(node, Member):
                return member(self.node(node.of, scope), self.node(node.key, scope))
            return self._call(node, scope)

    def apply(self, function: Any, *arguments: Any) -> Any:
        """Call a lambda."""
        if not isinstance(function, Lambda) or len(function.names) > len(arguments):
            raise TemplateError("A lambda was expected: lambda('x', ...).")
        names = {name.lower(): value for name, value in zip(function.names, arguments, strict=False)}
        scope = replace(function.scope, lambdas={**function.scope.lambdas, **names})
        return self.node(function.body, scope)

    def variable(self, name: str, scope: Scope) -> Any:
        """A variable's value, evaluated once."""
        lowered = name.lower()
        if lowered not in scope.variables:
            raise TemplateError(
                f"The template variable '{name}' is not found. There are: {shown(sorted(scope.variables))}."
            )
        if lowered not in self._variables:
            self._depth += 1
            if self._depth > MAX_CALLS:
                raise TemplateError(f"Circular reference detected in the template variable '{name}'.")
            try:
                plain = replace(scope, lambdas={}, loops={}, round=None)
                made = self.value(scope.variables[lowered], plain, f"variables.{name}")
            finally:
                self._depth -= 1
            self._variables[lowered] = made
        return self._variables[lowered]

    def _call(self, node: CallNode, scope: Scope) -> Any:
        self.budget.step()
        function = self._functions.get(node.name.lower())
        if function is None and node.name.lower() in scope.functions:
            return self._call_users(node, scope)
        if function is None and node.name.lower().startswith("list") and len(node.arguments) > 1:
            function = self._functions["list*"]
            node = CallNode("list*", (Literal(node.name), *node.arguments))
        if function is None:
            raise TemplateError(f"The template function '{node.name}' is not valid.")
        count = len(node.arguments)
        if count < function.least or (function.most is not None and count > function.most):
            most = "" if function.most is None else f" to {function.most}"
            raise TemplateError(
                f"The template function '{function.name}' takes {function.least}{most} argument(s) and has {count}."
            )
        if function.lazy is not None:
            result = function.lazy(self, node.arguments, scope)
        else:
            assert function.eager is not None
            values = [self.node(argument, scope) for argument in node.arguments]
            if not function.calls and any(isinstance(value, Lambda) for value in values):
                raise TemplateError(f"The template function '{function.name}' takes no lambda.")
            result = function.eager(self, values)
        self.budget.measure(result)
        return result

    def _call_users(self, node: CallNode, scope: Scope) -> Any:
        function = scope.functions[node.name.lower()]
        if len(node.arguments) != len(function.parameters):
            raise TemplateError(
                f"The template function '{node.name}' takes {len(function.parameters)} argument(s)."
            )
        values = [self.node(argument, scope) for argument in node.arguments]
        parameters = dict(zip(function.parameters, values, strict=True))
        self._depth += 1
        try:
            if self._depth > MAX_CALLS:
                raise TemplateError(f"The template function '{node.name}' calls itself.")
            inner = Scope(parameters, functions=scope.functions)
            result = self.value(function.output, inner, f"functions.{node.name}")
        finally:
            self._depth -= 1
        self.budget.measure(result)
        return result


def without_loops(value: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """The object with every entry of its `copy` as a `Loop` of its own; the object itself when it has none.

    Raises `TemplateError` for a loop that lacks its name or input.
    """
    loops = value.get("copy")
    if not isinstance(loops, list) or not any(isinstance(one, dict) and "count" in one for one in loops):
        return value
    result = {name: item for name, item in value.items() if name != "copy"}
    for place, one in enumerate(loops):
        name = one.get("name") if isinstance(one, dict) else None
        if not isinstance(name, str) or not name or "count" not in one or "input" not in one:
            raise TemplateError(
                "A copy loop of a property or variable has 'name', 'count' and 'input'.",
                f"{where}.copy[{place}]",
            )
        if name in result:
            raise TemplateError(
                f"'{shown(name)}' stands beside a copy loop of the same name.", f"{where}.copy[{place}]"
            )
        result[name] = Loop(name, one["count"], one["input"])
    return result
