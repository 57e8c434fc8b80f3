"""Multi-stage transformations, from the processors to the rows of the file."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.transform_kit import make_catalog, make_flow, make_rule, make_table
from tests.unit.transform.test_compile import run

from headrace.catalog.multistage import Stage, TransformationReader
from headrace.catalog.rules import Rule
from headrace.kql.api import compile_stages
from headrace.kql.types import KustoType, Schema, SchemaColumn
from headrace.settings import TransformSettings
from headrace.transform.stages import staged_transform
from headrace.transform.validate import validate_rule

HEADER = {"processor": "header.CustomStream", "configuration": {"streamId": "Custom-Things"}}
XML = (
    "<Event><System><EventID>4688</EventID></System><EventData>"
    "<Data Name='User'>ann</Data><Data Name='Host'>h1</Data></EventData></Event>"
)
CEF = r"CEF:0|Acme|Wall|1.0|100|Blocked|7|src=10.0.0.1 spt=99 act=deny cs1=a\=b msg=two words"
ROWS: list[dict[str, Any]] = [
    {
        "TimeGenerated": "2026-11-23T11:00:00Z",
        "Id": 1,
        "Text": "alpha one",
        "Level": 3,
        "Ratio": 0.5,
        "Good": True,
    },
    {
        "TimeGenerated": "2026-11-23T11:00:00Z",
        "Id": 2,
        "Text": "BETA",
        "Level": 5,
        "Data": {"a": {"b": 7}, "n": 4},
    },
    {"TimeGenerated": "2026-11-23T11:00:00Z", "Id": 3, "Text": "", "Level": 9, "Data": "text"},
]


def stages_of(*processors: tuple[str, dict[str, Any]]) -> tuple[Stage, ...]:
    document = {
        "name": "t",
        "headerProcessor": HEADER,
        "processors": [
            {"processor": name, "configuration": configuration} for name, configuration in processors
        ],
    }
    problems: list[object] = []
    found = TransformationReader(lambda *problem: problems.append(problem)).read([document])
    assert not problems
    return found["t"].stages


def rule_of(*processors: tuple[str, dict[str, Any]]) -> Rule:
    return make_rule(replace(make_flow(), stages=stages_of(*processors)))


def transformed(
    folder: Path, *processors: tuple[str, dict[str, Any]], rows: Any = None
) -> list[dict[str, Any]]:
    return run(folder, rows or ROWS, rule=rule_of(*processors))


def condition(column: str, operator: str, value: Any) -> dict[str, Any]:
    return {"columnName": column, "operator": operator, "value": value}


def kept(folder: Path, *groups: list[dict[str, Any]]) -> list[int]:
    found = transformed(folder, ("filter.Basic", {"any": [{"all": group} for group in groups]}))
    return [row["Id"] for row in found]


@pytest.mark.parametrize(
    ("groups", "ids"),
    [
        ([[condition("Text", "==", "BETA")]], [2]),
        ([[condition("Text", "==", "beta")]], []),
        ([[condition("Text", "contains", "beta")]], [2]),
        ([[condition("Text", "!contains", "a")]], [3]),
        ([[condition("Level", ">", 3), condition("Level", "<=", 5)]], [2]),
        ([[condition("Level", ">", "3")], [condition("Id", "==", 1)]], [1, 2, 3]),
        ([[condition("Ratio", ">=", 0.5)]], [1]),
        ([[condition("Good", "==", True)]], [1]),
        ([[condition("TimeGenerated", "<", "2026-11-23T12:00:00Z")]], [1, 2, 3]),
        ([[condition("Data", "contains", '"b":7')]], [2]),
        ([[condition("Data", "==", "text")]], [3]),
    ],
)
def test_a_filter_keeps_what_any_group_takes(
    tmp_path: Path, groups: list[list[dict[str, Any]]], ids: list[int]
) -> None:
    assert kept(tmp_path, *groups) == ids


def test_columns_are_renamed_cast_and_dropped(tmp_path: Path) -> None:
    rows = transformed(
        tmp_path,
        ("map.Drop", {"columnNames": ["Level", "Ratio"]}),
        ("map.Rename", {"all": [{"columnName": "Id", "nameAs": "Level", "typeAs": "int"}]}),
        ("map.Rename", {"all": [{"columnName": "Text", "nameAs": "Id", "typeAs": "long"}]}),
        ("transform.KQL", {"expression": "source | extend Text = strcat('level ', Level)"}),
    )
    assert [(row["Level"], row["Id"], row["Text"], row["Ratio"]) for row in rows] == [
        (1, None, "level 1", None),
        (2, None, "level 2", None),
        (3, None, "level 3", None),
    ]


@pytest.mark.parametrize(
    ("processor", "text", "paths", "found"),
    [
        ("parse.JsonPath", '{"a": {"b": [1, 2]}, "t": "x"}', ["$.a.b[1]", "$.t", "$.no"], ["2", "x", ""]),
        (
            "parse.XmlPath",
            XML,
            ["/Event/System/EventID", "/Event/EventData/Data[@Name='Host']", "//Data/@Name", "/No"],
            ["4688", "h1", "User", ""],
        ),
        (
            "parse.CEFAttribute",
            CEF,
            ["deviceVendor", "sourceAddress", "src", "deviceCustomString1", "message", "nope"],
            ["Acme", "10.0.0.1", "10.0.0.1", "a=b", "two words", ""],
        ),
        ("parse.XmlPath", "no xml", ["/Event"], [""]),
        ("parse.JsonPath", "no json", ["$.a"], [""]),
    ],
)
def test_values_are_found_by_their_path(
    tmp_path: Path, processor: str, text: str, paths: list[str], found: list[str]
) -> None:
    row = {"TimeGenerated": "2026-11-23T11:00:00Z", "Text": text}
    items = [{"path": path, "nameAs": f"p{place}"} for place, path in enumerate(paths)]
    listed = ", '|', ".join(f"p{place}" for place in range(len(paths)))
    rows = transformed(
        tmp_path,
        (processor, {"columnName": "Text", "all": items}),
        ("transform.KQL", {"expression": f"source | extend Text = strcat({listed})"}),
        rows=[row],
    )
    assert rows[0]["Text"] == "|".join(found)


def test_a_found_value_is_cast_and_a_failed_cast_is_null(tmp_path: Path) -> None:
    items = [
        {"path": "$.n", "nameAs": "Id", "typeAs": "long"},
        {"path": "$.a", "nameAs": "Level", "typeAs": "int"},
        {"path": "$.t", "nameAs": "TimeGenerated", "typeAs": "datetime"},
        {"path": "$.b", "nameAs": "Good", "typeAs": "bool"},
    ]
    text = '{"n": 12, "a": "abc", "t": "2026-11-23T10:30:00Z", "b": "true"}'
    row = {"TimeGenerated": "2026-11-23T11:00:00Z", "Text": text, "Level": 4}
    (made,) = transformed(tmp_path, ("parse.JsonPath", {"columnName": "Text", "all": items}), rows=[row])
    assert (made["Id"], made["Level"], made["Good"]) == (12, None, True)
    assert made["TimeGenerated"].hour == 10


def test_names_of_one_expression_end_with_it(tmp_path: Path) -> None:
    first = "let x = 2; let kept = source; kept | where Id >= x; // the larger\n"
    rows = transformed(
        tmp_path,
        ("transform.KQL", {"expression": first}),
        ("transform.KQL", {"expression": "let x = 10; source | extend Id = Id * x"}),
        ("filter.Basic", {"any": [{"all": [condition("Id", ">", 20)]}]}),
    )
    assert [row["Id"] for row in rows] == [30]


def test_names_and_values_with_quotes_stay_what_they_are(tmp_path: Path) -> None:
    odd = "a'] | where false //\"\\ é😀"
    rows = transformed(
        tmp_path,
        ("map.Rename", {"all": [{"columnName": "Text", "nameAs": odd}]}),
        ("filter.Basic", {"any": [{"all": [condition(odd, "!=", odd)]}]}),
        ("map.Rename", {"all": [{"columnName": odd, "nameAs": "Text"}]}),
    )
    assert [row["Text"] for row in rows] == ["alpha one", "BETA", ""]


def test_without_processors_the_record_goes_through(tmp_path: Path) -> None:
    assert [row["Id"] for row in transformed(tmp_path)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("processors", "place", "code", "words"),
    [
        (
            [("map.Drop", {"columnNames": ["Nope"]})],
            0,
            "InvalidTransform",
            ["map.Drop of transformation 't'", "`Nope`"],
        ),
        (
            [
                ("map.Drop", {"columnNames": ["Id"]}),
                ("map.Rename", {"all": [{"columnName": "Id", "typeAs": "int"}]}),
            ],
            1,
            "InvalidTransform",
            ["map.Rename", "`Id`"],
        ),
        (
            [("transform.KQL", {"expression": "source\n| extend x = Levle"})],
            0,
            "InvalidTransformQuery",
            ["transform.KQL", "at 2:14", "`Level`"],
        ),
        ([("transform.KQL", {"expression": "source | count"})], 0, "InvalidTransformQuery", ["row by row"]),
        (
            [("transform.KQL", {"expression": "source }; source"})],
            0,
            "InvalidTransformQuery",
            ["transform.KQL"],
        ),
        (
            [("filter.Basic", {"any": [{"all": [condition("Level", ">", "high")]}]})],
            0,
            "InvalidTransform",
            ["filter.Basic", "'high'", "int"],
        ),
        (
            [
                (
                    "parse.XmlPath",
                    {"columnName": "Text", "all": [{"path": "/a[position() > 1]", "nameAs": "x"}]},
                )
            ],
            0,
            "InvalidTransform",
            ["parse.XmlPath", "position()"],
        ),
    ],
)
def test_a_problem_names_its_processor(
    processors: list[tuple[str, dict[str, Any]]], place: int, code: str, words: list[str]
) -> None:
    (problem, *_) = validate_rule(rule_of(*processors), make_catalog(make_table()))
    assert (problem.code, problem.target) == (code, f"properties.transformations[0].processors[{place}]")
    told = f"{problem.message} {problem.hint}"
    assert all(word in told for word in words), told


def test_as_many_processors_as_a_transformation_may_have_run_as_one(tmp_path: Path) -> None:
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("transform.KQL", {"expression": "let mark = 'x'; source | extend Text = strcat(Text, mark)"}),
        (
            "transform.KQL",
            {"expression": "let rows = source; rows | where Id > 0 | extend Level = Level + 1"},
        ),
        ("filter.Basic", {"any": [{"all": [condition("Level", "<", 1000)]}]}),
        ("map.Rename", {"all": [{"columnName": "Level", "typeAs": "int"}]}),
        ("transform.KQL", {"expression": "source | extend TimeGenerated = now()"}),
    ]
    rows = transformed(tmp_path, *(kinds * 10))
    assert [row["Text"] for row in rows] == [f"{row['Text']}{'x' * 10}" for row in ROWS]
    assert [row["Level"] for row in rows] == [row["Level"] + 10 for row in ROWS]
    assert len({row["TimeGenerated"] for row in rows}) == 1


def test_the_output_is_checked_like_any_transforms() -> None:
    rule = rule_of(("map.Rename", {"all": [{"columnName": "Id", "typeAs": "int"}]}))
    (problem,) = validate_rule(rule, make_catalog(make_table()))
    assert problem.code == "InvalidTransformOutput"
    assert problem.target == "properties.dataFlows[0]"


def test_only_the_users_own_kql_is_held_to_the_documented_functions() -> None:
    columns = (SchemaColumn("TimeGenerated", KustoType.DATETIME), SchemaColumn("Text", KustoType.STRING))
    parse = ("parse.JsonPath", {"columnName": "Text", "all": [{"path": "$.a", "nameAs": "a"}]})
    own = ("transform.KQL", {"expression": "source | extend b = trim(' ', Text)"})
    made = staged_transform(stages_of(parse), columns, "documented")
    assert [c.name for c in compile_stages(made.texts, Schema(columns)).statements[-1].columns][-1] == "a"
    settings = TransformSettings.model_validate({"functions": "documented"})
    assert validate_rule(rule_of(parse), make_catalog(make_table()), settings) == ()
    assert validate_rule(rule_of(own), make_catalog(make_table()), settings)
    assert staged_transform(stages_of(own), columns, "extended").warnings


def test_the_cure_stands_beside_the_message_alone() -> None:
    rule = rule_of(("transform.KQL", {"expression": "source | extend b = Txt"}))
    (problem,) = validate_rule(rule, make_catalog(make_table()))
    assert problem.hint and "`Text`" in problem.hint
    assert problem.hint not in problem.message


def test_the_documented_example_is_a_transformation() -> None:
    page = (Path(__file__).parents[3] / "docs/how-to/stages.md").read_text("utf-8")
    (block,) = re.findall(r"^```json\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    problems: list[object] = []
    found = TransformationReader(lambda *problem: problems.append(problem)).read(
        json.loads(block)["transformations"]
    )
    assert not problems
    columns = [SchemaColumn("Level", KustoType.INT)]
    columns += [SchemaColumn(name, KustoType.STRING) for name in ("Host", "Body")]
    made = staged_transform(found["orders"].stages, tuple(columns), "documented")
    names = [c.name for c in compile_stages(made.texts, Schema(tuple(columns))).statements[-1].columns]
    assert names == ["Level", "Computer", "Customer", "TimeGenerated"]
