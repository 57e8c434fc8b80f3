"""Completion at a cursor, written `^` in the texts."""

from __future__ import annotations

import pytest

from headrace.kql.editor import CompletionItem, ItemKind, Target, complete
from headrace.kql.model import QueryOptions, Tables
from headrace.kql.types import KustoType, Schema, SchemaColumn

LOGS = Schema(
    (
        SchemaColumn("TimeGenerated", KustoType.DATETIME),
        SchemaColumn("Message", KustoType.STRING),
        SchemaColumn("Level", KustoType.INT),
        SchemaColumn("Props", KustoType.DYNAMIC),
        SchemaColumn("a b", KustoType.LONG),
        SchemaColumn("_TimeReceived", KustoType.DATETIME, hidden=True),
    )
)
USERS = Schema((SchemaColumn("User", KustoType.STRING), SchemaColumn("Age", KustoType.INT)))
QUERY = Target.query(
    Tables({"Logs": LOGS, "Users": USERS}), QueryOptions(functions={"Saved": "Logs | take 1"})
)
TRANSFORM = Target.transform(Schema(LOGS.columns[:5]))
DOCUMENTED = Target.transform(Schema(LOGS.columns[:5]), "documented")
OWN = ["TimeGenerated", "Message", "Level", "Props", "a b"]


def items(text: str, target: Target = QUERY) -> tuple[CompletionItem, ...]:
    offset = text.index("^")
    return complete(text.replace("^", ""), offset, target)


def labels(text: str, target: Target = QUERY, kind: ItemKind | None = None) -> list[str]:
    return [item.label for item in items(text, target) if kind is None or item.kind is kind]


def columns(text: str, target: Target = QUERY) -> list[str]:
    return labels(text, target, ItemKind.COLUMN)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Logs | where ^", OWN),
        ("Logs | where ^ | project Message", OWN),
        ("Logs | where Level > 1 and ^", OWN),
        ("Logs | where strlen(^", OWN),
        ("Logs | where (Level + ^) > 2", OWN),
        ("Logs | project Level, M2 = Message | where ^", ["Level", "M2"]),
        ("Logs | extend x = 1 | extend y = ^", [*OWN, "x"]),
        ("Logs | summarize n = count() by Message | where ^", ["Message", "n"]),
        ("Logs | summarize count() by ^", OWN),
        ("Logs | sort by ^", OWN),
        ("Logs | project-away ^", OWN),
        ("Logs | join kind=inner (Users | where ^", ["User", "Age"]),
        ("Logs | join kind=inner (Users | where ^) on User", ["User", "Age"]),
        ("Logs | where Level in (Users | project ^", ["User", "Age"]),
        ("Logs | where Level == toscalar(Users | summarize max(^", ["User", "Age"]),
        ("Logs | join (Users | where Age > 1) on $right.^", ["User", "Age"]),
        ("Logs | join (Users | where Age > 1) on $left.^", OWN),
        ("Logs | join Users on $left.Message == $right.^", ["User", "Age"]),
        ("Logs | mv-apply p = Props on (where ^", [*OWN[:3], "Props", "a b", "p"]),
        ("let T = Users | extend z = 1; T | where ^", ["User", "Age", "z"]),
        ("let T = Users | extend z = 1 | where ^", ["User", "Age", "z"]),
        ("let T = Users | where ^; T | take 5", ["User", "Age"]),
        ("let f = (t: (k: long)) { t | where ^ }; f(Logs)", ["k"]),
        ("Logs | whree x | where ^", OWN),
        ("Logs | where Level > | where ^", OWN),
        ("Logs | parse Message with 'a' p: long * | where ^", [*OWN, "p"]),
        ("print a = 1 | where ^", ["a"]),
        ("let q = (", []),
    ],
)
def test_columns_are_those_of_the_rows_at_hand(text: str, expected: list[str]) -> None:
    assert columns(text if "^" in text else text + "^") == expected


def test_a_hidden_column_answers_when_its_name_is_begun() -> None:
    assert "_TimeReceived" not in columns("Logs | where ^")
    assert columns("Logs | where _T^") == ["_TimeReceived"]


def test_a_name_that_is_no_identifier_is_quoted() -> None:
    item = next(item for item in items("Logs | where ^") if item.label == "a b")
    assert (item.insert, item.detail) == ("['a b']", "long")


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [("Logs | where Le^", 13, 15), ("Logs | where L^ev > 1", 13, 16), ("Logs | project-a^", 7, 16)],
)
def test_an_item_replaces_the_word_that_is_typed(text: str, start: int, end: int) -> None:
    assert {(item.start, item.end) for item in items(text)} == {(start, end)}


