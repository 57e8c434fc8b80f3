"""Real transforms, from KQL text to the rows of the file."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from tests.transform_kit import make_catalog, make_flow, make_rule, make_table
from tests.unit.transform.test_compile import RECEIVED, run

from headrace.kql.types import KustoType
from headrace.settings import TransformSettings
from headrace.transform.compile import compile_flow
from headrace.transform.validate import validate_rule

ROWS = [
    {
        "TimeGenerated": "2026-11-23T11:00:00Z",
        "Id": 1,
        "Text": "one two",
        "Level": 3,
        "Data": {"a": {"b": 5}},
    },
    {"TimeGenerated": "2026-11-23T10:00:00Z", "Id": 2, "Text": "three", "Level": 4, "Data": "text"},
    {"Id": 3},
]


def transform(folder: Path, text: str) -> list[dict[str, object]]:
    return run(folder, ROWS, rule=make_rule(make_flow(transform=text)))


def test_filter_and_extend(tmp_path: Path) -> None:
    rows = transform(tmp_path, "source | where Level >= 3 | extend Text = strcat(Text, '!'), Id = Id * 10")
    assert [(row["Id"], row["Text"], row["_Row"]) for row in rows] == [(10, "one two!", 0), (20, "three!", 1)]


def test_the_place_is_kept_through_a_filter_and_a_projection(tmp_path: Path) -> None:
    rows = transform(tmp_path, "source | where Id != 1 | project TimeGenerated, Text = tostring(Id)")
    assert [(row["Text"], row["Id"], row["_Offset"], row["_Row"]) for row in rows] == [
        ("2", None, 5, 1),
        ("3", None, 5, 2),
    ]


def test_now_is_the_received_time(tmp_path: Path) -> None:
    rows = transform(tmp_path, "source | project TimeGenerated = now() - 1h, Id")
    assert [row["TimeGenerated"] for row in rows] == [RECEIVED - timedelta(hours=1)] * 3


def test_dynamic_members(tmp_path: Path) -> None:
    rows = transform(tmp_path, "source | extend Id = tolong(Data.a.b), Text = tostring(Data)")
    assert [(row["Id"], row["Text"]) for row in rows] == [(5, '{"a":{"b":5}}'), (None, "text"), (None, "")]


def test_let_and_parse(tmp_path: Path) -> None:
    text = (
        "let wanted = 2; source | where Id < wanted | parse Text with First ' ' Second | project-away Level"
    )
    rows = transform(tmp_path, text + " | extend Text = strcat(Second, First) | project-away First, Second")
    assert [(row["Text"], row["Level"]) for row in rows] == [("twoone", None)]


@pytest.mark.parametrize("time", ["now()", "datetime(2026-11-23 09:00:00)"])
def test_print_gives_a_row_for_each_row(tmp_path: Path, time: str) -> None:
    rows = transform(tmp_path, f"print TimeGenerated = {time}, Text = 'x'")
    assert [(row["Text"], row["_Row"]) for row in rows] == [("x", 0), ("x", 1), ("x", 2)]


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("source | extend x = Nothing", "InvalidTransformQuery", "at 1:21"),
        ("source | extend x = Nothing", "InvalidTransformQuery", "SemanticError:0x00000006"),
        ("source | extend x = Nothing", "InvalidTransformQuery", "Undefined symbol: Nothing. "),
        ("source\n| where", "InvalidTransformQuery", "SyntaxError:0x00000001"),
        ("source\n| where", "InvalidTransformQuery", "at 2:"),
        ("source | summarize count()", "InvalidTransformQuery", "summarize"),
        ("source | project Id", "InvalidTransformQuery", "TimeGenerated"),
        ("source | extend Id = toint(Id)", "InvalidTransformOutput", "Id [produced:'Int', output:'Long']"),
        ("source | extend Id = 1h", "InvalidTransformOutput", "Id [produced:'TimeSpan', output:'Long']"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, code: str, words: str) -> None:
    (problem, *_) = validate_rule(make_rule(make_flow(transform=text)), make_catalog(make_table()))
    assert problem.code == code
    assert words in problem.message
    assert problem.target == "properties.dataFlows[0]"


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("source | extend Id = toint(Id)", "| extend Id = tolong(Id)"),
        ("source | extend Id = 'a', Level = 'b'", "| extend Id = tolong(Id), Level = toint(Level)"),
        ("source | extend Bag = 'a'", "| extend Bag = parse_json(Bag)"),
        ("source | extend Found = lookup_string_am('store', Text)", "reads no blobs"),
    ],
)
def test_the_cure_is_told(text: str, cure: str) -> None:
    columns = (
        ("TimeGenerated", KustoType.DATETIME),
        ("Id", KustoType.LONG),
        ("Level", KustoType.INT),
        ("Bag", KustoType.DYNAMIC),
    )
    catalog = make_catalog(make_table(columns=columns))
    (problem,) = validate_rule(make_rule(make_flow(transform=text)), catalog)
    assert cure in (problem.hint or "")


def test_a_warning_is_not_told_as_an_error() -> None:
    flow = make_flow(transform="source\n| extend Text = trim(' ', Text)")
    (warning,) = compile_flow(make_rule(flow), flow, make_table(), TransformSettings()).warnings
    assert " at 2:17 : `trim` is not on Azure's list" in warning.message
    assert "rror" not in warning.message


def test_an_extra_column_of_a_type_that_no_table_has_is_dropped() -> None:
    rule = make_rule(make_flow(transform="source | extend Took = 1h"))
    assert validate_rule(rule, make_catalog(make_table())) == ()


def test_a_guid_goes_into_a_text_column_of_a_standard_table_alone(tmp_path: Path) -> None:
    guid = "74BE27DE-1E4E-49D9-B579-FE0B331D3642"
    text = "source | extend Text = toguid(Text)"
    columns = (("TimeGenerated", KustoType.DATETIME), ("Text", KustoType.STRING))
    table = make_table("SecurityEvent", columns)
    rule = make_rule(make_flow(transform=text, table="SecurityEvent"))
    rows = run(tmp_path, [{"Text": guid}, {"Text": "none"}], rule=rule, table=table)
    assert [row["Text"] for row in rows] == [guid.lower(), ""]
    (problem,) = validate_rule(make_rule(make_flow(transform=text)), make_catalog(make_table()))
    assert "Text [produced:'Guid', output:'String']" in problem.message
