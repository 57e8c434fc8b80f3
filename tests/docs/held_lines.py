"""Pages whose lines each name the test that holds them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def check_lines(page: Path, least: int) -> None:
    """Each row of the page's tables ends in a test that exists, and there are more than `least` of them."""
    rows = [line for line in page.read_text().splitlines() if line.startswith("| ") and "---" not in line]
    lines = [line for line in rows if not line.endswith("| Test |")]
    assert len(lines) > least
    for line in lines:
        found = re.search(r"`(tests/[\w/]+\.py)::(\w+)` \|$", line)
        assert found, f"this line names no test: {line}"
        tree = ast.parse((ROOT / found[1]).read_text())
        functions = ast.FunctionDef | ast.AsyncFunctionDef
        names = {node.name for node in ast.walk(tree) if isinstance(node, functions)}
        assert found[2] in names, f"{found[1]} has no test {found[2]}"
