"""Every operator and every function of the language has a case of its own under `tests/cases`."""

from __future__ import annotations

import re
from pathlib import Path

from headrace.kql.bind.functions import FUNCTIONS
from headrace.kql.bind.functions.registry import OPERATORS
from headrace.kql.editor import words
from tests.conformance.kqlcases import read_cases

ROOT = Path(__file__).parent.parent / "cases"
BY_SYNTAX = {
    "__negate": "-(",
    "__plus": "+(",
    "__index": "[0]",
    "__pack_known": "bag_pack(",
    "__xml_path": "parse_xml(",
    "__scalar_hll_merge": "hll_merge(",
    "__scalar_tdigest_merge": "tdigest_merge(",
}
"""Functions that no text calls by their names, and what stands for them."""


def _texts(folder: str) -> str:
    return "\n".join(
        case.text for path in sorted((ROOT / folder).rglob("*.kql")) for case in read_cases(path)
    )


def test_every_tabular_operator_has_a_file_that_uses_it() -> None:
    files = {path.stem: path for path in (ROOT / "operators").glob("*.kql")}
    assert set(files) == set(words.OPERATORS)
    for name, path in files.items():
        used = re.compile(rf"(^|[\s|(;]){re.escape(name)}\b")
        assert any(used.search(case.text) for case in read_cases(path)), name


def test_every_function_is_called_by_a_case() -> None:
    text = _texts("functions")
    called = set(re.findall(r"\b([A-Za-z_][A-Za-z_0-9]*)\s*\(", text))
    missing = {f.name for f in FUNCTIONS if not f.name.startswith("__") and f.name not in called}
    assert not missing


def test_every_operator_between_values_is_used_by_a_case() -> None:
    text = _texts("functions")
    spelled = {name: word for word, name in OPERATORS.items() if word != "<>"} | BY_SYNTAX
    wanted = {f.name: spelled[f.name] for f in FUNCTIONS if f.name.startswith("__")}
    missing = {
        name for name, word in wanted.items() if (word if name in BY_SYNTAX else f" {word} ") not in text
    }
    assert not missing
