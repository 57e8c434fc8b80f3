"""The template language: expressions to values, parameters, order, and bounds."""

from __future__ import annotations

import tracemalloc
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.arm.templates.document import bind, read_template, shown_parameters
from headrace.arm.templates.errors import TemplateError
from headrace.arm.templates.evaluate import Evaluator, Place, Scope
from headrace.arm.templates.functions import builtin_functions
from headrace.arm.templates.jsonc import parse_json
from headrace.arm.templates.plan import make_plan
from headrace.arm.templates.syntax import parse

SUB = "11111111-2222-3333-4444-555555555555"
GROUP = f"/subscriptions/{SUB}/resourceGroups/rg1"
NOW = 1_700_000_000_000_000


def place(*, group: bool = True) -> Place:
    return Place(
        {"id": f"/subscriptions/{SUB}", "subscriptionId": SUB, "tenantId": "t", "displayName": "Test"},
        {"id": GROUP, "name": "rg1", "location": "eastus"} if group else None,
        {"tenantId": "t"},
        {"resourceManager": "https://localhost"},
        {"name": "dep"},
        {"objectId": "me"},
        NOW,
    )


def evaluator() -> Evaluator:
    return Evaluator(place(), builtin_functions())


def value(text: Any, **parameters: Any) -> Any:
    return evaluator().value(text, Scope({name.lower(): item for name, item in parameters.items()}), "here")


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("plain", "plain"),
        ("[[not(this)]", "[not(this)]"),
        ("[concat('a', 1, 'it''s')]", "a1it's"),
        ("[concat(createArray(1), createArray(2, 3))]", [1, 2, 3]),
        ("[format('{0}-{1:D3}-{{x}} {2,5}', 'a', 7, 'r')]", "a-007-{x}     r"),
        ("[toUpper(replace('a-b', '-', '+'))]", "A+B"),
        ("[split('a,b;c', createArray(',', ';'))]", ["a", "b", "c"]),
        ("[join(createArray('a', 'b'), '/')]", "a/b"),
        ("[substring('headrace', 4, 4)]", "race"),
        ("[padLeft(7, 3, '0')]", "007"),
        ("[indexOf('Abc', 'C')]", 2),
        ("[startsWith('Abc', 'aB')]", True),
        ("[endsWith('Abc', 'x')]", False),
        ("[trim('  a ')]", "a"),
        ("[base64ToString(base64('é'))]", "é"),
        ("[uri('https://a/b/', 'c')]", "https://a/b/c"),
        ("[uriComponent('a b/c')]", "a%20b%2Fc"),
        ("[json('{\"a\": [1, null]}').A[0]]", 1),
        ("[string(createObject('a', true()))]", '{"a":true}'),
        ("[int('42')]", 42),
        ("[int(' -7 ')]", -7),
        ("[bool('TRUE')]", True),
        ("[add(2, mul(3, 4))]", 14),
        ("[div(-7, 2)]", -3),
        ("[mod(-7, 3)]", -1),
        ("[sub(1, 2)]", -1),
        ("[max(1, 5, 3)]", 5),
        ("[if(equals('a', 'A'), 'same', 'not')]", "not"),
        ("[if(false(), parameters('none'), 'lazy')]", "lazy"),
        ("[and(true(), not(false()))]", True),
        ("[or(false(), greater(2, 1))]", True),
        ("[lessOrEquals('a', 'b')]", True),
        ("[coalesce(null(), '', 'x')]", ""),
        ("[contains(createObject('Key', 1), 'kEY')]", True),
        ("[contains(createArray(1, 2), 2)]", True),
        ("[contains('abc', 'bc')]", True),
        ("[length('abc')]", 3),
        ("[empty(createArray())]", True),
        ("[first('abc')]", "a"),
        ("[last(range(3, 4))]", 6),
        ("[skip(createArray(1, 2, 3), 1)]", [2, 3]),
        ("[take('abc', 2)]", "ab"),
        ("[union(createObject('a', createObject('x', 1)), json('{\"a\":{\"y\":2}}'))]", {"a": {"x": 1, "y": 2}}),
        ("[union(createArray(1, 2), createArray(2, 3))]", [1, 2, 3]),
        ("[intersection(createArray(1, 2), createArray(2, 3))]", [2]),
        ("[items(createObject('b', 2, 'a', 1))[0].key]", "a"),
        ("[map(range(0, 3), lambda('i', mul(lambdaVariables('i'), 2)))]", [0, 2, 4]),
        ("[filter(createArray(1, 2, 3), lambda('i', greater(lambdaVariables('i'), 1)))]", [2, 3]),
        ("[reduce(range(1, 4), 0, lambda('a', 'b', add(lambdaVariables('a'), lambdaVariables('b'))))]", 10),
        (
            "[sort(createArray(3, 1, 2), lambda('a', 'b', less(lambdaVariables('a'), lambdaVariables('b'))))]",
            [1, 2, 3],
        ),
        ("[toObject(createArray('a'), lambda('k', lambdaVariables('k')), lambda('v', 1))]", {"a": 1}),
        ("[tryGet(createObject('a', createArray(5)), 'a', 0)]", 5),
        ("[tryGet(createObject('a', 1), 'b', 'c')]", None),
        ("[dateTimeAdd('0998-12-31', 'P1D', 'yyyy-MM')]", "0999-01"),
        ("[dateTimeAdd('2024-01-31T00:00:00Z', 'P1M')]", "2024-02-29T00:00:00Z"),
        ("[dateTimeAdd('2024-01-01 00:00:00Z', '-PT90M', 'yyyyMMdd-HHmm')]", "20231231-2230"),
        ("[dateTimeAdd('2024-01-01T23:04:05Z', 'P0D', 'yyMMddHHs')]", "240101235"),
        ("[dateTimeAdd('2024-11-08T09:04:05Z', 'P0D', 'ddd d MMM y, h:m tt')]", "Fri 8 Nov 24, 9:4 AM"),
        (r"[dateTimeAdd('2024-11-08T00:04:05Z', 'P0D', 'dddd, MMMM hh\h-fff')]", "Friday, November 12h-000"),
        ("[dateTimeAdd('2024-11-08T00:04:05Z', 'P0D', 'HH:mmK zzz')]", "00:04Z +00:00"),
        ("[dateTimeAdd('2024-11-08T00:04:05Z', 'P0D', 's')]", "2024-11-08T00:04:05"),
        ("[dateTimeToEpoch('1970-01-02T00:00:00Z')]", 86400),
        ("[resourceId('A.B/c/d', 'x', 'y')]", f"{GROUP}/providers/A.B/c/x/d/y"),
        ("[resourceId('other', 'A.B/c', 'x')]", f"/subscriptions/{SUB}/resourceGroups/other/providers/A.B/c/x"),
        ("[subscriptionResourceId('A.B/c', 'x')]", f"/subscriptions/{SUB}/providers/A.B/c/x"),
        ("[resourceId('A.B/c/', 'x')]", f"{GROUP}/providers/A.B/c/x"),
        ("[tenantResourceId('A.B/c', 'x')]", "/providers/A.B/c/x"),
        ("[extensionResourceId(resourceGroup().id, 'A.B/c', 'x')]", f"{GROUP}/providers/A.B/c/x"),
        ("[subscription().SubscriptionId]", SUB),
        ("[resourceGroup()['location']]", "eastus"),
        ("[deployment().name]", "dep"),
        ("[environment().resourceManager]", "https://localhost"),
        ("[parameters('P').list[1]]", "b"),
        ("[union(createArray(1, true(), 1), createArray(1, 2, 2, false()))]", [1, True, 1, 2, 2, False]),
        ("[intersection(createArray(1, 'a', true()), createArray('a', 1))]", [1, "a"]),
        ("[union(createObject('a', 1), createObject('A', 2, 'b', 3))]", {"a": 2, "b": 3}),
    ],
)  # fmt: skip
def test_expressions(text: str, result: Any) -> None:
    found = value(text, p={"list": ["a", "b"]})
    assert found == result
    assert type(found) is type(result)


