"""The types that a template declares for its parameters and outputs, and values held against them.

A type is one of JSON's with bounds, or a reference to one of the template's `definitions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any

from headrace.arm.templates.errors import TemplateError
from headrace.arm.templates.values import same, shown, type_name

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
_REFERENCE = "#/definitions/"
_MOST_REFERENCES = 20
_BOUNDS = (("minValue", True), ("maxValue", False), ("minLength", True), ("maxLength", False))


@dataclass(frozen=True, slots=True)
class Types:
    """A template's own types, by name."""

    definitions: Mapping[str, Any]

    def resolved(self, spec: Mapping[str, Any], where: str) -> Mapping[str, Any]:
        """The type that a declaration means in the end, with what the references on the way add to it.

        Raises `TemplateError` for a reference to nothing, or one that leads back to itself.
        """
        result = spec
        for _ in range(_MOST_REFERENCES):
            reference = result.get("$ref")
            if reference is None:
                return result
            name = reference.removeprefix(_REFERENCE) if isinstance(reference, str) else None
            found = self.definitions.get(name) if name is not None else None
            if not isinstance(found, dict):
                raise TemplateError(
                    f"The type '{shown(reference)}' is not defined: a '$ref' is '{_REFERENCE}' and a name of the "
                    "template's definitions.",
                    f"{where}.$ref",
                )
            result = {**found, **{key: value for key, value in result.items() if key != "$ref"}}
        raise TemplateError(f"The types that '{where}' refers to lead round in a circle.", f"{where}.$ref")

    def check(self, name: str, spec: Mapping[str, Any], value: Any) -> None:
        """Raises `TemplateError` when a parameter's value is not of its type."""
        self._check(f"parameters.{name}", spec, value, secret=False)

    def _check(self, where: str, declared: Mapping[str, Any], value: Any, *, secret: bool) -> None:
        spec = self.resolved(declared, where)
        kind = str(spec.get("type", "")).lower()
        wanted = _TYPES.get(kind)
        what = _described(where)
        if wanted is None:
            raise TemplateError(
                f"{what} has no known type: it is one of {', '.join(_TYPES)}.", f"template.{where}.type"
            )
        if value is None and spec.get("nullable") is True:
            return
        if type_name(value) != wanted:
            raise TemplateError(
                f"Template parameter JToken type is not valid. Expected '{wanted}'. Actual '{type_name(value)}': "
                f"{what[0].lower()}{what[1:]}.",
                where,
            )
        secret = secret or kind in SECURE
        _check_allowed(what, where, spec, value, secret=secret)
        _check_bounds(what, where, spec, value)
        if isinstance(value, dict):
            self._check_object(where, self._of_kind(where, spec, value), value, secret=secret)
        elif isinstance(value, list):
            self._check_array(where, spec, value, secret=secret)

    def _of_kind(self, where: str, spec: Mapping[str, Any], value: Mapping[str, Any]) -> Mapping[str, Any]:
        """The type of an object whose `discriminator` property chooses among several."""
        chooser = spec.get("discriminator")
        if not isinstance(chooser, dict):
            return spec
        name, mapping = chooser.get("propertyName"), chooser.get("mapping")
        mapping = mapping if isinstance(mapping, dict) else {}
        kind = value.get(name) if isinstance(name, str) else None
        found = mapping.get(kind) if isinstance(kind, str) else None
        if not isinstance(found, dict):
            raise TemplateError(
                f"The '{shown(name)}' of {where} is one of: {', '.join(map(str, mapping))}.",
                f"{where}.{name}",
            )
        return self.resolved(found, where)

    def _check_object(
        self, where: str, spec: Mapping[str, Any], value: Mapping[str, Any], *, secret: bool
    ) -> None:
        properties = spec.get("properties")
        known = properties if isinstance(properties, dict) else {}
        for name, inner in known.items():
            if not isinstance(inner, dict):
                continue
            if name in value:
                self._check(f"{where}.{name}", inner, value[name], secret=secret)
            elif self.resolved(inner, f"{where}.{name}").get("nullable") is not True:
                raise TemplateError(f"{_described(where)} lacks the property '{name}'.", f"{where}.{name}")
        others = spec.get("additionalProperties")
        for name in [name for name in value if name not in known]:
            if others is False or spec.get("sealed") is True:
                raise TemplateError(
                    f"{_described(where)} has no property '{shown(name)}'. There are: {shown(', '.join(known))}.",
                    f"{where}.{shown(name)}",
                )
            if isinstance(others, dict):
                self._check(f"{where}.{shown(name)}", others, value[name], secret=secret)

    def _check_array(self, where: str, spec: Mapping[str, Any], value: list[Any], *, secret: bool) -> None:
        first, others = _item_types(spec)
        if others is False and len(value) > len(first):
            raise TemplateError(f"{_described(where)} has more than {len(first)} items.", where)
        for place, (inner, item) in enumerate(zip(chain(first, repeat(others)), value, strict=False)):
            if isinstance(inner, dict):
                self._check(f"{where}[{place}]", inner, item, secret=secret)

    def visible(self, spec: Mapping[str, Any], value: Any) -> Any:
        """The value without what its type says is secret; None for one that is secret itself.

        Raises `TemplateError` for an object that is of none of the types that its discriminator chooses among.
        """
        resolved = self.resolved(spec, "parameters")
        if str(resolved.get("type", "")).lower() in SECURE:
            return None
        if isinstance(value, dict):
            resolved = self._of_kind("parameters", resolved, value)
            properties = resolved.get("properties")
            known = properties if isinstance(properties, dict) else {}
            others = resolved.get("additionalProperties")
            return {name: self._inside(known.get(name, others), item) for name, item in value.items()}
        if isinstance(value, list):
            first, others = _item_types(resolved)
            inside = zip(chain(first, repeat(others)), value, strict=False)
            return [self._inside(inner, item) for inner, item in inside]
        return value

    def _inside(self, spec: Any, value: Any) -> Any:
        return self.visible(spec, value) if isinstance(spec, dict) else value


