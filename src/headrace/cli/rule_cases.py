"""Cases of a rule: rows that come in, and the rows that its tables must hold then."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import msgspec

from headrace.cli.documents import read_rows, read_text
from headrace.errors import Problem, ProblemError

if TYPE_CHECKING:
    from headrace.transform.trial import FlowTrial

Rows = list[dict[str, Any]]


class _Written(msgspec.Struct, forbid_unknown_fields=True):
    """A case as it stands in a file. A text in place of rows is a file of them beside it."""

    name: str
    rows: Rows | str
    expect: Rows | str | dict[str, Rows]
    stream: str | None = None
    received: str | None = None


class _File(msgspec.Struct, forbid_unknown_fields=True):
    cases: list[_Written]


@dataclass(frozen=True, slots=True)
class Case:
    """Rows of a stream as JSON texts, and what must come out of them: in the only table, or by the tables' names.

    `received` is the moment of their receipt, ISO 8601.
    """

    name: str
    rows: Sequence[bytes]
    expect: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Mapping[str, Any]]]
    stream: str | None = None
    received: str | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """How a case went: `failures` are texts of one or more lines, `notes` what is worth knowing all the same."""

    case: Case
    failures: tuple[str, ...]
    notes: tuple[str, ...]


def read_cases(path: Path) -> list[Case]:
    """The cases of a file. Raises `ProblemError` that names what is wrong, and where."""
    try:
        written = msgspec.json.decode(read_text(str(path)), type=_File).cases
    except (msgspec.DecodeError, RecursionError) as error:
        hint = 'It is {"cases": [{"name": ..., "rows": [...], "expect": [...]}]}; stream and received may be added.'
        raise ProblemError(Problem("InvalidCases", f"{path}: {error}.", hint=hint)) from None
    return [_case(path.parent, one) for one in written]


def _case(folder: Path, written: _Written) -> Case:
    rows = written.rows
    texts = read_rows(folder / rows) if isinstance(rows, str) else [msgspec.json.encode(row) for row in rows]
    expect = written.expect
    if isinstance(expect, str):
        expect = expected_rows(folder / expect)
    return Case(written.name, texts, expect, written.stream, written.received)


def expected_rows(path: Path) -> Rows:
    """The rows of a file. Raises `ProblemError`."""
    return [json.loads(text) for text in read_rows(path)]


def judge(case: Case, trials: Sequence[FlowTrial]) -> Result:
    """Compare what came out of the data flows with what a case expects. Raises `ProblemError` if it cannot be."""
    from headrace.transform.expected import difference

    failures = [
        f"{trial.table}: row {failed.row + 1} fails: {failed.reason}"
        for trial in trials
        for failed in trial.failed
    ]
    for table, expected in _by_table(case, trials).items():
        rows = [row for trial in trials if trial.table == table for row in trial.rows]
        told = difference(expected, rows)
        if told is not None:
            failures.append(f"{table}: {told}")
    notes = [note.told for trial in trials for note in trial.notes]
    return Result(case, tuple(failures), tuple(dict.fromkeys(notes)))


def _by_table(case: Case, trials: Sequence[FlowTrial]) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    tables = list(dict.fromkeys(trial.table for trial in trials))
    if not isinstance(case.expect, Mapping):
        if len(tables) != 1:
            message = f"The rows of '{case.name}' go to several tables: {', '.join(tables)}."
            hint = 'Give what is expected by table, {"TABLE": [...]}, or choose a data flow with --flow.'
            raise ProblemError(Problem("SeveralFlows", message, hint=hint))
        return {tables[0]: case.expect}
    unknown = [table for table in case.expect if table not in tables]
    if unknown:
        message = f"'{case.name}' expects rows in {unknown[0]}, where the rule sends none of its stream."
        raise ProblemError(Problem("NoSuchTable", message, hint=f"It sends to: {', '.join(tables)}."))
    return case.expect


def write_junit(path: Path, suite: str, results: Sequence[Result]) -> None:
    """Write the results as a JUnit report. Raises `ProblemError` when the file cannot be written."""
    failed = sum(bool(result.failures) for result in results)
    root = ElementTree.Element("testsuites")
    counts = {
        "name": suite,
        "tests": str(len(results)),
        "failures": str(failed),
        "errors": "0",
        "skipped": "0",
    }
    parent = ElementTree.SubElement(root, "testsuite", counts)
    for result in results:
        case = ElementTree.SubElement(parent, "testcase", {"classname": suite, "name": result.case.name})
        if result.failures:
            first = result.failures[0].splitlines()[0]
            failure = ElementTree.SubElement(case, "failure", {"message": _xml(first)})
            failure.text = _xml("\n".join(result.failures))
        if result.notes:
            ElementTree.SubElement(case, "system-out").text = _xml("\n".join(result.notes))
    ElementTree.indent(root)
    try:
        ElementTree.ElementTree(root).write(path, "utf-8", xml_declaration=True)
    except OSError as error:
        raise ProblemError(Problem("FileUnwritable", f"{path}: {error.strerror}.")) from None


def _xml(text: str) -> str:
    """Text without the characters that XML cannot hold."""
    return "".join(
        char if char in "\t\n\r" or (char >= " " and char not in "\ufffe\uffff") else "\ufffd"
        for char in text
    )