def test_values_inside_values_and_keys_are_evaluated() -> None:
    assert value({"[concat('a', 'b')]": ["[add(1, 1)]", None, 3.5]}) == {"ab": [2, None, 3.5]}


def test_hashes_are_azures() -> None:
    assert value("[uniqueString('test')]") == "rbgf3xv4ufgzg"
    assert value("[uniqueString('hello', 'world')]") == "a7wkljktk6wne"
    root = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/my-rg"
    assert value(f"[uniqueString('{root}')]") == "bmg7c6xu4tw46"
    namespace = uuid.UUID("11fb06fb-712d-4ddd-98c7-e71bbd588830")
    assert value("[guid('a', 'b')]") == str(uuid.uuid5(namespace, "a-b"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[concat('a']", "',' was expected"),
        ("[nothing('a')]", "'nothing' is not valid"),
        ("[concat('a') x]", "nothing more was expected"),
        ("[plain]", "single quotes"),
        ("[parameters('q')]", "'q' is not found"),
        ("[variables('v')]", "'v' is not found"),
        ("[createObject('a', 1).b]", "property 'b' doesn't exist, available properties are 'a'"),
        ("[createArray(1)[1]]", "out of bounds"),
        ("[add('1', 2)]", "expects an integer"),
        ("[div(1, 0)]", "divide by zero"),
        ("[if('x', 1, 2)]", "expects a boolean"),
        ("[substring('abc', 2, 5)]", "asks for 5 characters"),
        ("[resourceId('A.B/c', 'x', 'y')]", "1 segment(s) and 2 name(s)"),
        ("[reference('x')]", "is not expected at this location"),
        ("[listKeys('x', '2020-01-01')]", "is not expected at this location"),
        ("[utcNow()]", "defaultValue of a parameter only"),
        ("[dateTimeAdd('2024-11-08T00:04:05Z', 'P0D', 'y')]", "The format 'y' is not supported"),
        ("[copyIndex()]", "give it the name of the loop"),
        ("[guid()]", "takes 1 argument(s)"),
        ("[json('{')]", "cannot read"),
        ("[if(true(), fail('use another name'), 1)]", "use another name"),
        ("[range(0, 100000)]", "0 to 10000"),
        ("[lambda('x', 1)]", "nothing else"),
        ("[createArray(lambda('x', 1))]", "takes no lambda"),
        ("[string(lambda('x', 1))]", "takes no lambda"),
        ("[map(createArray(1), lambda('x', lambda('y', 1)))]", "nothing else"),
        ("[add(1, 99999999999999999999)]", "more than 19 characters"),
        ("[int('" + "1" * 50 + "')]", "cannot read"),
        ("[int('1_000')]", "cannot read"),
        ("[int('٤٢')]", "cannot read"),
        ("[float('1_0.5')]", "cannot read"),
        ("[json('1e999')]", "larger than"),
        ("[float('inf')]", "cannot read"),
        ("[uri('http://[', 'x')]", "expects a URI"),
        ("[indexFromEnd(5, 1)]", "expects an array"),
        ("[dateTimeToEpoch('0001-01-01T00:00:00+14:00')]", "cannot read the time"),
        ("[split('a', map(range(0, 200), lambda('x', string(lambdaVariables('x')))))]", "at most 100"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(text: str, words: str) -> None:
    with pytest.raises(TemplateError) as raised:
        value(text)
    assert words in str(raised.value)
    assert raised.value.target == "here"


def scope_of(document: dict[str, Any], supplied: Any = None) -> Scope:
    return bind(read_template({"resources": [], **document}), supplied, evaluator())


def test_variables_are_evaluated_once_and_may_not_go_in_circles() -> None:
    scope = scope_of({"variables": {"a": "[concat(variables('B'), '!')]", "b": "x", "c": "[variables('c')]"}})
    run = evaluator()
    assert run.value("[variables('A')]", scope, "here") == "x!"
    with pytest.raises(TemplateError, match="Circular reference"):
        run.value("[variables('c')]", scope, "here")


def test_a_template_cannot_grow_without_bound() -> None:
    doubled = {"v0": "[range(0, 10)]"} | {
        f"v{n}": f"[createArray(variables('v{n - 1}'), variables('v{n - 1}'))]" for n in range(1, 40)
    }
    with pytest.raises(TemplateError, match="more than"):
        evaluator().value("[variables('v39')]", scope_of({"variables": doubled}), "here")
    words = {"v0": "0123456789"} | {
        f"v{n}": f"[concat(variables('v{n - 1}'), variables('v{n - 1}'))]" for n in range(1, 40)
    }
    with pytest.raises(TemplateError, match="more than"):
        evaluator().value("[variables('v39')]", scope_of({"variables": words}), "here")
    chained = {"v0": {"a": 1}} | {f"v{n}": {"a": f"[variables('v{n - 1}')]"} for n in range(1, 200)}
    with pytest.raises(TemplateError, match=r"nested more than|Circular"):
        evaluator().value("[variables('v199')]", scope_of({"variables": chained}), "here")
    boxed = {"v0": "[createArray(1)]"} | {
        f"v{n}": f"[createArray(variables('v{n - 1}'))]" for n in range(1, 90)
    }
    run, scope = evaluator(), scope_of({"variables": boxed})
    with pytest.raises(TemplateError, match="nested more than"):
        for n in range(90):
            run.value(f"[variables('v{n}')]", scope, "here")
    with pytest.raises(TemplateError, match="nested more than"):
        parse(f"[{'not(' * 100}true(){')' * 100}]")


@pytest.mark.parametrize(
    "text",
    [
        "[join(map(range(0, 10000), lambda('i', parameters('long'))), '')]",
        "[string(map(range(0, 10000), lambda('i', parameters('key'))))]",
        "[format(parameters('slots'), parameters('long'))]",
        "[format(parameters('wide'), 1)]",
    ],
)
def test_one_long_text_cannot_be_joined_without_bound(text: str) -> None:
    long = "x" * 1_000_000
    with pytest.raises(TemplateError, match="more than"):
        value(text, long=long, key={long: 1}, slots="{0}" * 100_000, wide="{0,-9999}" * 100_000)


def test_hashing_long_texts_counts() -> None:
    texts = ", ".join("uniqueString(parameters('long'))" for _ in range(20))
    run = evaluator()
    run.budget.nodes = 100_000
    with pytest.raises(TemplateError, match="more than"):
        run.value(f"[createArray({texts})]", Scope({"long": "x" * 50_000}), "here")


def test_arrays_and_objects_of_thousands_are_united() -> None:
    assert len(value("[union(range(0, 10000), range(5000, 10000), range(0, 10000))]")) == 15_000
    left, right = ({f"{letter}{place}": 1 for place in range(5000)} for letter in "ab")
    assert len(value("[union(parameters('left'), parameters('right'))]", left=left, right=right)) == 10_000


def test_a_secret_that_is_no_json_is_not_quoted() -> None:
    with pytest.raises(TemplateError) as raised:
        value("[json(parameters('secret'))]", secret="pass word")
    assert "pass" not in str(raised.value)


def test_functions_of_the_template_itself() -> None:
    broken = [{"namespace": "n", "members": {"f": {"parameters": 5, "output": {"value": 1}}}}]
    with pytest.raises(TemplateError, match="with names"):
        scope_of({"functions": broken})
    member = {
        "parameters": [{"name": "x", "type": "int"}],
        "output": {"type": "int", "value": "[add(parameters('x'), 1)]"},
    }
    scope = scope_of({"functions": [{"namespace": "my", "members": {"next": member}}]})
    assert evaluator().value("[my.next(my.next(1))]", scope, "here") == 3


@pytest.mark.parametrize("output", ["x" * 1_000_000, list(range(10_000))])
def test_what_a_templates_own_function_gives_counts(output: Any) -> None:
    member = {"output": {"type": "object", "value": output}}
    scope = scope_of({"functions": [{"namespace": "my", "members": {"big": member}}]})
    lengths = ", ".join("length(my.big())" for _ in range(20))
    run = evaluator()
    run.budget.nodes = 100_000
    with pytest.raises(TemplateError, match="more than"):
        run.value(f"[createArray({lengths})]", scope, "here")


# Parameters

SPEC = {
    "name": {"type": "string", "minLength": 2, "maxLength": 4},
    "size": {"type": "int", "defaultValue": 3, "minValue": 1, "maxValue": 9},
    "kind": {"type": "string", "defaultValue": "a", "allowedValues": ["a", "b"]},
    "made": {"type": "string", "defaultValue": "[concat(parameters('name'), utcNow('yyyy'))]"},
    "key": {"type": "secureString", "defaultValue": "hush"},
}  # fmt: skip


def test_parameters_have_defaults_and_secrets_are_not_shown() -> None:
    template = read_template({"parameters": SPEC, "resources": []})
    scope = bind(template, {"NAME": {"value": "abc"}}, evaluator())
    assert scope.parameters == {"name": "abc", "size": 3, "kind": "a", "made": "abc2023", "key": "hush"}
    shown = shown_parameters(template, scope)
    assert shown["name"] == {"type": "String", "value": "abc"}
    assert shown["key"] == {"type": "SecureString"}


def test_defaults_may_name_parameters_that_stand_below_them() -> None:
    below = {
        "full": {"type": "string", "defaultValue": "[concat(parameters('Half'), '!')]"},
        "half": {"type": "string", "defaultValue": "[toUpper(parameters('name'))]"},
        "name": {"type": "string"},
    }
    assert scope_of({"parameters": below}, {"name": {"value": "ab"}}).parameters == {
        "full": "AB!",
        "half": "AB",
        "name": "ab",
    }
    circle = {**below, "half": {"type": "string", "defaultValue": "[parameters('full')]"}}
    with pytest.raises(TemplateError, match="Circular reference"):
        scope_of({"parameters": circle}, {"name": {"value": "ab"}})


@pytest.mark.parametrize(
    ("supplied", "words"),
    [
        ({}, "'name' is not provided"),
        ({"name": {"value": "a"}}, "minLength is 2"),
        ({"name": {"value": "abcde"}}, "maxLength is 4"),
        ({"name": {"value": 3}}, "Expected 'string'. Actual 'int'"),
        ({"name": {"value": "ab"}, "size": {"value": 10}}, "maxValue is 9"),
        ({"name": {"value": "ab"}, "size": {"value": True}}, "Actual 'bool'"),
        ({"name": {"value": "ab"}, "kind": {"value": "c"}}, "allowed value(s): 'a,b'"),
        ({"name": {"value": "ab"}, "other": {"value": 1}}, "do not correspond to any parameters"),
        ({"name": "ab"}, 'given as {"value": ...}'),
        ({"name": {"reference": {}}}, "key vault"),
    ],
)  # fmt: skip
def test_parameters_are_checked(supplied: dict[str, Any], words: str) -> None:
    with pytest.raises(TemplateError) as raised:
        scope_of({"parameters": SPEC}, supplied)
    assert words in str(raised.value)


# Resources


def plan(resources: Any, **document: Any) -> list[str]:
    template = read_template({"resources": resources, **document})
    run = evaluator()
    return [
        item.id.removeprefix(f"{GROUP}/providers/")
        for item in make_plan(template, bind(template, None, run), run)
    ]


def resource(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "name": name, "apiVersion": "2023-01-01", **more}


def test_resources_come_in_the_order_of_their_dependencies() -> None:
    assert plan(
        [
            resource("A.B/c", "last", dependsOn=["[resourceId('A.B/c', 'mid')]"]),
            resource("A.B/c", "mid", properties={"x": "[reference('first').y]"}),
            resource("A.B/c", "first", resources=[resource("d", "child")]),
        ]
    ) == ["A.B/c/first", "A.B/c/mid", "A.B/c/last", "A.B/c/first/d/child"]


def test_symbolic_names_extensions_and_conditions() -> None:
    resources = {
        "role": resource("M.A/roles", "r", scope="[format('A.B/c/{0}', 'x')]", dependsOn=["thing"]),
        "thing": resource("A.B/c", "x"),
        "there": resource("A.B/c", "old", existing=True),
    }
    assert plan(resources, languageVersion="2.0") == [
        "A.B/c/x",
        "A.B/c/x/providers/M.A/roles/r",
        "A.B/c/old",
    ]
    old_form = [resource("A.B/c/providers/roles", "x/M.A/r")]
    assert plan(old_form) == ["A.B/c/x/providers/M.A/roles/r"]


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ([resource("A.B/c", "a", dependsOn=["b"]), resource("A.B/c", "b", dependsOn=["a"])], "Circular dependency"),
        ([resource("A.B/c", "a", dependsOn=["z"])], "'z' is not defined in the template"),
        ([resource("A.B/c", "a"), resource("a.b/C", "A")], "defined multiple times"),
        ([resource("A.B/c/d", "a")], "incorrect segment lengths"),
        ([{"type": "A.B/c", "name": "x"}], "needs 'apiVersion'"),
        ([resource("A.B/c", "[reference('x').name]")], "is not expected at this location"),
        ([resource("A.B/c", "a", condition="yes")], "true or false"),
        ("none", "array, or an object"),
        (None, "'resources' is missing"),
    ],
)  # fmt: skip
def test_resources_are_checked(resources: Any, words: str) -> None:
    with pytest.raises(TemplateError) as raised:
        plan(resources)
    assert words in str(raised.value)


# The request's text


def test_a_long_text_takes_little_more_memory_than_itself() -> None:
    content = b'{key: "' + b"x" * 1_000_000 + b'"}'
    tracemalloc.start()
    try:
        assert len(parse_json(content)["key"]) == 1_000_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20 * len(content)


def test_json_as_people_write_it() -> None:
    text = b"""{properties: {"a": "two
lines", /* one */ template: {
      // another
      "x": [1, -2.5e1, true, null,], 'y': 0}}}"""
    with pytest.raises(TemplateError, match="at line 4, column 38 a key was expected"):
        parse_json(text)
    good = parse_json(text.replace(b"'y'", b'"\\u0079"'))
    assert good == {"properties": {"a": "two\nlines", "template": {"x": [1, -25.0, True, None], "y": 0}}}


@pytest.mark.parametrize(
    "text", [b"", b"{", b'{"a" 1}', b'"\\ud800"', b"\xff", b"[1 2]", b"{} x", b"[" * 200, b"nul"]
)
def test_json_that_is_none(text: bytes) -> None:
    with pytest.raises(TemplateError) as raised:
        parse_json(text)
    assert raised.value.code == "InvalidRequestContent"


@given(st.binary(max_size=200))
def test_any_bytes_are_json_or_an_error(content: bytes) -> None:
    try:
        parse_json(content)
    except TemplateError as error:
        assert error.message


@given(st.text(alphabet="[]()'.,ab1 -{}", max_size=60))
def test_any_expression_has_a_value_or_an_error(text: str) -> None:
    try:
        value(f"[{text}]")
    except TemplateError as error:
        assert error.message


def test_the_deepest_template_is_refused_before_python_gives_up() -> None:
    inner = "variables('v{n}')"
    for _ in range(20):
        inner = f"map(range(0, 1), lambda('x', if(true(), {inner}, 0)))"
    chained = {f"v{n}": f"[{inner.replace('{n}', str(n + 1))}]" for n in range(40)} | {"v40": 1}
    with pytest.raises(TemplateError, match="nested more than"):
        evaluator().value("[variables('v0')]", scope_of({"variables": chained}), "here")
