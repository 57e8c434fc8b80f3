"""`headrace kql`: what it prints, writes and ends with."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from headrace.catalog.standard import StandardTables
from headrace.cli.kql_target import read_stream
from headrace.cli.main import app
from headrace.errors import ProblemError
from headrace.kql.types import KustoType

STREAM = [
    {"name": "TimeGenerated", "type": "datetime"},
    {"name": "Message", "type": "string"},
    {"name": "Good", "type": "boolean"},
]


def run(*arguments: str, given: str | None = None) -> Result:
    return CliRunner().invoke(app, ["kql", *arguments], input=given)


@pytest.fixture
def stream(tmp_path: Path) -> str:
    path = tmp_path / "stream.json"
    path.write_text(json.dumps(STREAM), "utf-8")
    return str(path)


def test_a_good_query_says_nothing(tmp_path: Path) -> None:
    file = tmp_path / "q.kql"
    file.write_text("SecurityEvent | where TimeGenerated > ago(1d) | take 5", "utf-8")
    result = run("check", str(file))
    assert (result.exit_code, result.output) == (0, "")


def test_an_error_is_a_line_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "q.kql"
    file.write_text("SecurityEvent\n| where Computr == 'x'", "utf-8")
    result = run("check", str(file))
    assert result.exit_code == 1
    assert result.output == (
        f"{file}:2:9: error KQL0104 There is no column `Computr` here. (Did you mean `Computer`?)\n"
    )


def test_a_terminal_sees_the_line_and_a_marker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    result = run("check", "-", given="SecurityEvent\n\t| where Computr == '[red]'")
    lines = re.sub(r"\x1b\[[0-9;]*m", "", result.output).splitlines()
    assert lines[1:] == ["   | where Computr == '[red]'", "           ^^^^^^^"]


def test_several_problems_and_files_are_all_told(tmp_path: Path) -> None:
    first, second = tmp_path / "a.kql", tmp_path / "b.kql"
    first.write_text("SecurityEvent | where A == 1 and B == 2", "utf-8")
    second.write_text("SecurityEvent | take (", "utf-8")
    result = run("check", str(first), str(second))
    assert result.exit_code == 1
    assert [line.split(":")[0] for line in result.output.splitlines()] == [
        str(first),
        str(first),
        str(second),
    ]


def test_a_warning_alone_ends_with_0() -> None:
    result = run("check", "-", given="SecurityEvent | where tolower(Account) == 'x'")
    assert result.exit_code == 0
    assert result.output.startswith("<stdin>:1:23: warning KQL0321 ")


def test_json_has_every_part() -> None:
    result = run("check", "-", "--output", "json", given="SecurityEvent\n| where Computr == 'x'")
    assert result.exit_code == 1
    (entry,) = json.loads(result.output)
    assert entry == {
        "file": "<stdin>",
        "severity": "error",
        "code": "KQL0104",
        "message": "There is no column `Computr` here.",
        "hint": "Did you mean `Computer`?",
        "line": 2,
        "column": 9,
        "length": 7,
    }
    assert json.loads(run("check", "-", "-o", "json", given="print 1").output) == []


def test_brackets_in_a_text_are_no_markup() -> None:
    result = run("check", "-", given="SecurityEvent | where ['[red]x'] == 1")
    assert "`[red]x`" in result.output


def test_a_transform_is_checked_against_its_stream(stream: str) -> None:
    good = run("check", "-", "--transform", "--schema", stream, given="source | extend n = strlen(Message)")
    assert good.exit_code == 0
    bad = run("check", "-", "--transform", "--schema", stream, given="source | summarize count() by Message")
    assert bad.exit_code == 1
    assert "row by row" in bad.output


def test_a_transform_without_a_stream_is_refused() -> None:
    result = run("check", "-", "--transform", given="source")
    assert isinstance(result.exception, ProblemError)


def test_documented_functions_only(stream: str) -> None:
    text = "source | extend h = url_encode(Message)"
    options = ["check", "-", "--transform", "--schema", stream]
    assert run(*options, given=text).exit_code == 0
    assert run(*options, "--functions", "documented", given=text).exit_code == 1


def test_the_stream_of_a_rule(tmp_path: Path) -> None:
    rule = tmp_path / "rule.json"
    declarations = {"Custom-A": {"columns": STREAM}, "Custom-B": {"columns": STREAM[:1]}}
    rule.write_text(json.dumps({"properties": {"streamDeclarations": declarations}}), "utf-8")
    schema = read_stream(rule, "Custom-A")
    assert [(column.name, column.type) for column in schema.columns] == [
        ("TimeGenerated", KustoType.DATETIME),
        ("Message", KustoType.STRING),
        ("Good", KustoType.BOOL),
    ]
    assert len(read_stream(rule, "Custom-B").columns) == 1
    with pytest.raises(ProblemError, match="several streams"):
        read_stream(rule, None)
    with pytest.raises(ProblemError, match="no stream"):
        read_stream(rule, "Custom-C")


@pytest.mark.parametrize(
    "document",
    [
        "",
        "nonsense",
        "{}",
        "5",
        '{"columns": 5}',
        '[{"name": "a"}]',
        '[{"name": 1, "type": "long"}]',
        "[5]",
        "[" * 100_000,
        '[{"name": "a", "type": "long"}, {"name": "a", "type": "long"}]',
        '{"properties": 5}',
        '{"streamDeclarations": {}}',
    ],
)
def test_a_bad_schema_is_refused_in_words(tmp_path: Path, document: str) -> None:
    path = tmp_path / "s.json"
    path.write_text(document, "utf-8")
    with pytest.raises(ProblemError):
        read_stream(path, None)


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    missing = run("check", str(tmp_path / "none.kql"))
    assert isinstance(missing.exception, ProblemError)
    binary = tmp_path / "b.kql"
    binary.write_bytes(b"\xff\xfe\x00")
    assert isinstance(run("check", str(binary)).exception, ProblemError)


def test_format_prints_or_writes(tmp_path: Path) -> None:
    file = tmp_path / "q.kql"
    file.write_text("T|where a>1", "utf-8")
    assert run("format", str(file)).output == "T\n| where a > 1\n"
    assert file.read_text("utf-8") == "T|where a>1"
    checked = run("format", "--check", str(file))
    assert checked.exit_code == 1
    assert "would change" in checked.output
    written = run("format", "--write", str(file))
    assert (written.exit_code, written.output) == (0, "")
    assert file.read_text("utf-8") == "T\n| where a > 1\n"
    assert run("format", "--check", str(file)).exit_code == 0
    assert run("format", "-", given="T|take 1").output == "T\n| take 1\n"
    assert run("format", "--check", "--write", str(file)).exit_code == 2


def test_a_file_with_syntax_errors_stays_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "q.kql"
    file.write_text("T |where (", "utf-8")
    result = run("format", "--write", str(file))
    assert result.exit_code == 1
    assert "KQL0002" in result.output
    assert file.read_text("utf-8") == "T |where ("


def test_explain_prints_plan_and_sql(stream: str) -> None:
    text = "SecurityEvent | where EventID == 4624 | summarize count() by Computer"
    both = run("explain", "-", given=text).output
    plan = run("explain", "-", "--plan", given=text).output
    sql = run("explain", "-", "--sql", given=text).output
    assert both == f"{plan}\n{sql}"
    assert "TableScan SecurityEvent" in plan
    assert sql.startswith("SELECT")
    transform = run("explain", "-", "--plan", "--transform", "--schema", stream, given="source | where Good")
    assert "TableScan source" in transform.output
    bad = run("explain", "-", given="Nothing | take 1")
    assert bad.exit_code == 1
    assert "KQL0131" in bad.output


def test_standard_tables_have_their_system_columns() -> None:
    schema = StandardTables().find_table("Syslog")
    assert schema is not None
    assert schema.find("TenantId") is not None
    assert schema.find("SyslogMessage") is not None
    assert StandardTables().find_table("syslog") is None


def test_the_command_line_starts_without_the_compiler() -> None:
    code = (
        "import sys, headrace.cli.main;"
        "print([m for m in ('sqlglot', 'duckdb', 'pyarrow', 'headrace.kql.api') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
