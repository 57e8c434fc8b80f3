"""A template as it is read: its parts, and the values of its parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from headrace.arm.templates.errors import TemplateError
from headrace.arm.templates.evaluate import Evaluator, Scope, UserFunction
from headrace.arm.templates.values import same, shown, type_name

MAX_PARAMETERS = 256
MAX_VARIABLES = 512
MAX_RESOURCES = 800
MAX_OUTPUTS = 64
SECURE = frozenset({"securestring", "secureobject"})
_TYPES = {
    "string": "string",
    "securestring": "string",
    "int": "int",
    "bool": "bool",
    "object": "object",
    "secureobject": "object",
    "array": "array",
}


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


def read_template(document: Any) -> Template:
    """The template's parts. Raises `TemplateError` for what is of another form, too much, or left out by name."""
    if not isinstance(document, dict):
        raise TemplateError("The template is an object with 'resources'.", "template")
    _refuse_copies(document, "template")
    if document.get("imports") or document.get("extensions"):
        raise TemplateError("Extensions of the template language are not supported.", "template.extensions")
    resources = tuple(_resources(document.get("resources"), "template.resources"))
    if len(resources) > MAX_RESOURCES:
        raise TemplateError(f"The template has {len(resources)} resources; {MAX_RESOURCES} is the most.")
    return Template(
        _section(document, "parameters", MAX_PARAMETERS),
        _section(document, "variables", MAX_VARIABLES),
        _functions(document.get("functions")),
        resources,
        _section(document, "outputs", MAX_OUTPUTS),
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


def _refuse_copies(value: Any, where: str) -> None:
    """Raises `TemplateError` where a copy loop stands; nested templates are looked at when they are read."""
    pending = [(value, where)]
    while pending:
        item, path = pending.pop()
        if isinstance(item, list):
            pending += [(inner, f"{path}[{place}]") for place, inner in enumerate(item)]
        if not isinstance(item, dict):
            continue
        loop = item.get("copy")
        loops = loop if isinstance(loop, list) else [loop]
        if any(isinstance(one, dict) and "count" in one for one in loops):
            raise TemplateError(
                "Copy loops are not supported: write the items out, or deploy the template once for each.",
                f"{path}.copy",
            )
        pending += [(inner, f"{path}.{name}") for name, inner in item.items() if name != "template"]


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
    values = _supplied(template, supplied)
    scope = Scope({}, {name.lower(): value for name, value in template.variables.items()}, template.functions)
    bound: dict[str, Any] = {}
    waiting = dict(template.parameters)
    for name, spec in waiting.items():
        if not isinstance(spec, dict):
            raise TemplateError("A parameter is an object with a type.", f"template.parameters.{name}")
        if name.lower() in values:
            value = values[name.lower()]
        elif "defaultValue" in spec:
            defaults = replace(scope, parameters=bound, allow_new=True)
            value = run.value(spec["defaultValue"], defaults, f"template.parameters.{name}.defaultValue")
        elif spec.get("nullable") is True:
            value = None
        else:
            raise TemplateError(
                f"The value for the template parameter '{name}' is not provided, and it has no defaultValue.",
                f"parameters.{name}",
            )
        _check(name, spec, value)
        bound[name.lower()] = value
    return replace(scope, parameters=bound)


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


def _check(name: str, spec: Mapping[str, Any], value: Any) -> None:
    where = f"parameters.{name}"
    declared = str(spec.get("type", "")).lower()
    wanted = _TYPES.get(declared)
    if wanted is None and "$ref" not in spec:
        raise TemplateError(
            f"The template parameter '{name}' has no known type: it is one of {', '.join(_TYPES)}.",
            f"template.{where}.type",
        )
    if value is None and spec.get("nullable") is True:
        return
    if wanted is not None and type_name(value) != wanted:
        raise TemplateError(
            f"Template parameter JToken type is not valid. Expected '{wanted}'. Actual '{type_name(value)}': the "
            f"template parameter '{name}'.",
            where,
        )
    secret = declared in SECURE
    allowed = spec.get("allowedValues")
    if isinstance(allowed, list) and not _is_allowed(value, allowed):
        raise TemplateError(
            f"The provided value {'' if secret else repr(shown(value)) + ' '}for the template parameter '{name}' is "
            f"not valid. It is not part of the allowed value(s): '{shown(','.join(map(str, allowed)))}'.",
            where,
        )
    size = value if wanted == "int" else len(value) if isinstance(value, (str, list)) else None
    for bound, least in (("minValue", True), ("maxValue", False), ("minLength", True), ("maxLength", False)):
        limit = spec.get(bound)
        if not isinstance(limit, int) or size is None or bound.endswith("Value") != (wanted == "int"):
            continue
        if (size < limit) if least else (size > limit):
            raise TemplateError(
                f"The value of the template parameter '{name}' is not valid: its {bound} is {limit}, and it has "
                f"{size}.",
                where,
            )


def _is_allowed(value: Any, allowed: list[Any]) -> bool:
    if isinstance(value, list):
        return all(any(same(item, one) for one in allowed) for item in value)
    return any(same(value, one) for one in allowed)


def shown_parameters(template: Template, scope: Scope) -> dict[str, Any]:
    """The parameters as a deployment shows them: a secure one by its type alone."""
    result: dict[str, Any] = {}
    for name, spec in template.parameters.items():
        declared = str(spec.get("type", "object"))
        type_shown = declared[:1].upper() + declared[1:]
        result[name] = {"type": type_shown}
        if declared.lower() not in SECURE:
            result[name]["value"] = scope.parameters[name.lower()]
    return result
