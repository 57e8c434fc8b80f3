"""Plans as trees."""

from __future__ import annotations

from headrace.kql.editor import Target
from headrace.kql.editor.diagnostics import compile_for
from headrace.kql.editor.explain import plan_text, sql_text
from headrace.kql.model import Tables
from headrace.kql.types import KustoType, Schema, SchemaColumn

LOGS = Schema(
    (
        SchemaColumn("TimeGenerated", KustoType.DATETIME),
        SchemaColumn("Message", KustoType.STRING),
        SchemaColumn("Key", KustoType.LONG),
    )
)
QUERY = Target.query(Tables({"Logs": LOGS}))


def plan(text: str) -> list[str]:
    return plan_text(compile_for(text, QUERY).statements[0]).splitlines()


def test_a_plan_reads_from_the_last_step_down() -> None:
    lines = plan(
        "Logs | where TimeGenerated > datetime(2024-01-01) | summarize n = count() by Message | take 5"
    )
    assert lines[0] == "Result: Message: string, n: long"
    assert lines[1].startswith("Limit count=5")
    assert [line.strip("└─ ").split(" ")[0] for line in lines[2:]] == ["Aggregate", "Filter", "TableScan"]
    assert "TimeGenerated 2024-01-01T00:00:00" in lines[-1]
    assert "Key" not in lines[-1]


def test_both_sides_of_a_join_are_branches() -> None:
    lines = plan("Logs | join kind=inner (Logs | where Key > 1) on Key")
    assert any("├─ left: TableScan Logs" in line for line in lines)
    assert any("└─ right: Filter Key > 1" in line for line in lines)


def test_a_shared_plan_is_shown_once() -> None:
    lines = plan("let m = materialize(Logs | where Key > 1); union m, m")
    assert sum("Shared m1" in line for line in lines) == 2
    assert sum("TableScan" in line for line in lines) == 1


def test_sub_queries_are_branches() -> None:
    lines = plan("Logs | where Key in (Logs | where Message == 'x' | project Key)")
    assert sum("TableScan Logs" in line for line in lines) == 2


def test_the_sql_is_laid_out() -> None:
    text = sql_text(compile_for("Logs | where Key > 1", QUERY).statements[0])
    assert text.startswith("SELECT\n")
    assert 'FROM "Logs"' in text
