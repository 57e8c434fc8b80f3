"""A rule under test, without a server: rows in, and what its tables must hold then."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.cli.documents import read_rule
from headrace.cli.rule_cases import Case, judge
from headrace.cli.rule_trials import TriedRule, microseconds, tried_rule
from headrace.errors import Problem, ProblemError
from headrace.transform.trial import FlowTrial


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of rows: `tables` holds the stored ones by table, `filtered` the places of those left out, from 0.

    `failed` says why rows cannot be stored, by their places. `notes` tell what the stream does not take of the rows,
    such as a misspelt property.
    """

    tables: Mapping[str, list[dict[str, Any]]]
    filtered: tuple[int, ...]
    failed: Mapping[int, str]
    notes: tuple[str, ...]


class RuleUnderTest:
    """A rule whose transforms are compiled. See `rule_under_test`."""

    def __init__(self, tried: TriedRule) -> None:
        self._tried = tried

    def run(
        self, rows: Sequence[Mapping[str, Any]], *, stream: str | None = None, received: str | None = None
    ) -> Outcome:
        """What becomes of rows of a stream, which may be left out where the rule has one.

        `received` is the moment of receipt (ISO 8601), by default now. Raises `ProblemError` for an unknown stream.
        """
        trials = self._trials(_texts(rows), stream, received)
        tables: dict[str, list[dict[str, Any]]] = {}
        for trial in trials:
            tables.setdefault(trial.table, []).extend(dict(row) for row in trial.rows)
        filtered = set.intersection(*(set(trial.filtered) for trial in trials))
        failed = {one.row: one.reason for trial in trials for one in trial.failed}
        notes = (note.told for trial in trials for note in trial.notes)
        return Outcome(tables, tuple(sorted(filtered)), failed, tuple(dict.fromkeys(notes)))

    def check(
        self,
        rows: Sequence[Mapping[str, Any]],
        expect: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Mapping[str, Any]]],
        *,
        stream: str | None = None,
        received: str | None = None,
    ) -> None:
        """Given these rows, the table must hold those: in order, by the columns that `expect` names.

        Where the stream goes to several tables, `expect` holds the rows by table. Raises `AssertionError` with what
        differs.
        """
        case = Case("rows", _texts(rows), expect)
        result = judge(case, self._trials(case.rows, stream, received))
        if result.failures:
            notes = (f"note: {note}" for note in result.notes)
            raise AssertionError("\n".join([*result.failures, *notes]))

    def _trials(self, rows: Sequence[bytes], stream: str | None, received: str | None) -> list[FlowTrial]:
        return self._tried.on(self._tried.stream(stream), rows, microseconds(received))


@contextlib.contextmanager
def rule_under_test(rule: Path | Mapping[str, Any], *tables: Path) -> Iterator[RuleUnderTest]:
    """A rule of a file, or its document, compiled for the block; `tables` are files of its custom tables' JSON.

    Raises `ProblemError` with everything that is wrong with the rule.
    """
    document = read_rule(rule) if isinstance(rule, Path) else dict(rule)
    with tried_rule(document, tables) as tried:
        if tried.problems:
            name = str(rule) if isinstance(rule, Path) else "The rule"
            problem = Problem("InvalidRule", f"{name} is not valid.", details=tried.problems)
            raise in_full(ProblemError(problem))
        yield RuleUnderTest(tried)


def in_full(error: ProblemError) -> ProblemError:
    """The error with its causes as notes, which pytest shows below its message."""
    for detail in (detail for problem in error.problems for detail in problem.details):
        where = f"{detail.target}: " if detail.target else ""
        error.add_note(f"- {where}{detail.told}")
    return error


def _texts(rows: Sequence[Mapping[str, Any]]) -> list[bytes]:
    return [json.dumps(row, ensure_ascii=False).encode() for row in rows]
