"""Warnings of traps, and the register of all codes."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import headrace.kql
from headrace.kql.editor import Severity, Target, diagnose, lint
from headrace.kql.editor.reference import ERROR_CODES
from headrace.kql.model import Tables
from headrace.kql.types import KustoType, Schema, SchemaColumn

LOGS = Schema(
    (
        SchemaColumn("TimeGenerated", KustoType.DATETIME),
        SchemaColumn("Message", KustoType.STRING),
        SchemaColumn("Key", KustoType.LONG),
    )
)
QUERY = Target.query(Tables({"Logs": LOGS, "Small": Schema((SchemaColumn("Key", KustoType.LONG),))}))
CODE = re.compile(r"KQL\d{4}\Z")


def codes(text: str, target: Target = QUERY) -> list[str]:
    return [problem.code for problem in lint(text, target)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Logs | where tolower(Message) == 'x'", ["KQL0321"]),
        ("Logs | where 'X' != toupper(Message)", ["KQL0321"]),
        ("Logs | where tolower(Message) == Message", []),
        ("Logs | where TimeGenerated == datetime(2024-01-01)", ["KQL0322"]),
        ("Logs | where bin(TimeGenerated, 1d) == datetime(2024-01-01)", []),
        ("Logs | where TimeGenerated > datetime(2024-01-01)", []),
        ("Logs | summarize count() by TimeGenerated", ["KQL0323"]),
        ("Logs | summarize count() by bin(TimeGenerated, 1h)", []),
        ("Logs | extend Day = startofday(TimeGenerated) | summarize count() by Day", []),
        ("Logs | join kind=inner (Logs) on Key", ["KQL0324"]),
        ("Logs | join kind=inner (Logs | where TimeGenerated > ago(1d)) on Key", []),
        ("let Recent = Logs | where TimeGenerated > ago(1d); Logs | join kind=inner (Recent) on Key", []),
        ("let Any = Logs | where Key > 1; Logs | join kind=inner Any on Key", ["KQL0324"]),
        ("Logs | join kind=inner (Small) on Key", []),
        ("Logs | join (Small) on Key", ["KQL0325"]),
        ("Logs | lookup (Small) on Key", []),
        ("union *", ["KQL0326"]),
        ("union L*", []),
        ("Logs | where (", []),
        ("let a = b; let b = a; Logs | join kind=inner (a) on Key", []),
    ],
)
def test_traps(text: str, expected: list[str]) -> None:
    assert codes(text) == expected


def test_a_trap_has_a_place_and_a_cure() -> None:
    text = "Logs\n| summarize count() by Message, TimeGenerated"
    (problem,) = lint(text, QUERY)
    assert problem.span is not None
    assert (problem.span.line, problem.span.column, problem.span.length) == (2, 33, len("TimeGenerated"))
    assert problem.hint == "Group by `bin(TimeGenerated, 1h)`."


def test_errors_and_warnings_come_in_their_order() -> None:
    found = diagnose("Logs | where tolower(Message) == 'x' | where Nobody == 1", QUERY)
    assert [(item.severity, item.problem.code) for item in found] == [
        (Severity.WARNING, "KQL0321"),
        (Severity.ERROR, "KQL0104"),
    ]


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("print strlen(1, 2)", "strlen(text: string) -> long"),
        ("Logs | where TimeGenerated == '2024-01-01'", "`datetime(2024-01-01)`"),
        ("Logs | where Message", "Compare it, or ask `isnotempty()`."),
        ("Logs | where Mesage == ''", "Did you mean `Message`?"),
    ],
)
def test_an_error_says_its_cure(text: str, cure: str) -> None:
    errors = [item.problem for item in diagnose(text, QUERY) if item.severity is Severity.ERROR]
    assert errors[0].hint is not None
    assert cure in errors[0].hint


def test_the_register_has_every_code_once() -> None:
    registered = [item.code for item in ERROR_CODES]
    assert len(set(registered)) == len(registered)
    assert all(CODE.match(code) for code in registered)
    used = set()
    for file in Path(headrace.kql.__path__[0]).rglob("*.py"):
        if file.name == "reference.py":
            continue
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and CODE.match(node.value):
                used.add(node.value)
    assert used == set(registered)


def test_the_register_says_warnings_by_their_number() -> None:
    for item in ERROR_CODES:
        assert (item.severity is Severity.WARNING) == item.code.startswith("KQL03")
        assert item.meaning.endswith(".")
        assert item.cure.endswith(".")


def test_messages_are_sentences() -> None:
    """Each message that the compiler spells starts with a capital or a name in quotes and ends with a stop."""
    checked = 0
    for file in Path(headrace.kql.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if node.func.attr not in ("report", "fail", "warn", "problem"):
                continue
            for argument in node.args:
                text = _spelled(argument)
                if " " not in text:
                    continue
                checked += 1
                assert text[0].isupper() or text[0] in "`{", (file.name, node.lineno, text)
                assert text.rstrip("`")[-1] in ".}", (file.name, node.lineno, text)
                assert "\n" not in text, (file.name, node.lineno, text)
    assert checked > 100


def _spelled(node: ast.expr) -> str:
    """A text as the source spells it, `{}` for what is put in."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        parts = (str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        return "".join(parts)
    return ""