def test_operators_follow_a_bar() -> None:
    found = labels("Logs | ^")
    assert {"where", "summarize", "project-away", "join", "mv-expand", "render"} <= set(found)
    assert not {"print", "range", "datatable", "Logs"} & set(found)
    assert [name.removeprefix("project-") for name in labels("Logs | project-^")] == [
        "away", "keep", "rename", "by-names", "reorder",
    ]  # fmt: skip
    assert labels("Logs | mv-apply p = Props on (su^")[0] == "summarize"


def test_a_transform_hides_what_it_may_not_use() -> None:
    found = set(labels("source | ^", TRANSFORM))
    assert {"where", "extend", "project", "parse", "parse-kv"} <= found
    assert not {"summarize", "join", "take", "sort", "union", "render", "mv-expand", "search"} & found
    assert "parse-kv" not in labels("source | ^", DOCUMENTED)
    assert "union" not in labels("^", TRANSFORM)
    assert labels("^", TRANSFORM, ItemKind.TABLE) == ["source"]
    assert columns("source | where ^", TRANSFORM) == OWN
    functions = labels("source | extend a = ^", TRANSFORM)
    assert "tostring" in functions
    assert not {"count", "row_number", "prev"} & set(functions)


def test_sources_are_tables_names_and_saved_functions() -> None:
    found = labels("let T = Logs; let n = 5; ^")
    assert {"T", "Logs", "Users", "Saved", "let", "print"} <= set(found)
    assert "n" not in found
    assert "where" not in found
    assert {"Users", "T"} <= set(labels("let T = Logs; Logs | join ^"))
    assert {"Users", "T"} <= set(labels("let T = Logs; Logs | union ^"))
    assert "Users" in labels("Logs | join kind=inner (^")


def test_aggregates_stand_only_where_they_may() -> None:
    assert "count" in labels("Logs | summarize ^", kind=ItemKind.AGGREGATE)
    assert "max" in labels("Logs | summarize x = 1 + ^", kind=ItemKind.AGGREGATE)
    assert not labels("Logs | summarize count() by ^", kind=ItemKind.AGGREGATE)
    assert not labels("Logs | summarize max(^", kind=ItemKind.AGGREGATE)
    assert not labels("Logs | where ^", kind=ItemKind.AGGREGATE)


def test_functions_carry_signature_and_doc() -> None:
    item = next(item for item in items("Logs | extend x = strle^") if item.label == "strlen")
    assert item.detail == "strlen(text: string) -> long"
    assert item.documentation
    assert item.insert == "strlen("


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Logs | join kind=left^", ["leftouter", "leftsemi", "leftanti"]),
        ("Logs | parse kind=^", ["simple", "relaxed", "regex"]),
        ("Logs | sort ^", ["by"]),
        ("Logs | render tim^", ["timechart"]),
        ("Logs | evaluate bag^", ["bag_unpack"]),
        ("Logs | top 5 ^by", ["by"]),
    ],
)
def test_words_of_an_operator(text: str, expected: list[str]) -> None:
    assert labels(text)[: len(expected)] == expected


def test_after_a_value_come_operators_and_clauses() -> None:
    assert {"has", "==", "and", "in"} <= set(labels("Logs | where Message ^"))
    assert not columns("Logs | where Message ^")
    assert {"asc", "desc", "nulls last"} <= set(labels("Logs | sort by Level ^"))
    assert "by" in labels("Logs | summarize count() ^")
    assert "on" in labels("Logs | join kind=inner (Users) ^")


def test_values_and_functions_of_the_text() -> None:
    found = labels("let limit_ = 5; let twice = (x: long) { x * 2 }; Logs | where Level > ^")
    assert {"limit_", "twice"} <= set(found)
    assert "x" in labels("let twice = (x: long) { x * ^", kind=ItemKind.VARIABLE)


@pytest.mark.parametrize(
    "text",
    [
        "Logs | where Message has 'a^b'",
        'Logs | where Message == "^',
        "Logs | where Message == @'c:\\^x'",
        "Logs // a comment ^",
        "// ^",
        "Logs | where TimeGenerated > datetime(2024-^01-01)",
        "Logs | take 1^",
        "Logs | where Props.a^",
        "let ^",
        "Logs | as ^",
    ],
)
def test_nothing_where_nothing_can_be_known(text: str) -> None:
    assert items(text) == ()


def test_what_begins_with_the_prefix_comes_first() -> None:
    found = labels("Logs | extend a = time^")
    first = [label.lower().startswith("time") for label in found]
    assert first == sorted(first, reverse=True)
    assert found[0] == "TimeGenerated"
    assert "datetime_add" in found
