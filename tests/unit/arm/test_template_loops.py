"""Copy loops of templates: resources, properties, variables and outputs, on a real store where they are deployed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.arm.conftest import GROUP, World
from tests.unit.arm.test_arm_deployments import DEPLOYMENT, ENDPOINT, body, nested, start, template
from tests.unit.arm.test_template_language import evaluator, plan, resource, scope_of

from headrace.arm.templates.document import bind, read_template
from headrace.arm.templates.errors import TemplateError
from headrace.arm.templates.evaluate import MAX_RESOURCES_IN_ALL
from headrace.arm.templates.plan import make_plan

KIND = "Microsoft.Insights/dataCollectionEndpoints"


def evaluated(text: Any, **document: Any) -> Any:
    run, scope = evaluator(), scope_of(document)
    return run.value(text, scope, "here")


# Variables and properties


def test_variables_have_loops_at_the_top_and_inside() -> None:
    variables = {
        "copy": [
            {"name": "names", "count": 2, "input": "[concat('n', copyIndex('names', 1))]"},
            {"name": "same", "count": "[length(variables('names'))]", "input": 7},
        ],
        "inside": {"kept": 1, "copy": [{"name": "list", "count": 2, "input": {"at": "[copyIndex('LIST')]"}}]},
    }
    found = evaluated(
        "[createArray(variables('names'), variables('same'), variables('inside'))]", variables=variables
    )
    assert found == [["n1", "n2"], [7, 7], {"kept": 1, "list": [{"at": 0}, {"at": 1}]}]


def test_loops_stand_in_loops() -> None:
    inner = {
        "copy": [
            {"name": "columns", "count": 2, "input": "[concat(copyIndex('rows'), copyIndex('columns'))]"}
        ]
    }
    found = evaluated({"copy": [{"name": "rows", "count": 2, "input": inner}]})
    assert found == {"rows": [{"columns": ["00", "01"]}, {"columns": ["10", "11"]}]}


def test_no_round_is_an_empty_list_and_other_copies_are_kept() -> None:
    assert evaluated({"copy": [{"name": "x", "count": 0, "input": "[nothing()]"}]}) == {"x": []}
    assert evaluated({"copy": ["a", {"b": 1}], "x": {"copy": "yes"}}) == {
        "copy": ["a", {"b": 1}],
        "x": {"copy": "yes"},
    }


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"copy": [{"name": "x", "count": 801, "input": 1}]}, "from 0 to 800"),
        ({"copy": [{"name": "x", "count": -1, "input": 1}]}, "from 0 to 800"),
        ({"copy": [{"name": "x", "count": True, "input": 1}]}, "from 0 to 800"),
        ({"copy": [{"name": "x", "count": 1}]}, "'name', 'count' and 'input'"),
        ({"copy": [{"count": 1, "input": 1}]}, "'name', 'count' and 'input'"),
        ({"x": 1, "copy": [{"name": "x", "count": 1, "input": 1}]}, "beside a copy loop of the same name"),
        ({"copy": [{"name": "x", "count": 1, "input": "[copyIndex()]"}]}, "Around it are: [\"x\"]"),
        ({"copy": [{"name": "x", "count": 1, "input": "[copyIndex('y')]"}]}, "no copy loop 'y'"),
    ],
)  # fmt: skip
def test_wrong_loops_say_what_is_wrong(value: Any, words: str) -> None:
    with pytest.raises(TemplateError) as raised:
        evaluated(value)
    assert words in str(raised.value)


def test_loops_are_bounded_together() -> None:
    value: Any = 1
    for depth in range(3):
        value = {"copy": [{"name": f"l{depth}", "count": 800, "input": value}]}
    with pytest.raises(TemplateError, match="more than"):
        evaluated(value)
    big = {"copy": [{"name": "x", "count": 800, "input": "y" * 1_000_000}]}
    with pytest.raises(TemplateError, match="more than"):
        evaluated(big)


def test_a_variable_does_not_see_the_loop_it_is_used_in() -> None:
    variables = {"bad": "[copyIndex('rows')]"}
    with pytest.raises(TemplateError, match="no copy loop 'rows'"):
        evaluated(
            {"copy": [{"name": "rows", "count": 1, "input": "[variables('bad')]"}]}, variables=variables
        )


_TEXTS = st.sampled_from(
    ["x", "", "[copyIndex()]", "[copyIndex('a')]", "[copyIndex('b', 1)]", "[[y]", "[", "[add(1,2)]"]
)
_NAMES = st.sampled_from(["a", "b", "count", "copy", "input", "name"])
_LOOPS = st.fixed_dictionaries({}, optional={"name": _NAMES, "count": st.integers(-1, 3), "input": _TEXTS})
_VALUES = st.recursive(
    st.one_of(_TEXTS, st.integers(-1, 3), st.booleans(), st.none(), _LOOPS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(_NAMES, inner, max_size=4),
        st.fixed_dictionaries({"copy": st.lists(_LOOPS | inner, max_size=3)}, optional={"a": inner}),
    ),
    max_leaves=12,
)


@given(_VALUES)
def test_any_loops_have_a_value_or_an_error(value: Any) -> None:
    for document in ({}, {"variables": {"copy": [value], "v": value}}):
        try:
            evaluated([value, "[variables('v')]"] if document else value, **document)
        except TemplateError as error:
            assert error.message


# Resources


def looped(name: str, count: Any = 2, **more: Any) -> dict[str, Any]:
    return resource(
        "A.B/c", f"[format('{name}{{0}}', copyIndex())]", copy={"name": "loop", "count": count}, **more
    )


def test_a_resource_is_planned_once_a_round_and_others_wait_for_all_or_one() -> None:
    after = resource("A.B/c", "after", dependsOn=["loop"])
    one = resource("A.B/c", "one", dependsOn=["[resourceId('A.B/c', 'x1')]"])
    assert plan([after, one, looped("x")]) == ["A.B/c/x0", "A.B/c/x1", "A.B/c/after", "A.B/c/one"]
    assert plan([after, looped("x", 0)]) == ["A.B/c/after"]
    by_symbol = {
        "after": resource("A.B/c", "after", dependsOn=["[format('things[{0}]', 1)]"]),
        "things": looped("x"),
        "every": resource("A.B/c", "every", properties={"x": "[map(references('things'), lambda('x', 1))]"}),
    }
    assert plan(by_symbol) == ["A.B/c/x0", "A.B/c/x1", "A.B/c/after", "A.B/c/every"]


def test_what_a_property_loop_asks_for_comes_first() -> None:
    item = {"name": "list", "count": 2, "input": "[reference(concat('x', copyIndex('list'))).y]"}
    asking = resource("A.B/c", "asking", properties={"copy": [item]})
    assert plan([asking, looped("x")]) == ["A.B/c/x0", "A.B/c/x1", "A.B/c/asking"]


def test_a_serial_loop_waits_for_the_batch_before() -> None:
    serial = {"name": "loop", "count": 5, "mode": "serial", "batchSize": 2}
    template_read = read_template({"resources": [{**looped("x"), "copy": serial}]})
    run = evaluator()
    found = make_plan(template_read, bind(template_read, None, run), run)
    names = [sorted(key.rpartition("/")[2] for key in item.depends) for item in found]
    assert names == [[], [], ["x0", "x1"], ["x0", "x1"], ["x2", "x3"]]


def test_a_symbol_counts_before_another_resources_name() -> None:
    resources = {
        "first": resource("A.B/c", "second", dependsOn=["second"]),
        "second": resource("A.B/c", "other"),
    }
    assert plan(resources) == ["A.B/c/other", "A.B/c/second"]


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (looped("x", "[reference('y').z]"), "not expected at this location"),
        (looped("x", 900), "from 0 to 800"),
        ({**looped("x"), "copy": {"count": 1}}, "'name' and 'count'"),
        ({**looped("x"), "copy": [1]}, "'name' and 'count'"),
        ({**looped("x"), "copy": {"name": "l", "count": 1, "mode": "wild"}}, "parallel or serial"),
        ({**looped("x"), "copy": {"name": "l", "count": 1, "batchSize": 0}}, "from 1 on"),
        (resource("A.B/c", "same", copy={"name": "l", "count": 2}), "defined multiple times"),
        (resource("A.B/c", "p", resources=[resource("d", "e", copy={"name": "l", "count": 2})]), "no copy loop"),
    ],
)  # fmt: skip
def test_wrong_loops_of_resources_say_what_is_wrong(item: Any, words: str) -> None:
    with pytest.raises(TemplateError) as raised:
        plan([item])
    assert words in str(raised.value)


def test_resources_are_bounded_with_their_loops() -> None:
    many = [looped(f"{letter}-", 800) | {"copy": {"name": letter, "count": 800}} for letter in "ab"]
    with pytest.raises(TemplateError, match="more than 800"):
        plan(many)


def test_a_child_of_a_looped_resource_is_there_once_a_round() -> None:
    assert plan([looped("x", resources=[resource("d", "[concat('e', copyIndex())]")])]) == [
        "A.B/c/x0",
        "A.B/c/x0/d/e0",
        "A.B/c/x1",
        "A.B/c/x1/d/e1",
    ]


# Deployed


def endpoint(name: str) -> str:
    return f"{GROUP}/providers/{KIND}/{name}"


def test_loops_of_resources_outputs_and_properties_are_deployed(world: World) -> None:
    start(world)
    things = {
        **ENDPOINT,
        "name": "[parameters('names')[copyIndex()]]",
        "copy": {"name": "loop", "count": "[length(parameters('names'))]", "mode": "Serial"},
        "condition": "[not(equals(copyIndex(), 2))]",
        "tags": {"at": "[string(copyIndex(10))]"},
    }
    read = "[reference(resourceId('Microsoft.Insights/dataCollectionEndpoints', parameters('names')[copyIndex()]))"
    document = template(
        things,
        parameters={"names": {"type": "array", "defaultValue": ["dce-a", "dce-b", "dce-c"]}},
        outputs={"ids": {"type": "array", "copy": {"count": 2, "input": f"{read}.immutableId]"}}},
    )
    checked = world.call("POST", f"{DEPLOYMENT}/whatIf", body(document)).json()["properties"]["changes"]
    assert [item["changeType"] for item in checked] == ["Create", "Create", "Ignore"]
    made = world.put(DEPLOYMENT, body(document))["properties"]
    assert made["provisioningState"] == "Succeeded", made
    found = [world.get(endpoint(name)) for name in ("dce-a", "dce-b")]
    assert [item["tags"]["at"] for item in found] == ["10", "11"]
    assert made["outputs"]["ids"]["value"] == [item["properties"]["immutableId"] for item in found]
    assert world.call("GET", endpoint("dce-c")).status_code == 404


def test_symbolic_loops_are_read_as_bicep_reads_them(world: World) -> None:
    start(world)
    resources = {
        "things": {**ENDPOINT, "name": "[format('dce-{0}', copyIndex())]", "copy": {"name": "things", "count": 2}},
        "old": {**ENDPOINT, "existing": True, "name": "[format('dce-{0}', copyIndex())]",
                "copy": {"name": "old", "count": 1}, "dependsOn": ["things"]},
        "last": {**ENDPOINT, "name": "last", "tags": {"first": "[reference('things[0]').immutableId]"}},
    }  # fmt: skip
    outputs = {
        "all": {"type": "array", "value": "[map(references('things'), lambda('x', lambdaVariables('x').immutableId))]"},
        "full": {"type": "string", "value": "[references('things', 'full')[1].name]"},
        "old": {"type": "string", "value": "[reference(format('old[{0}]', 0)).immutableId]"},
    }  # fmt: skip
    document = {**template(outputs=outputs), "languageVersion": "2.0", "resources": resources}
    made = world.put(DEPLOYMENT, body(document))["properties"]
    assert made["provisioningState"] == "Succeeded", made
    ids = [world.get(endpoint(f"dce-{place}"))["properties"]["immutableId"] for place in range(2)]
    assert {name: item["value"] for name, item in made["outputs"].items()} == {
        "all": ids, "full": "dce-1", "old": ids[0],
    }  # fmt: skip
    assert world.get(endpoint("last"))["tags"]["first"] == ids[0]
    wrong = {**document, "outputs": {"x": {"type": "object", "value": "[reference('things')]"}}}
    failed = world.call("PUT", DEPLOYMENT, body(wrong)).json()["properties"]["error"]["details"][0]
    assert "references() takes all" in failed["message"]


def test_a_loop_of_nested_deployments_passes_its_index_on(world: World) -> None:
    start(world)
    inner = template(
        {**ENDPOINT, "name": "[parameters('names')[0]]"}, parameters={"names": {"type": "array"}}
    )
    item = {"name": "value", "count": 1, "input": "[concat('dce-', copyIndex())]"}
    module = {
        **nested(
            template=inner,
            expressionEvaluationOptions={"scope": "inner"},
            parameters={"names": {"copy": [item]}},
        ),
        "name": "[concat('module-', copyIndex())]",
        "copy": {"name": "modules", "count": 2},
    }
    outer = {
        **nested(template=template({**ENDPOINT, "name": "[concat('outer-', copyIndex())]"})),
        "name": "[concat('outer-', copyIndex())]",
        "copy": {"name": "outers", "count": 2},
        "dependsOn": ["modules"],
    }
    made = world.put(DEPLOYMENT, body(template(outer, module)))["properties"]
    assert made["provisioningState"] == "Succeeded", made
    for name in ("dce-0", "dce-1", "outer-0", "outer-1"):
        assert world.get(endpoint(name))["location"] == "eastus"


def test_nested_loops_of_deployments_are_bounded_in_all(world: World) -> None:
    start(world)
    name = "[uniqueString(resourceGroup().id, deployment().name, string(copyIndex()))]"
    kept = {**ENDPOINT, "name": name, "condition": False, "copy": {"name": "kept", "count": 700}}
    loop = {"name": "modules", "count": 4}
    inner = {"scope": "inner"}
    module = {**nested(template=template(kept), expressionEvaluationOptions=inner), "copy": loop,
              "name": "[concat('m', copyIndex())]"}  # fmt: skip
    made = world.put(DEPLOYMENT, body(template(module)))["properties"]
    messages = [item["message"] for item in made["error"]["details"]]
    assert any(str(MAX_RESOURCES_IN_ALL) in message for message in messages), messages
