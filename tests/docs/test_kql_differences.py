"""Every line of docs/reference/kql-differences.md names a case or a test that holds it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.kqlcases import read_cases

from headrace.kql.api import KqlError, compile_query
from headrace.kql.bind.functions.gaps import GAPS
from headrace.kql.model import Tables

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "kql-differences.md"


def lines() -> Iterator[list[str]]:
    """The cells of each line of the page's tables but their heads."""
    for line in PAGE.read_text().splitlines():
        if line.startswith("| ") and "| ---" not in line:
            cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            if cells[-1] not in ("Held by", "Why"):
                yield cells


def test_every_line_is_held() -> None:
    held = [cells[2] for cells in lines() if len(cells) == 3]
    assert len(held) > 20
    assert held.count("-") <= 3
    for pin in held:
        if (case := re.fullmatch(r"`(tests/cases/\w+\.kql)`: (.+)", pin)) is not None:
            names = {found.name for found in read_cases(ROOT / case[1])}
            assert case[2] in names, f"{case[1]} has no case {case[2]}"
        elif (test := re.fullmatch(r"`(tests/[\w/]+\.py)::(\w+)`", pin)) is not None:
            tree = ast.parse((ROOT / test[1]).read_text())
            assert test[2] in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        else:
            assert pin == "-", pin


def test_the_functions_left_out_are_the_registrys() -> None:
    listed = {cells[0].strip("`"): cells[1] for cells in lines() if len(cells) == 2}
    assert listed == dict(GAPS)


@pytest.mark.parametrize("name", sorted(GAPS))
def test_a_function_left_out_is_refused_with_its_reason(name: str) -> None:
    with pytest.raises(KqlError) as raised:
        compile_query(f"print {name}(1)", Tables({}))
    assert [problem.code for problem in raised.value.problems] == ["KQL0203"]
    assert GAPS[name] in raised.value.problems[0].message
