"""`headrace kql`: check, format and explain KQL files, without a server.

The compiler is imported by the commands, not by this module: other commands start without it.
"""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from headrace.cli.documents import read_text
from headrace.cli.output import console, error_console
from headrace.errors import Problem, ProblemError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.kql.editor.diagnostics import Diagnostic

group = typer.Typer(help="Check, format and explain KQL files.", no_args_is_help=True)


class CheckForm(StrEnum):
    """How diagnostics are printed."""

    TEXT = "text"
    JSON = "json"


class FunctionSet(StrEnum):
    """Which functions a transform may use."""

    EXTENDED = "extended"
    DOCUMENTED = "documented"


FilesArgument = Annotated[list[str], typer.Argument(metavar="FILE", help="KQL files; - is standard input.")]
FileArgument = Annotated[str, typer.Argument(metavar="FILE", help="A KQL file; - is standard input.")]
TransformOption = Annotated[
    bool, typer.Option("--transform", help="The text is a transform over `source`, not a query.")
]
SchemaOption = Annotated[
    Path | None,
    typer.Option("--schema", help="JSON file with the stream's columns, or a rule with streamDeclarations."),
]
StreamOption = Annotated[str | None, typer.Option("--stream", help="The stream, where a rule has several.")]
FunctionsOption = Annotated[
    FunctionSet, typer.Option("--functions", help="`documented`: only what Azure lists for transforms.")
]


@group.command("check")
def check(
    files: FilesArgument,
    transform: TransformOption = False,
    schema: SchemaOption = None,
    stream: StreamOption = None,
    functions: FunctionsOption = FunctionSet.EXTENDED,
    output: Annotated[CheckForm, typer.Option("--output", "-o", help="Form of the output.")] = CheckForm.TEXT,
) -> None:
    """Print what is wrong with KQL files, and what is a trap. Ends with 1 if there is an error.

    Queries are bound against Microsoft's standard tables; a transform against its stream's columns.
    """
    from headrace.cli.kql_target import target_for
    from headrace.kql.editor import Severity, diagnose

    target = target_for(transform, schema, stream, functions.value)
    failed = False
    documents: list[dict[str, Any]] = []
    for file in files:
        text = read_text(file)
        found = diagnose(text, target)
        failed = failed or any(item.severity is Severity.ERROR for item in found)
        if output is CheckForm.JSON:
            documents.extend(_document(_shown(file), item) for item in found)
        else:
            _print(_shown(file), text, found)
    if output is CheckForm.JSON:
        sys.stdout.write(json.dumps(documents, ensure_ascii=False, indent=2) + "\n")
    if failed:
        raise typer.Exit(1)


@group.command("format")
def format_files(
    files: FilesArgument,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; end with 1 if a file would change.")
    ] = False,
    write: Annotated[bool, typer.Option("--write", help="Write the files back.")] = False,
) -> None:
    """Lay out KQL in the canonical form: one operator a line. Prints the result unless told otherwise.

    A text with syntax errors is left as it is.
    """
    from headrace.kql.editor import Severity, format_text
    from headrace.kql.editor.diagnostics import Diagnostic
    from headrace.kql.model import KqlError

    if check and write:
        raise typer.BadParameter("Give --check or --write, not both.")
    failed = False
    for file in files:
        text = read_text(file)
        try:
            formatted = format_text(text)
        except KqlError as error:
            failed = True
            found = [Diagnostic(Severity.ERROR, problem) for problem in error.problems]
            _print(_shown(file), text, found, errors=True)
            continue
        if check:
            if formatted != text:
                failed = True
                console().print(escape(f"{_shown(file)}: would change"), markup=True)
        elif write and file != "-":
            if formatted != text:
                _write(Path(file), formatted)
        else:
            sys.stdout.write(formatted)
    if failed:
        raise typer.Exit(1)


@group.command("explain")
def explain(
    file: FileArgument,
    plan: Annotated[bool, typer.Option("--plan", help="Only the plan.")] = False,
    sql: Annotated[bool, typer.Option("--sql", help="Only the SQL.")] = False,
    transform: TransformOption = False,
    schema: SchemaOption = None,
    stream: StreamOption = None,
    functions: FunctionsOption = FunctionSet.EXTENDED,
) -> None:
    """Print the plan of a text as a tree, and the SQL that it runs as."""
    from headrace.cli.kql_target import target_for
    from headrace.kql.editor import Severity
    from headrace.kql.editor.diagnostics import Diagnostic, compile_for
    from headrace.kql.editor.explain import plan_text, sql_text
    from headrace.kql.model import KqlError

    target = target_for(transform, schema, stream, functions.value)
    text = read_text(file)
    try:
        compiled = compile_for(text, target)
        parts = [(plan_text(statement), sql_text(statement)) for statement in compiled.statements]
    except KqlError as error:
        found = [Diagnostic(Severity.ERROR, problem) for problem in error.problems]
        _print(_shown(file), text, found, errors=True)
        raise typer.Exit(1) from None
    both = plan == sql
    for place, (plan_part, sql_part) in enumerate(parts):
        shown = [*([plan_part] if plan or both else []), *([sql_part] if sql or both else [])]
        sys.stdout.write(("\n" if place else "") + "\n".join(shown))


def _shown(file: str) -> str:
    return "<stdin>" if file == "-" else file


def _write(path: Path, text: str) -> None:
    try:
        path.write_bytes(text.encode("utf-8"))
    except OSError as error:
        raise ProblemError(Problem("FileUnwritable", f"{path}: {error.strerror}.")) from None


def _document(file: str, item: Diagnostic) -> dict[str, Any]:
    problem = item.problem
    span = problem.span
    return {
        "file": file,
        "severity": item.severity.value,
        "code": problem.code,
        "message": problem.message,
        "hint": problem.hint,
        "line": span.line if span else 1,
        "column": span.column if span else 1,
        "length": span.length if span else 0,
    }


def _print(file: str, text: str, found: Sequence[Diagnostic], *, errors: bool = False) -> None:
    """A line for each diagnostic, in a terminal with the source line and a marker under the place."""
    out = error_console() if errors else console()
    lines = text.split("\n")
    for item in found:
        problem, span = item.problem, item.problem.span
        line, column = (span.line, span.column) if span else (1, 1)
        hint = f" ({problem.hint})" if problem.hint else ""
        where = f"{file}:{line}:{column}:"
        colour = "red" if item.severity.value == "error" else "yellow"
        out.print(
            f"{escape(where)} [bold {colour}]{item.severity.value}[/] {problem.code} "
            f"{escape(problem.message)}{escape(hint)}"
        )
        if out.is_terminal and span is not None and line <= len(lines):
            source = lines[line - 1].rstrip("\r").replace("\t", " ")
            width = max(1, min(span.length, len(source) - column + 1))
            out.print(f"  {escape(source)}\n  {' ' * (column - 1)}[bold {colour}]{'^' * width}[/]")
