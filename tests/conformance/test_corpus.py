"""The shared corpus, where it is there: nothing that passes may be lost."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from headrace.kql import conformance

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "kql"
pytestmark = pytest.mark.skipif(not SHARED.exists(), reason=f"no corpus at {SHARED}")

LEAST = 0.98
"""The share of the corpus that must pass; what fails is listed in docs/reference/kql-differences.md."""


def _runner() -> ModuleType:
    spec = importlib.util.spec_from_file_location("run_conformance", SHARED / "run_conformance.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (SHARED / name).read_text("utf-8").splitlines() if line.strip()]


def _failure(runner: ModuleType, case: dict[str, Any], tables: dict[str, Any]) -> str | None:
    try:
        columns, rows = conformance.run(
            case["query"], {name: tables[name] for name in case.get("tables", [])}
        )
    except Exception as error:  # noqa: BLE001 - any way to fail is a failed case
        return None if case["expect"].get("error") else f"{type(error).__name__}: {error}"
    if case["expect"].get("error"):
        return "no error, expected one"
    failure: str | None = runner.compare(case, columns, rows)
    return failure


@pytest.mark.slow
def test_the_corpus_gives_the_documented_rows() -> None:
    runner = _runner()
    schemas = json.loads((SHARED / "fixtures" / "schema.json").read_text("utf-8"))
    tables = {
        name: {"csv": str(SHARED / "fixtures" / schema["file"]), "schema": schema["columns"]}
        for name, schema in schemas.items()
    }
    cases = _lines("conformance.jsonl")
    failures = {case["id"]: why for case in cases if (why := _failure(runner, case, tables)) is not None}
    assert len(failures) <= (1 - LEAST) * len(cases), failures


@pytest.mark.slow
def test_published_queries_parse_and_only_names_are_unknown() -> None:
    """Problems that no table could mend are those of refused features alone."""
    mended_by_tables = {"KQL0104", "KQL0131", "KQL0133"}
    refused = {"KQL0203", "KQL0107"}
    others = {
        line["id"]: problems
        for line in _lines("realworld_queries.jsonl")
        if (
            problems := [
                problem
                for problem in conformance.check(line["query"])
                if problem["code"] not in mended_by_tables | refused
            ]
        )
    }
    assert others == {}
