"""A template as it is read: its parts, and the values of its parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from headrace.arm.templates.errors import TemplateError
from headrace.arm.templates.evaluate import Evaluator, Scope, UserFunction, without_loops
from headrace.arm.templates.types import SECURE, Types, shown_type

MAX_PARAMETERS = 256
MAX_VARIABLES = 512
MAX_RESOURCES = 800
MAX_OUTPUTS = 64
MAX_DEFINITIONS = 512


@dataclass(frozen=True, slots=True)
class RawResource:
    """A resource as it stands in the template. `symbol` is its symbolic name, `path` its place."""

    path: str
    symbol: str | None
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Template:
    """A template's parts, none evaluated."""

    parameters: Mapping[str, Any]
    variables: Mapping[str, Any]
    functions: Mapping[str, UserFunction]
    resources: tuple[RawResource, ...]
    outputs: Mapping[str, Any]
    types: Types


def read_template(document: Any) -> Template:
    """The template's parts. Raises `TemplateError` for what is of another form, too much, or left out by name."""
    if not isinstance(document, dict):
        raise TemplateError("The template is an object with 'resources'.", "template")
    if document.get("imports") or document.get("extensions"):
        raise TemplateError("Extensions of the template language are not supported.", "template.extensions")
    resources = tuple(_resources(document.get("resources"), "template.resources"))
    if len(resources) > MAX_RESOURCES:
        raise TemplateError(f"The template has {len(resources)} resources; {MAX_RESOURCES} is the most.")
    return Template(
        _section(document, "parameters", MAX_PARAMETERS),
        without_loops(_section(document, "variables", MAX_VARIABLES), "template.variables"),
        _functions(document.get("functions")),
        resources,
        _section(document, "outputs", MAX_OUTPUTS),
        Types(_section(document, "definitions", MAX_DEFINITIONS)),
    )


def _section(document: Mapping[str, Any], name: str, most: int) -> Mapping[str, Any]:
    value = document.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise TemplateError(f"'{name}' is an object.", f"template.{name}")
    if len(value) > most:
        raise TemplateError(f"The template has {len(value)} {name}; {most} is the most.", f"template.{name}")
    return value


def _resources(value: Any, path: str) -> Iterator[RawResource]:
    if isinstance(value, dict):
        for symbol, item in value.items():
            yield _resource(item, f"{path}.{symbol}", symbol)
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield _resource(item, f"{path}[{place}]", None)
    elif value is None:
        raise TemplateError("The required property 'resources' is missing.", path)
    else:
        raise TemplateError("'resources' is an array, or an object with symbolic names.", path)


def _resource(item: Any, path: str, symbol: str | None) -> RawResource:
    if not isinstance(item, dict):
        raise TemplateError("A resource is an object with type, apiVersion and name.", path)
    return RawResource(path, symbol, item)


def children(raw: RawResource) -> Iterator[RawResource]:
    """The resources nested in a resource."""
    if raw.document.get("resources") is not None:
        yield from _resources(raw.document["resources"], f"{raw.path}.resources")


def _functions(value: Any) -> dict[str, UserFunction]:
    found: dict[str, UserFunction] = {}
    for place, group in enumerate(value if isinstance(value, list) else []):
        namespace = group.get("namespace") if isinstance(group, dict) else None
        members = group.get("members") if isinstance(group, dict) else None
        if not isinstance(namespace, str) or not isinstance(members, dict):
            raise TemplateError(
                "A namespace of functions has 'namespace' and 'members'.", f"functions[{place}]"
            )
        for name, body in members.items():
            where = f"functions[{place}].members.{name}"
            output = body.get("output") if isinstance(body, dict) else None
            named = body.get("parameters") or [] if isinstance(body, dict) else []
            if (
                not isinstance(output, dict)
                or not isinstance(named, list)
                or not all(isinstance(one, dict) and "name" in one for one in named)
            ):
                raise TemplateError("A function has 'parameters' with names, and an 'output'.", where)
            parameters = tuple(str(one["name"]).lower() for one in named)
            found[f"{namespace}.{name}".lower()] = UserFunction(parameters, output.get("value"))
    return found


# Parameters


def bind(template: Template, supplied: Any, run: Evaluator) -> Scope:
    """The scope of a template: its variables, and its parameters with the values supplied or their defaults.

    Raises `TemplateError` for values that are missing, unknown, or not as the template wants them.
    """
    variables = {name.lower(): value for name, value in template.variables.items()}
    parameters = _Parameters(template, _supplied(template, supplied), run)
    parameters.scope = Scope(parameters, variables, template.functions, allow_new=True)
    return Scope(dict(parameters), variables, template.functions)


class _Parameters(Mapping[str, Any]):
    """A template's parameters by lower-case name. A default is evaluated when it is asked for: it may name others."""

    scope: Scope
    """Of defaults."""

    def __init__(self, template: Template, supplied: Mapping[str, Any], run: Evaluator) -> None:
        self._types = template.types
        self._specs = {name.lower(): (name, spec) for name, spec in template.parameters.items()}
        self._supplied = supplied
        self._run = run
        self._bound: dict[str, Any] = {}
        self._begun: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        if key not in self._bound:
            name, spec = self._specs[key]
            if key in self._begun:
                raise TemplateError(f"Circular reference detected in the template parameter '{name}'.")
            self._begun.add(key)
            self._bound[key] = self._value(key, name, spec)
        return self._bound[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)

    def _value(self, key: str, name: str, spec: Any) -> Any:
        where = f"template.parameters.{name}"
        value = None
        if not isinstance(spec, dict):
            raise TemplateError("A parameter is an object with a type.", where)
        if key in self._supplied:
            value = self._supplied[key]
        elif "defaultValue" in spec:
            value = self._run.value(spec["defaultValue"], self.scope, f"{where}.defaultValue")
        elif self._types.resolved(spec, where).get("nullable") is not True:
            raise TemplateError(
                f"The value for the template parameter '{name}' is not provided, and it has no defaultValue.",
                f"parameters.{name}",
            )
        self._types.check(name, spec, value)
        return value


def _supplied(template: Template, supplied: Any) -> dict[str, Any]:
    if supplied is None:
        return {}
    if not isinstance(supplied, dict):
        raise TemplateError("'parameters' is an object.", "parameters")
    known = {name.lower() for name in template.parameters}
    values: dict[str, Any] = {}
    for name, item in supplied.items():
        if name.lower() not in known:
            raise TemplateError(
                f"The following parameters were supplied, but do not correspond to any parameters defined in the "
                f"template: '{name}'. The parameters defined in the template are: "
                f"'{', '.join(template.parameters)}'.",
                f"parameters.{name}",
            )
        if not isinstance(item, dict) or "value" not in item:
            cure = (
                "A 'reference' to a key vault is not supported: give the value." if isinstance(item, dict)
                and "reference" in item else "A parameter is given as {\"value\": ...}."
            )  # fmt: skip
            raise TemplateError(f"The template parameter '{name}' has no value. {cure}", f"parameters.{name}")
        values[name.lower()] = item["value"]
    return values


def shown_parameters(template: Template, scope: Scope) -> dict[str, Any]:
    """The parameters as a deployment shows them: a secure one by its type alone."""
    result: dict[str, Any] = {}
    for name, spec in template.parameters.items():
        resolved = template.types.resolved(spec, f"parameters.{name}")
        result[name] = {"type": shown_type(resolved)}
        if str(resolved.get("type")).lower() not in SECURE:
            result[name]["value"] = template.types.visible(spec, scope.parameters[name.lower()])
    return result
