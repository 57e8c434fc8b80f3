"""What is wrong with a rule's file: each fault with its line there, and the cure."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich.markup import escape

from headrace.cli.documents import RuleFile
from headrace.cli.output import console, error_console, visible
from headrace.cli.positions import line_and_column, within
from headrace.errors import Problem

_FLOW = re.compile(r"properties\.dataFlows\[(\d+)\]")
_COMPILER = re.compile(r"^Error occurred while compiling query in query: \w+:0x\w+(?: at \d+:\d+)? : ")
"""How Azure begins what is wrong with a transform. Where it is, is said here by the line of the file."""
_WIDTH = 72
"""Most characters of a line of KQL that are shown."""

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is wrong with a rule, and where: `line` and `column` are those of the file, from 1.

    `excerpt` is a line of a transform and the marks under what is wrong in it.
    """

    severity: Severity
    line: int
    column: int
    target: str
    code: str
    message: str
    hint: str | None
    excerpt: tuple[str, str] | None = None


def faults_of(file: RuleFile, problems: Iterable[Problem], severity: Severity = "error") -> tuple[Fault, ...]:
    """The problems of a rule as faults of its file, in the order of their places, each once."""
    found = dict.fromkeys(_fault(file, problem, severity) for problem in problems)
    return tuple(sorted(found, key=lambda fault: (fault.line, fault.column)))


def print_faults(file: RuleFile, faults: Sequence[Fault], *, errors: bool = False) -> None:
    """A line for each, with its cure, and the place in the transform below it.

    They are what a check prints; of a command that was to do something else they are `errors`.
    """
    out = error_console() if errors else console()
    for fault in faults:
        colour = "red" if fault.severity == "error" else "yellow"
        where = escape(f"{file.path}:{fault.line}:{fault.column}:")
        hint = f" ({escape(visible(fault.hint))})" if fault.hint else ""
        out.print(
            f"{where} [bold {colour}]{fault.severity}[/] {fault.code} [bold]{escape(visible(fault.target))}[/]: "
            f"{escape(visible(fault.message))}{hint}"
        )
        if fault.excerpt is not None:
            source, marks = fault.excerpt
            out.print(f"  {escape(visible(source))}\n  [bold {colour}]{marks}[/]")


def print_records(found: Iterable[tuple[RuleFile, Sequence[Fault]]]) -> None:
    """The faults of files as JSON."""
    records = [_record(file, fault) for file, faults in found for fault in faults]
    sys.stdout.write(json.dumps(records, ensure_ascii=False, indent=2) + "\n")


def _record(file: RuleFile, fault: Fault) -> dict[str, Any]:
    return {
        "file": str(file.path),
        "severity": fault.severity,
        "code": fault.code,
        "target": fault.target,
        "message": fault.message,
        "hint": fault.hint,
        "line": fault.line,
        "column": fault.column,
    }


def _fault(file: RuleFile, problem: Problem, severity: Severity) -> Fault:
    target = problem.target or "properties"
    transform = _transform(file, target) if problem.span is not None else None
    place, excerpt = file.place(target), None
    if transform is not None and problem.span is not None:
        target = f"{target}.transformKql"
        # The compiler is given the text without the blanks around it.
        text = transform.strip()
        before = len(transform) - len(transform.lstrip())
        place = within(file.text, file.place(target), before + problem.span.start)
        excerpt = _excerpt(text.split("\n")[problem.span.line - 1], problem.span.column, problem.span.length)
    line, column = line_and_column(file.text, place)
    message = problem.message if excerpt is None else _COMPILER.sub("", problem.message)
    return Fault(severity, line, column, target, problem.code, message, problem.hint, excerpt)


def _transform(file: RuleFile, target: str) -> str | None:
    """The transform's text, where `target` is a data flow that has one."""
    flow = _FLOW.fullmatch(target)
    if flow is None:
        return None
    text = file.document["properties"]["dataFlows"][int(flow[1])].get("transformKql")
    return text if isinstance(text, str) else None


def _excerpt(source: str, column: int, length: int) -> tuple[str, str]:
    """As much of a line as fits, and marks under `length` characters from `column` on."""
    source = source.replace("\t", " ").rstrip("\r")
    start = max(0, column - 1 - _WIDTH // 2) if len(source) > _WIDTH else 0
    shown = source[start : start + _WIDTH]
    before = column - 1 - start
    return shown, " " * before + "^" * max(1, min(length, len(shown) - before))
