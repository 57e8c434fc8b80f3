"""Everything that can be said against a text: errors, the compiler's warnings, and traps."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from headrace.errors import Problem
from headrace.kql.api import Compiled, compile_query, compile_transform
from headrace.kql.bind.functions import FUNCTIONS
from headrace.kql.editor.lints import lint
from headrace.kql.editor.model import Severity, Target
from headrace.kql.editor.reference import ERROR_CODES
from headrace.kql.editor.signatures import signature_text
from headrace.kql.model import KqlError

_GENERAL = frozenset(
    f"KQL{number:04}"
    for number in (5, 103, 110, 112, 113, 114, 117, 118, 120, 121, 126, 130, 132, 138, 139, 205, 304, 305)
)
"""Codes whose general cure fits each of their problems."""


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """A problem and how grave it is."""

    severity: Severity
    problem: Problem


def compile_for(text: str, target: Target) -> Compiled:
    """Compile a text against a target. Raises `KqlError`."""
    if target.source is not None:
        return compile_transform(text, target.source, functions=target.functions)
    return compile_query(text, target.database, target.options)


def diagnose(text: str, target: Target) -> tuple[Diagnostic, ...]:
    """All diagnostics of a text in the order of their places; errors before warnings at one place."""
    errors: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    try:
        warnings = compile_for(text, target).warnings
    except KqlError as error:
        errors = error.problems
    found = [
        *(Diagnostic(Severity.ERROR, _with_cure(problem)) for problem in errors),
        *(Diagnostic(Severity.WARNING, _with_cure(problem)) for problem in (*warnings, *lint(text, target))),
    ]
    found.sort(key=lambda item: (item.problem.span.start if item.problem.span else 0, item.severity.value))
    return tuple(found)


def _with_cure(problem: Problem) -> Problem:
    """The problem with a cure, where it has none and one is known."""
    if problem.hint is not None:
        return problem
    if problem.code in _GENERAL:
        cure = next(item.cure for item in ERROR_CODES if item.code == problem.code)
        return replace(problem, hint=cure)
    if problem.code != "KQL0109":
        return problem
    name = re.match(r"`(\w+)`", problem.message)
    function = FUNCTIONS.find(name.group(1)) if name is not None else None
    if function is not None:
        ways = signature_text(function, name.group(1) if name else None).split("\n")
        return replace(problem, hint=f"Write `{'` or `'.join(ways[:2])}`.")
    if "datetime" in problem.message and "string" in problem.message:
        return replace(
            problem, hint="Write a time as `datetime(2024-01-01)`, or convert with `todatetime()`."
        )
    return problem
