"""`headrace rule test` and `validate`, and `headrace table infer`: without a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from headrace.cli.main import app
from headrace.errors import ProblemError

RECEIVED = "2026-01-01T01:00:00Z"
TRANSFORM = (
    "source | where Line contains 'GET' | parse Line with Verb:string ' ' Path:string ' ' Status:int"
    " | project TimeGenerated = Time, Verb, Path, Status"
)
ROWS: list[dict[str, Any]] = [
    {"Time": "2026-01-01T00:00:00Z", "Line": "GET /a 200"},
    {"Time": "2026-01-01T00:00:01Z", "Line": "POST /b 500"},
    {"Time": "2020-01-01T00:00:00Z", "Line": "GET /c 404", "More": 1},
]


def rule(transform: str = TRANSFORM, **flow: Any) -> dict[str, Any]:
    return {
        "properties": {
            "streamDeclarations": {
                "Custom-Web": {
                    "columns": [{"name": "Time", "type": "datetime"}, {"name": "Line", "type": "string"}]
                }
            },
            "dataFlows": [
                {
                    "streams": ["Custom-Web"],
                    "destinations": ["ws"],
                    "outputStream": "Custom-Web_CL",
                    "transformKql": transform,
                    **flow,
                }
            ],
        }
    }


class Files:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def json(self, name: str, document: Any) -> str:
        path = self.folder / name
        path.write_text(json.dumps(document))
        return str(path)

    def rows(self, *rows: dict[str, Any]) -> str:
        path = self.folder / "rows.ndjson"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def run(*arguments: str, given: str | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), input=given)


def tried(files: Files, document: dict[str, Any], *more: str) -> Result:
    return run(
        "rule",
        "test",
        files.json("r.json", document),
        "--rows",
        files.rows(*ROWS),
        "--received",
        RECEIVED,
        *more,
    )


def test_rows_that_are_stored_filtered_and_moved_in_time(files: Files) -> None:
    (trial,) = json.loads(tried(files, rule(), "--output", "json").stdout)
    assert (trial["received"], trial["filtered"], trial["failed"], trial["inferred"]) == (3, [1], [], True)
    assert trial["rows"] == [
        {"TimeGenerated": "2026-01-01T00:00:00.000000Z", "Verb": "GET", "Path": "/a", "Status": 200},
        {"TimeGenerated": "2026-01-01T01:00:00.000000Z", "Verb": "GET", "Path": "/c", "Status": 404},
    ]


def test_a_terminal_gets_a_heading_and_a_table(files: Files) -> None:
    result = tried(files, rule())
    assert result.exit_code == 0
    assert "Custom-Web → Web_CL: 3 received, 2 stored, 1 filtered (row 2)" in result.output
    assert "taken from the transform" in result.output


def test_a_table_that_is_given_is_held_to(files: Files) -> None:
    columns = [{"name": "TimeGenerated", "type": "datetime"}, {"name": "Status", "type": "long"}]
    table = files.json("t.json", {"properties": {"schema": {"name": "Web_CL", "columns": columns}}})
    result = tried(files, rule(), "--table", table)
    assert result.exit_code == 1
    assert "Status [produced:'Int', output:'Long']" in result.output
    columns[1]["type"] = "int"
    table = files.json("t.json", {"name": "Web_CL", "columns": columns})
    result = tried(files, rule(), "--table", table)
    assert result.exit_code == 0 and "Web_CL has no column for: Verb, Path" in result.output


def test_expected_rows_are_compared_by_the_columns_they_name(files: Files) -> None:
    good = files.json("good.json", [{"Status": 200, "TimeGenerated": "2026-01-01T00:00:00Z"}, {"Path": "/c"}])
    assert tried(files, rule(), "--expect", good).exit_code == 0
    bad = files.json("bad.json", [{"Status": 201}, {"Nothing": 1}, {}])
    result = tried(files, rule(), "--expect", bad)
    assert result.exit_code == 1
    for words in ("3 rows were expected, 2 came out", "Status is 200, expected 201", "no column 'Nothing'"):
        assert words in result.output


def test_a_transform_that_does_not_compile_says_where(files: Files) -> None:
    for result in (
        tried(files, rule("source | where Lin == 'x'")),
        run("rule", "validate", files.json("r.json", rule("source | where Lin == 'x'"))),
    ):
        assert result.exit_code == 1
        said = result.output + "".join(
            f"{problem.message} {problem.hint}"
            for error in [result.exception]
            if isinstance(error, ProblemError)
            for whole in error.problems
            for problem in whole.details
        )
        assert "`Lin`" in said and "1:16" in said and "Did you mean `Line`" in said


def test_every_problem_of_a_rule_is_told(files: Files) -> None:
    document = rule()
    document["properties"]["dataFlows"].append({"streams": ["Custom-Other"], "destinations": ["ws"]})
    result = run("rule", "validate", files.json("r.json", document))
    assert result.exit_code == 1 and isinstance(result.exception, ProblemError)
    (whole,) = result.exception.problems
    assert [problem.target for problem in whole.details] == ["properties.dataFlows[1].streams[0]"]


def test_a_template_with_one_rule_is_taken(files: Files) -> None:
    template = {"resources": [{"type": "Microsoft.Insights/dataCollectionRules", "name": "r", **rule()}]}
    assert run("rule", "validate", files.json("t.json", template)).exit_code == 0
    template["resources"] *= 2
    assert "with 2 data collection rules" in str(
        run("rule", "validate", files.json("t.json", template)).exception
    )


def test_several_streams_need_a_choice(files: Files) -> None:
    document = rule()
    properties = document["properties"]
    properties["streamDeclarations"]["Custom-B"] = properties["streamDeclarations"]["Custom-Web"]
    properties["dataFlows"].append({**properties["dataFlows"][0], "streams": ["Custom-B"]})
    assert "has 2 streams" in str(tried(files, document).exception)
    (trial,) = json.loads(tried(files, document, "--stream", "Custom-B", "-o", "json").stdout)
    assert trial["stream"] == "Custom-B"
    assert "takes the stream" in str(tried(files, document, "--stream", "Custom-C").exception)


def test_rows_may_be_csv(files: Files) -> None:
    path = files.folder / "rows.csv"
    path.write_text("Time,Line\n2026-01-01T00:00:00Z,GET /x 1\n")
    arguments = [
        "rule",
        "test",
        files.json("r.json", rule()),
        "-r",
        str(path),
        "--received",
        RECEIVED,
        "-o",
        "csv",
    ]
    result = run(*arguments)
    assert result.stdout.splitlines() == [
        "TimeGenerated,Verb,Path,Status",
        "2026-01-01T00:00:00.000000Z,GET,/x,1",
    ]


def test_samples_that_the_stream_does_not_take_are_told(files: Files) -> None:
    rows = files.rows(
        {"Tme": "2026-01-01T00:00:00Z", "line": "GET /a 200"},
        {"Time": "yesterday", "Line": "GET /b 200", "Tme": 1},
        {"Time": "", "Line": 5, "Elsewhere": None},
    )
    document = rule("source | extend TimeGenerated = Time")
    arguments = ["rule", "test", files.json("r.json", document), "--rows", rows, "--received", RECEIVED]
    table = {
        "name": "Web_CL",
        "columns": [{"name": "TimeGenerated", "type": "datetime"}, {"name": "Time", "type": "datetime"}],
    }
    arguments += ["--table", files.json("t.json", table)]
    said = run(*arguments).output
    for words in (
        "2 rows (the first is row 1) have 'Tme', which Custom-Web does not declare: it is not read."
        " Did you mean 'Time'?",
        "Row 1 has 'line', which Custom-Web does not declare: it is not read. Did you mean 'Line'?",
        "Row 3 has 'Elsewhere', which Custom-Web does not declare: it is not read. Declare it in Custom-Web",
        'Row 2 has Time = "yesterday", which is no datetime: it is null.',
    ):
        assert words in said
    (trial,) = json.loads(run(*arguments, "--output", "json").stdout)
    assert [note["code"] for note in trial["notes"]] == ["UndeclaredProperty"] * 3 + ["ValueNotRead"]


def test_samples_that_fit_are_not_remarked_on(files: Files) -> None:
    rows = files.rows({"Time": None, "Line": "GET"}, {}, {"Time": "2026-01-01T00:00:00Z", "Line": 1})
    arguments = ["rule", "test", files.json("r.json", rule()), "--rows", rows, "--output", "json"]
    (trial,) = json.loads(run(*arguments).stdout)
    assert trial["notes"] == []


def test_a_test_without_rows_says_so(files: Files) -> None:
    assert "no sample rows were given (--rows)" in run("rule", "test", files.json("r.json", rule())).output


def test_a_file_that_is_no_json_is_said_with_the_place(files: Files) -> None:
    path = files.folder / "r.json"
    path.write_text('{"properties": {\n  "dataFlows": [,]}}')
    said = str(run("rule", "validate", str(path)).exception)
    assert "is not JSON at line 2, column 17" in said


@pytest.mark.parametrize(
    ("document", "words"),
    [([], "JSON object"), ({"properties": {}}, "no data collection rule"), ({}, "no data")],
)
def test_what_is_no_rule_is_said(files: Files, document: Any, words: str) -> None:
    assert words in str(run("rule", "validate", files.json("r.json", document)).exception)


def test_an_inferred_table_and_rule_fit_the_samples(files: Files) -> None:
    samples: list[dict[str, Any]] = [
        {
            "@timestamp": "2026-01-01T00:00:00.5Z",
            "nn": 1,
            "xx": 1.5,
            "ok": True,
            "o": {"a": 1},
            "mixed": 1,
            "id": "a",
        },
        {"@timestamp": "2026-01-01T00:00:01Z", "nn": 2, "xx": 2, "ok": None, "mixed": "t", "id": "b"},
    ]
    result = run("table", "infer", files.rows(*samples), "--name", "New_CL", "--output", "json")
    documents = json.loads(result.stdout)
    columns = documents["table"]["properties"]["schema"]["columns"]
    assert {column["name"]: column["type"] for column in columns} == {
        "TimeGenerated": "dateTime",
        "timestamp": "dateTime",
        "nn": "long",
        "xx": "real",
        "ok": "boolean",
        "o_Value": "dynamic",
        "mixed": "string",
        "id_Value": "string",
    }
    arguments = ["--table", files.json("t.json", documents["table"]), "--received", RECEIVED, "-o", "json"]
    rule_file = files.json("r.json", documents["rule"])
    (trial,) = json.loads(run("rule", "test", rule_file, "--rows", files.rows(*samples), *arguments).stdout)
    assert not trial["problems"] and not trial["leftOut"]
    assert trial["rows"][0]["TimeGenerated"] == "2026-01-01T00:00:00.500000Z"
    assert [row["id_Value"] for row in trial["rows"]] == ["a", "b"]
    assert trial["rows"][0]["o_Value"] == {"a": 1}
