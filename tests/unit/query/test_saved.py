"""A saved function's text in parts."""

from __future__ import annotations

import pytest

from headrace.query.saved import parted


@pytest.mark.parametrize(
    ("text", "parameters", "body"),
    [
        ("(span: timespan = 1h) {\nLogs | take 1\n}", "span: timespan = 1h", "Logs | take 1"),
        ("() {\nLogs\n}", "", "Logs"),
        (
            '(o: dynamic = dynamic({"a": ")"}), T: (x: long)) { T | where x > 1 }',
            'o: dynamic = dynamic({"a": ")"}), T: (x: long)',
            "T | where x > 1",
        ),
        ("Logs | extend x = (1)", "", "Logs | extend x = (1)"),
        ("(Logs | take 1) | count", "", "(Logs | take 1) | count"),
        ("(unclosed {", "", "(unclosed {"),
        ("", "", ""),
    ],
)
def test_a_text_has_parameters_and_a_body(text: str, parameters: str, body: str) -> None:
    parts = parted(text)
    assert (parts.parameters, parts.body) == (parameters, body)
