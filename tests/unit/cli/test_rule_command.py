"""`headrace rule test` and `validate`, and `headrace table infer`: without a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner, Result

from headrace.cli.main import app

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
    bad = files.json("bad.json", [{"Status": 201, "Verb": "GET"}, {"Path": "/c", "path": 1}, {"Status": 5}])
    result = tried(files, rule(), "--expect", bad)
    assert result.exit_code == 1
    for words in (
        "3 rows expected, 2 came out",
        "Status is 200, expected 201",
        "there is no column path. Did you mean Path?",
        '- {"Status": 5}',
    ):
        assert words in result.output


CASES: dict[str, Any] = {
    "cases": [
        {
            "name": "what is no GET is left out",
            "rows": ROWS,
            "received": RECEIVED,
            "expect": [{"Path": "/a", "TimeGenerated": "2026-01-01T00:00:00+00:00"}, {"Path": "/c"}],
        },
        {"name": "a code", "rows": [{"Line": "GET /x 200", "line": 1}], "expect": [{"Status": 204}]},
    ]
}


def test_cases_say_which_of_them_failed_and_how(files: Files) -> None:
    arguments = ["rule", "test", files.json("web.json", rule()), "--cases", files.json("cases.json", CASES)]
    report = files.folder / "report.xml"
    result = run(*arguments, "--junit", str(report))
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert lines[0] == "ok   what is no GET is left out" and "Row 3 has 'More'" in lines[1]
    assert lines[2] == "FAIL a code" and "Row 1 has 'line'" in lines[3]
    assert "           Status is 200, expected 204" in lines and lines[-1] == "2 cases, 1 failed."
    suite = ElementTree.parse(report).getroot().find("testsuite")
    assert suite is not None and suite.attrib == {
        "name": "web", "tests": "2", "failures": "1", "errors": "0", "skipped": "0",
    }  # fmt: skip
    assert [case.get("name") for case in suite] == ["what is no GET is left out", "a code"]
    assert "Status is 200, expected 204" in (suite.findtext("testcase[2]/failure") or "")
    assert "Did you mean 'Line'?" in (suite.findtext("testcase[2]/system-out") or "")
    records = json.loads(run(*arguments, "--output", "json").stdout)
    assert [record["passed"] for record in records] == [True, False]
    CASES["cases"][1]["expect"] = [{"Status": 200}]
    arguments[-1] = files.json("cases.json", CASES)
    assert run(*arguments).exit_code == 0


def test_cases_may_name_files_and_tables(files: Files) -> None:
    document = rule()
    flows = document["properties"]["dataFlows"]
    flows.append(
        {**flows[0], "outputStream": "Custom-Other_CL", "transformKql": "source | extend TimeGenerated=Time"}
    )
    path = files.json("web.json", document)
    files.rows(*ROWS[:2])
    files.json("out.json", [{"Path": "/a"}])
    case = {
        "name": "both",
        "rows": "rows.ndjson",
        "expect": {"Web_CL": [{"Path": "/a"}], "Other_CL": [{}, {}]},
    }
    assert run("rule", "test", path, "--cases", files.json("c.json", {"cases": [case]})).exit_code == 0
    case["expect"] = "out.json"
    refused = run("rule", "test", path, "--cases", files.json("c.json", {"cases": [case]}))
    assert "go to several tables: Web_CL, Other_CL" in str(refused.exception)
    assert (
        run("rule", "test", path, "--cases", files.json("c.json", {"cases": [case]}), "--flow", "0").exit_code
        == 0
    )
    case["expect"] = {"Wbe_CL": []}
    refused = run("rule", "test", path, "--cases", files.json("c.json", {"cases": [case]}))
    assert "expects rows in Wbe_CL, where the rule sends none" in str(refused.exception)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"cases": [{"name": "a", "rows": [1], "expect": []}]}, "at `$.cases[0].rows[0]`"),
        ({"cases": [{"name": "a", "rows": [], "expected": []}]}, "unknown field `expected`"),
        ([], "c.json: Expected `object`"),
        ({"cases": [{"name": "a", "rows": "none.json", "expect": []}]}, "none.json: No such file"),
    ],
)
def test_what_is_no_case_is_said(files: Files, document: Any, words: str) -> None:
    result = run("rule", "test", files.json("web.json", rule()), "--cases", files.json("c.json", document))
    assert result.exit_code == 1 and words in str(result.exception)


def test_cases_and_samples_at_once_are_wrong_usage(files: Files) -> None:
    path, cases = files.json("web.json", rule()), files.json("c.json", CASES)
    assert run("rule", "test", path, "--cases", cases, "--rows", files.rows(*ROWS)).exit_code == 2
    assert run("rule", "test", path, "--rows", files.rows(*ROWS), "--junit", "r.xml").exit_code == 2


def test_a_transform_that_does_not_compile_says_where(files: Files) -> None:
    document = rule("  source\n| where \"é\\t\" == Line and Lin == 'x'")
    path = Path(files.json("r.json", document))
    path.write_text(json.dumps(document, indent=1))
    line = next(number for number, one in enumerate(path.read_text().splitlines(), 1) if "Lin ==" in one)
    column = path.read_text().splitlines()[line - 1].index("Lin ==") + 1
    for command in ("test", "validate"):
        result = run("rule", command, str(path))
        assert result.exit_code == 1
        where = f"r.json:{line}:{column}: error InvalidTransformQuery properties.dataFlows[0].transformKql: "
        assert where in result.output and "(Did you mean `Line`?)" in result.output
        assert "  | where \"é\\t\" == Line and Lin == 'x'\n" + " " * 28 + "^^^\n" in result.output


def test_every_fault_of_a_rule_is_told_at_once(files: Files) -> None:
    document = rule("source | where Lin == 'x'")
    properties = document["properties"]
    properties["streamDeclarations"]["Custom-Web"]["columns"][0]["type"] = "datetim"
    properties["streamDeclarations"]["Logs"] = {"columns": [{"name": "A", "type": "integer"}]}
    properties["dataFlows"] += [
        {"streams": ["Custom-Other"], "destinations": ["ws"], "transformKql": "source | projct A"},
        {
            "streams": ["Logs"],
            "destinations": ["ws"],
            "outputStream": "Logs_CL",
            "transformKql": "source | where B > 1",
        },
        {"streams": "Logs", "destinations": [7], "transformKql": " "},
        7,
    ]
    path = files.json("r.json", document)
    found = json.loads(run("rule", "validate", path, "--output", "json").stdout)
    assert run("rule", "validate", path).exit_code == 1
    assert [fault["target"].removeprefix("properties.") for fault in found] == [
        "streamDeclarations.Custom-Web.columns[0].type",
        "streamDeclarations.Logs",
        "streamDeclarations.Logs.columns[0].type",
        "dataFlows[0].transformKql",
        "dataFlows[1].streams[0]",
        "dataFlows[1].transformKql",
        "dataFlows[2]",
        "dataFlows[2].transformKql",
        "dataFlows[3].streams",
        "dataFlows[3].destinations[0]",
        "dataFlows[4]",
    ]
    by_target = {fault["target"].removeprefix("properties."): fault for fault in found}
    assert by_target["streamDeclarations.Logs.columns[0].type"]["hint"].endswith("Did you mean int?")
    text = Path(path).read_text()
    for target, word in {
        "streamDeclarations.Custom-Web.columns[0].type": '"datetim"',
        "dataFlows[1].streams[0]": '"Custom-Other"',
        "dataFlows[1].transformKql": "projct",
        "dataFlows[2].transformKql": "B > 1",
    }.items():
        fault = by_target[target]
        assert fault["line"] == 1 and text[fault["column"] - 1 :].startswith(word)


def test_faults_of_a_rule_in_a_template_and_of_bare_properties_have_their_lines(files: Files) -> None:
    document = rule("source | where Lin == 'x'")
    template = {"resources": [{"type": "a"}, {"type": "Microsoft.Insights/dataCollectionRules", **document}]}
    for name, content in (("template.json", template), ("bare.json", document["properties"])):
        path = Path(files.json(name, content))
        (fault,) = json.loads(run("rule", "validate", str(path), "--output", "json").stdout)
        assert path.read_text()[fault["column"] - 1 :].startswith("Lin ==")


def test_several_rules_are_checked_at_once(files: Files) -> None:
    good, bad = files.json("good.json", rule()), files.json("bad.json", rule("source | wher 1"))
    result = run("rule", "validate", good, bad)
    assert result.exit_code == 1
    assert f"{good} is valid: 1 stream, 1 data flow." in result.output and f"{bad}:1:" in result.output
    assert run("rule", "validate", good, bad, "--name", "x").exit_code == 2


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
