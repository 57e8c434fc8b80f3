"""Multi-stage transformations as documents: what they mean, and every way in which they are wrong."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.catalog.test_catalog_rules import faults, parse

from headrace.catalog.multistage import (
    CODE,
    Condition,
    Drop,
    Extract,
    Extraction,
    Filter,
    Kql,
    Rename,
    Renaming,
    TransformationReader,
)
from headrace.errors import ProblemError
from headrace.kql.types import KustoType

HEADER = {"processor": "header.CustomStream", "configuration": {"streamId": "Custom-A"}}
AT = "properties.transformations[0]"
FIRST = f"{AT}.processors[0]"
FLOW = "properties.dataFlows[0]"


def processor(name: str, **configuration: Any) -> dict[str, Any]:
    return {"processor": name, "configuration": configuration}


def staged(*processors: Any, header: Any = HEADER, **flow: Any) -> dict[str, Any]:
    """The changes of a document whose one data flow goes through one transformation."""
    own = {"streams": ["Custom-A"], "destinations": ["la"], "outputStream": "Custom-T_CL", "transform": "t"}
    return {
        "transformations": [{"name": "t", "headerProcessor": header, "processors": list(processors)}],
        "dataFlows": [{**own, **flow}],
    }


def test_every_processor_is_read() -> None:
    condition = {"columnName": "a", "operator": "!contains", "value": "x"}
    changes = staged(
        processor("filter.Basic", any=[{"all": [condition, condition | {"value": 5}]}]),
        processor(
            "map.Rename",
            all=[{"columnName": "a", "nameAs": "b", "typeAs": "long"}, {"columnName": "c", "typeAs": "bool"}],
        ),
        processor("map.Drop", columnNames=["b"]),
        processor("parse.JsonPath", columnName="a", all=[{"path": "$.x", "nameAs": "x"}]),
        processor("transform.KQL", expression="source | extend y = 1"),
    )
    flow = parse(**changes).flows[0]
    assert [stage.step for stage in flow.stages] == [
        Filter(((Condition("a", "!contains", "x"), Condition("a", "!contains", 5)),)),
        Rename((Renaming("a", "b", KustoType.LONG), Renaming("c", "c", KustoType.BOOL))),
        Drop(("b",)),
        Extract("a", (Extraction("$.x", "x", KustoType.STRING),)),
        Kql("source | extend y = 1"),
    ]
    assert [stage.target for stage in flow.stages] == [f"{AT}.processors[{place}]" for place in range(5)]
    assert flow.transform == "source"


def test_what_agents_run_is_kept_and_not_read() -> None:
    transformations = [
        {
            "name": "there",
            "headerProcessor": {"processor": "header.Syslog"},
            "processors": [{"processor": "aggregate.Basic"}],
        }
    ]
    assert parse(transformations=transformations).flows[0].stages == ()
    flow = {
        "streams": ["Custom-A"],
        "destinations": ["la"],
        "outputStream": "Custom-T_CL",
        "transform": "there",
    }
    assert faults(transformations=transformations, dataFlows=[flow]) == [(CODE, f"{FLOW}.transform")]


@pytest.mark.parametrize("name", ["aggregate.Basic", "enrich.DNSLookup"])
def test_what_is_refused_says_why(name: str) -> None:
    with pytest.raises(ProblemError) as raised:
        parse(**staged(processor(name)))
    (problem,) = raised.value.problems
    assert problem.target == f"{FIRST}.processor"
    assert problem.message.startswith(f"{name} is not supported: ")
    assert problem.hint


@pytest.mark.parametrize(
    ("changes", "target"),
    [
        (staged(processor("filter.basic", any=[])), f"{FIRST}.processor"),
        (staged({"configuration": {}}), f"{FIRST}.processor"),
        (staged({"processor": "map.Drop"}), f"{FIRST}.configuration"),
        (staged(processor("map.Drop", columnNames=[])), f"{FIRST}.configuration.columnNames"),
        (staged(processor("map.Drop", columnNames=["a", 5])), f"{FIRST}.configuration.columnNames[1]"),
        (staged(processor("map.Rename", all=[{"columnName": "a"}])), f"{FIRST}.configuration.all[0]"),
        (
            staged(processor("map.Rename", all=[{"columnName": "a", "typeAs": "guid"}])),
            f"{FIRST}.configuration.all[0].typeAs",
        ),
        (
            staged(processor("parse.XmlPath", columnName="a", all=[{"nameAs": "x"}])),
            f"{FIRST}.configuration.all[0].path",
        ),
        (
            staged(
                processor("filter.Basic", any=[{"all": [{"columnName": "a", "operator": "~", "value": 1}]}])
            ),
            f"{FIRST}.configuration.any[0].all[0].operator",
        ),
        (
            staged(
                processor("filter.Basic", any=[{"all": [{"columnName": "a", "operator": "==", "value": []}]}])
            ),
            f"{FIRST}.configuration.any[0].all[0].value",
        ),
        (staged(processor("transform.KQL", expression=" ")), f"{FIRST}.configuration.expression"),
        (staged(header=None), f"{AT}.headerProcessor.processor"),
        (
            staged(header=HEADER | {"configuration": {"streamId": "A"}}),
            f"{AT}.headerProcessor.configuration.streamId",
        ),
        (staged(header=HEADER | {"configuration": {"streamId": "Custom-B"}}), f"{FLOW}.transform"),
        (staged(transform="u"), f"{FLOW}.transform"),
        (staged(transformKql="source"), f"{FLOW}.transform"),
        (staged(streams=["Custom-A", "Microsoft-Syslog"]), f"{FLOW}.streams"),
        ({"transformations": {}}, "properties.transformations"),
        ({"transformations": [{}]}, f"{AT}.name"),
        (
            {"transformations": [{"name": "t", "headerProcessor": HEADER}] * 2},
            "properties.transformations[1].name",
        ),
    ],
)
def test_every_fault_has_its_place(changes: dict[str, Any], target: str) -> None:
    assert [place for _, place in faults(**changes)] == [target]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(
    ["filter.Basic", "map.Rename", "map.Drop", "parse.JsonPath", "transform.KQL", "other"]
)
FIELDS = st.sampled_from(
    ["any", "all", "columnName", "columnNames", "nameAs", "typeAs", "path", "operator", "value", "expression"]
)
PART = st.recursive(
    JSON, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(FIELDS, inner, max_size=4), max_leaves=8
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.fixed_dictionaries({"processor": NAMES | JSON, "configuration": PART}) | JSON, max_size=3))
def test_any_document_is_read_or_has_problems(processors: list[Any]) -> None:
    problems: list[tuple[str, str, str, str | None]] = []
    reader = TransformationReader(lambda *problem: problems.append(problem))
    found = reader.read([{"name": "t", "headerProcessor": HEADER, "processors": processors}])
    assert len(found["t"].stages) == len(processors) or problems
