"""The types of a template's parameters: its own definitions, objects and arrays within them, and secrets inside."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.arm.test_template_language import evaluator

from headrace.arm.templates.document import bind, read_template, shown_parameters
from headrace.arm.templates.errors import TemplateError

DEFINITIONS: dict[str, Any] = {
    "plan": {"type": "string", "allowedValues": ["Basic", "Analytics"]},
    "column": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 2},
            "type": {"$ref": "#/definitions/plan", "nullable": True},
            "key": {"type": "securestring", "nullable": True},
        },
        "additionalProperties": False,
    },
    "columns": {"type": "array", "items": {"$ref": "#/definitions/column"}, "maxLength": 2},
    "pair": {"type": "array", "prefixItems": [{"type": "int"}, {"type": "bool"}], "items": False},
    "map": {"type": "object", "additionalProperties": {"type": "int"}},
    "shape": {
        "type": "object",
        "discriminator": {"propertyName": "kind", "mapping": {"round": {"$ref": "#/definitions/round"}}},
    },
    "round": {
        "type": "object",
        "properties": {
            "kind": {"type": "string"},
            "radius": {"type": "int", "minValue": 1},
            "key": {"type": "securestring", "nullable": True},
        },
    },
    "signed": {"type": "array", "prefixItems": [{"type": "securestring"}], "items": {"type": "string"}},
    "loop": {"$ref": "#/definitions/loop"},
}


def bound(type_name: str, value: Any, **more: Any) -> dict[str, Any]:
    spec = {"$ref": f"#/definitions/{type_name}", **more}
    template = read_template({"definitions": DEFINITIONS, "parameters": {"p": spec}, "resources": {}})
    shown: dict[str, Any] = shown_parameters(template, bind(template, {"p": {"value": value}}, evaluator()))[
        "p"
    ]
    return shown


@pytest.mark.parametrize(
    ("type_name", "value"),
    [
        ("plan", "Basic"),
        ("columns", [{"name": "ab", "type": "Basic"}, {"name": "cd", "type": None}]),
        ("pair", [1, True]),
        ("map", {"any": 1}),
        ("shape", {"kind": "round", "radius": 3, "more": 1}),
    ],
)
def test_values_of_their_types_are_taken(type_name: str, value: Any) -> None:
    assert bound(type_name, value)["value"] == value


@pytest.mark.parametrize(
    ("type_name", "value", "words", "target"),
    [
        ("plan", "basic", "allowed value(s): 'Basic,Analytics'", "p"),
        ("columns", [{"name": "ab"}] * 3, "maxLength is 2", "p"),
        ("columns", [{"type": "Basic"}], "lacks the property 'name'", "p[0].name"),
        ("columns", [{"name": "a"}], "minLength is 2", "p[0].name"),
        ("columns", [{"name": "ab", "typo": 1}], "has no property 'typo'", "p[0].typo"),
        ("columns", [7], "Expected 'object'. Actual 'int'", "p[0]"),
        ("pair", [1, 2], "Expected 'bool'", "p[1]"),
        ("pair", [1, True, 3], "more than 2 items", "p"),
        ("map", {"any": "text"}, "Expected 'int'", "p.any"),
        ("shape", {"kind": "square"}, "is one of: round", "p.kind"),
        ("shape", {"kind": "round", "radius": 0}, "minValue is 1", "p.radius"),
        ("nowhere", 1, "is not defined", "p.$ref"),
        ("loop", 1, "in a circle", "p.$ref"),
    ],
)  # fmt: skip
def test_values_of_other_types_are_refused_with_their_place(
    type_name: str, value: Any, words: str, target: str
) -> None:
    with pytest.raises(TemplateError) as raised:
        bound(type_name, value)
    assert words in str(raised.value)
    assert raised.value.target == f"parameters.{target}"


@pytest.mark.parametrize(
    ("type_name", "value", "shown"),
    [
        ("column", {"name": "ab", "key": "hush"}, {"name": "ab", "key": None}),
        ("shape", {"kind": "round", "radius": 3, "key": "hush"}, {"kind": "round", "radius": 3, "key": None}),
        ("signed", ["hush", "word"], [None, "word"]),
    ],
)
def test_what_is_secret_inside_is_not_shown(type_name: str, value: Any, shown: Any) -> None:
    assert bound(type_name, value)["value"] == shown


def test_what_is_secret_inside_is_not_quoted() -> None:
    secret = {"type": "securestring", "allowedValues": ["a"]}
    template = read_template(
        {"parameters": {"p": {"type": "object", "properties": {"s": secret}}}, "resources": []}
    )
    with pytest.raises(TemplateError) as raised:
        bind(template, {"p": {"value": {"s": "hush"}}}, evaluator())
    assert "hush" not in str(raised.value)


def test_a_nullable_reference_needs_no_value() -> None:
    spec = {"p": {"$ref": "#/definitions/plan", "nullable": True}}
    template = read_template({"definitions": DEFINITIONS, "parameters": spec, "resources": []})
    assert bind(template, None, evaluator()).parameters == {"p": None}
