"""The reference pages agree with the code: the printed ones word by word, the errors code by code."""

from __future__ import annotations

import ast
import configparser
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.cli.kql_reference import EXAMPLES
from headrace.cli.reference import pages
from headrace.identity.challenge import _CODES
from headrace.identity.errors import KINDS
from headrace.ingest.errors import _TOKEN_CODES
from headrace.kql.syntax.parser import OPERATORS
from headrace.observe.metrics import METRICS
from headrace.supervisor import STOP_ORDER, STOP_SECONDS

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
SOURCE = ROOT / "src" / "headrace"


@pytest.mark.parametrize("name", ["cli.md", "settings.md", "kql.md", "metrics.md"])
def test_printed_pages_are_as_the_code_prints_them(name: str) -> None:
    assert (REFERENCE / name).read_text() == pages(REFERENCE)[name], "run `make docs`"


def test_every_tabular_operator_has_an_example() -> None:
    other_names = {"filter", "order", "limit", "mvexpand", "mvapply"}
    assert set(EXAMPLES) == set(OPERATORS) - other_names


def refusals() -> Iterator[tuple[int, str]]:
    """Every status with its code that the code spells in one place."""
    for room in ("ingest", "arm", "identity", "query", "wire"):
        for path in sorted((SOURCE / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) > 1:
                    status, code = node.args[:2]
                    if isinstance(code, ast.Call) and code.args:
                        code = code.args[0]
                    if (
                        node.func.id in ("http_error", "HttpError", "_retry")
                        and isinstance(status, ast.Constant)
                        and isinstance(code, ast.Constant)
                    ):
                        yield int(str(status.value)), str(code.value)


def test_every_refusal_is_on_the_page() -> None:
    page = (REFERENCE / "errors.md").read_text()
    found = set(refusals()) | {(401, code) for code in (*_CODES.values(), *_TOKEN_CODES.values())}
    assert len(found) > 40
    missing = {(status, code) for status, code in found if f"| {status} | `{code}` |" not in page}
    assert not missing


def test_every_code_on_the_page_is_in_the_code() -> None:
    page = (REFERENCE / "errors.md").read_text()
    text = "".join(path.read_text() for path in SOURCE.rglob("*.py"))
    codes = set(re.findall(r"^\| (?:\d+ \| )?`(\w+)` \|", page, re.MULTILINE))
    assert len(codes) > 60
    assert not {code for code in codes if f'"{code}"' not in text}


def test_sign_in_errors_are_the_tables() -> None:
    page = (REFERENCE / "errors.md").read_text()
    listed = re.findall(r"^\| (\d+) \| `(\w+)` \| (\d+) \| (.*) \|$", page, re.MULTILINE)
    expected = [(str(k.status), k.error, str(number), k.meaning) for number, k in sorted(KINDS.items())]
    assert listed == expected


def test_pages_name_no_metric_that_is_not_there() -> None:
    known = {metric.name for metric in METRICS}
    for path in (ROOT / "docs").rglob("*.md"):
        named = set(re.findall(r"\bheadrace_[a-z_]+", path.read_text()))
        assert named <= known, f"{path.name}: {named - known}"


def test_the_unit_of_the_service_page_is_one_for_systemd() -> None:
    page = (ROOT / "docs" / "how-to" / "service.md").read_text()
    text = page.partition("`headrace.service`:")[2].partition("```ini")[2].partition("```")[0]
    unit = configparser.ConfigParser(strict=True, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(text)
    command = shlex.split(unit["Service"]["ExecStart"])
    assert command[1:] == ["serve", "--config", "/etc/headrace/headrace.toml"]
    # What the code holds to: it tells of its readiness, and ends its processes itself, within this time.
    assert (unit["Service"]["Type"], unit["Service"]["KillMode"]) == ("notify", "mixed")
    assert int(unit["Service"]["TimeoutStopSec"]) > len(STOP_ORDER) * STOP_SECONDS
