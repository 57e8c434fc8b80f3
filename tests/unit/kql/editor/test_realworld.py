"""The editor over queries as people write them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from headrace.catalog.standard import StandardTables
from headrace.kql.editor import ItemKind, Severity, Target, complete, diagnose, hover
from headrace.kql.syntax.lexer import NAME, SourceText, tokenize

QUERIES = Path(__file__).resolve().parents[5] / "shared" / "kql" / "realworld_queries.jsonl"
TARGET = Target.query(StandardTables())


@pytest.mark.slow
def test_cursors_in_real_queries_are_answered() -> None:
    if not QUERIES.exists():
        pytest.skip("the shared queries are not here")
    asked = answered = hovered = 0
    for line in QUERIES.read_text("utf-8").splitlines()[::3]:
        text = json.loads(line)["query"]
        errors = [item for item in diagnose(text, TARGET) if item.severity is Severity.ERROR]
        places = [match.end() for match in re.finditer(r"\|\s*(?:where|extend|project) ", text)]
        for place in places[-1:]:
            asked += 1
            found = complete(text, place, TARGET)
            answered += bool(errors) or any(item.kind is ItemKind.COLUMN for item in found)
        names = [token for token in tokenize(SourceText(text))[0] if token.kind == NAME]
        hovered += hover(text, names[-1].start, TARGET) is not None
    assert asked > 30
    assert answered > 0.95 * asked
    assert hovered > 15