def shown_type(spec: Mapping[str, Any]) -> str:
    """A type as deployments show it: `String`."""
    declared = str(spec.get("type", "object"))
    return declared[:1].upper() + declared[1:]


def _item_types(spec: Mapping[str, Any]) -> tuple[list[Any], Any]:
    """The types of an array's first items, one each, and that of all behind them; False where none may follow."""
    prefix = spec.get("prefixItems")
    return prefix if isinstance(prefix, list) else [], spec.get("items")


def _described(where: str) -> str:
    name = where.removeprefix("parameters.")
    return f"The template parameter '{name}'"


def _check_allowed(what: str, where: str, spec: Mapping[str, Any], value: Any, *, secret: bool) -> None:
    allowed = spec.get("allowedValues")
    if isinstance(allowed, list) and not _is_allowed(value, allowed):
        raise TemplateError(
            f"The provided value {'' if secret else repr(shown(value)) + ' '}for {what[0].lower()}{what[1:]} is not "
            f"valid. It is not part of the allowed value(s): '{shown(','.join(map(str, allowed)))}'.",
            where,
        )


def _is_allowed(value: Any, allowed: list[Any]) -> bool:
    if isinstance(value, list):
        return all(any(same(item, one) for one in allowed) for item in value)
    return any(same(value, one) for one in allowed)


def _check_bounds(what: str, where: str, spec: Mapping[str, Any], value: Any) -> None:
    number = isinstance(value, int) and not isinstance(value, bool)
    size = value if number else len(value) if isinstance(value, (str, list)) else None
    for bound, least in _BOUNDS:
        limit = spec.get(bound)
        if not isinstance(limit, int) or size is None or bound.endswith("Value") != number:
            continue
        if (size < limit) if least else (size > limit):
            raise TemplateError(
                f"The value of {what[0].lower()}{what[1:]} is not valid: its {bound} is {limit}, and it has {size}.",
                where,
            )
