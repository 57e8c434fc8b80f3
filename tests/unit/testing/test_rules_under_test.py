"""Rules under test in other projects' suites, without a server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.errors import ProblemError
from headrace.testing.rules import RuleUnderTest, rule_under_test

RULE = {
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
                "transformKql": "source | where Line startswith 'GET' | parse Line with Verb:string ' ' Path:string"
                " | project TimeGenerated = Time, Path",
            }
        ],
    }
}
ROWS = [{"Time": "2026-01-01T00:00:00Z", "Line": "GET /a"}, {"Line": "POST /b"}, {"line": "GET /c"}]


@pytest.fixture
def web() -> Iterator[RuleUnderTest]:
    with rule_under_test(RULE) as rule:
        yield rule


def test_rows_come_out_in_their_tables(web: RuleUnderTest) -> None:
    outcome = web.run(ROWS, received="2026-01-01T00:00:00Z")
    assert outcome.tables == {"Web_CL": [{"TimeGenerated": "2026-01-01T00:00:00.000000Z", "Path": "/a"}]}
    assert outcome.filtered == (1, 2) and not outcome.failed
    assert "Did you mean 'Line'?" in outcome.notes[0]


def test_a_table_must_hold_rows(web: RuleUnderTest) -> None:
    web.check(ROWS, [{"Path": "/a"}])
    web.check(ROWS, {"Web_CL": [{"Path": "/a"}]})
    with pytest.raises(AssertionError) as told:
        web.check(ROWS, [{"Path": "/a"}, {"Path": "/c"}])
    assert '- {"Path": "/c"}' in str(told.value) and "Did you mean 'Line'?" in str(told.value)


def test_a_wrong_rule_is_refused_with_all_its_faults(tmp_path: Path) -> None:
    path = tmp_path / "web.json"
    flow = {**RULE["properties"]["dataFlows"][0], "streams": ["Custom-Wb"], "transformKql": "source | wher 1"}  # type: ignore[index]
    path.write_text(json.dumps({"properties": {**RULE["properties"], "dataFlows": [flow]}}))
    with pytest.raises(ProblemError) as refused, rule_under_test(path):
        pass
    (whole,) = refused.value.problems
    assert [problem.code for problem in whole.details] == ["InvalidStream", "InvalidTransformQuery"]
    first, second = refused.value.__notes__
    assert first.startswith(
        "- properties.dataFlows[0].streams[0]: 'Streams' stream 'Custom-Wb' is not declared"
    )
    assert second.endswith("Did you mean `where`?")
