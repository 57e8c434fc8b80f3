"""`headrace rule test`: a rule on sample rows, and cases of what must come out."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from headrace.cli.documents import RuleFile, read_rows, read_rule_file
from headrace.cli.output import (
    OutputForm,
    OutputOption,
    console,
    counted,
    error_console,
    print_rows,
    print_table,
    visible,
)
from headrace.cli.rule_cases import Case, Result, expected_rows, judge, read_cases, write_junit
from headrace.cli.rule_faults import faults_of, print_faults, print_records
from headrace.cli.rule_trials import TriedRule, microseconds, tried_rule
from headrace.errors import Problem, ProblemError

if TYPE_CHECKING:
    from headrace.transform.trial import FlowTrial

FileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="The rule: its JSON, its properties, or a template with one.")
]
TablesOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--table",
        metavar="FILE",
        help="JSON of an output table. Standard tables are known; others are inferred from the transform.",
    ),
]


def test(
    file: FileArgument,
    rows: Annotated[
        list[Path] | None,
        typer.Option(
            "--rows", "-r", metavar="FILE", help="Sample rows: NDJSON, a JSON array or CSV. `-` is stdin."
        ),
    ] = None,
    stream: Annotated[
        str | None, typer.Option(metavar="NAME", help="The stream of the rows, where the rule has several.")
    ] = None,
    table: TablesOption = None,
    expect: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Rows that must come out, in order; only the columns that they name are compared.",
        ),
    ] = None,
    cases: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help='Cases in place of --rows and --expect: {"cases": [{"name": ..., "rows": [...], "expect": [...]}]}.',
        ),
    ] = None,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a JUnit report of the cases here.")
    ] = None,
    flow: Annotated[
        int | None, typer.Option(metavar="N", help="Only this data flow, counted from 0.")
    ] = None,
    received: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="When the rows come in (ISO 8601): what now() gives. Default: now. Rows whose TimeGenerated is more "
            "than two days before or a day after it get this time.",
        ),
    ] = None,
    output: OutputOption = OutputForm.TABLE,
) -> None:
    """Run a rule on sample rows, without a server: what is stored, left out, and why.

    The compiler and the engine are those of the live pipeline. Ends with 1 when the rule is not valid, a row fails, or
    the rows are not those of --expect or of a case.
    """
    if cases and (rows or expect is not None or stream is not None):
        raise typer.BadParameter("--cases have their rows, streams and expectations: leave out the others.")
    if junit is not None and expect is None and not cases:
        raise typer.BadParameter("--junit reports cases: give --cases, or --rows with --expect.")
    rule = read_rule_file(file)
    with tried_rule(rule.document, table or ()) as tried:
        if tried.problems:
            _refuse(rule, tried.problems, output)
        _check_flow(tried, flow)
        if cases:
            given = [case for path in cases for case in read_cases(path)]
            results = [_run(tried, case, flow, received) for case in given]
            _tell(results, output)
        else:
            texts = [row for path in rows or () for row in read_rows(path)]
            name = tried.stream(stream)
            trials = _of(tried.on(name, texts, microseconds(received)), flow)
            _show_all(trials, output, given=rows is not None)
            case = Case(file.stem, texts, [] if expect is None else expected_rows(expect))
            results = [] if expect is None else [judge(case, trials)]
            _tell_failures(results)
            if any(trial.failed for trial in trials):
                raise typer.Exit(1)
    if junit is not None:
        write_junit(junit, file.stem, results)
    if any(result.failures for result in results):
        raise typer.Exit(1)


def _refuse(rule: RuleFile, problems: Sequence[Problem], output: OutputForm) -> None:
    faults = faults_of(rule, problems)
    if output is OutputForm.TABLE:
        print_faults(rule, faults, errors=True)
    else:
        print_records([(rule, faults)])
    raise typer.Exit(1)


def _check_flow(tried: TriedRule, flow: int | None) -> None:
    if flow is not None and all(one.index != flow for one in tried.rule.flows):
        hint = f"It has {counted(len(tried.rule.flows), 'data flow')}, counted from 0."
        raise ProblemError(Problem("NoSuchFlow", f"The rule has no data flow {flow}.", hint=hint))


def _run(tried: TriedRule, case: Case, flow: int | None, received: str | None) -> Result:
    stream = tried.stream(case.stream)
    return judge(case, _of(tried.on(stream, case.rows, microseconds(case.received or received)), flow))


def _of(trials: Sequence[FlowTrial], flow: int | None) -> list[FlowTrial]:
    return [one for one in trials if flow in (None, one.flow.index)]


# What is told of cases


def _tell(results: Sequence[Result], output: OutputForm) -> None:
    if output is not OutputForm.TABLE:
        columns = ("name", "passed", "failures", "notes")
        rows = [
            [result.case.name, not result.failures, list(result.failures), list(result.notes)]
            for result in results
        ]
        print_rows(columns, rows, output)
        return
    out = console()
    for result in results:
        mark = "[bold red]FAIL[/]" if result.failures else "[green]ok[/]  "
        out.print(f"{mark} {escape(visible(result.case.name))}")
        for note in result.notes:
            out.print(f"     [yellow]note:[/yellow] {escape(visible(note))}")
        for line in "\n".join(result.failures).splitlines():
            out.print(f"     {_coloured(line)}")
    failed = sum(bool(result.failures) for result in results)
    out.print(f"{counted(len(results), 'case')}, {failed} failed.")


def _tell_failures(results: Sequence[Result]) -> None:
    for result in results:
        for failure in result.failures:
            head, *lines = failure.splitlines()
            error_console().print(f"[bold red]error:[/bold red] {escape(visible(head))}")
            for line in lines:
                error_console().print(_coloured(line))


def _coloured(line: str) -> str:
    colour = (
        {"-": "red", "+": "green", "~": "yellow"}.get(line.strip()[:1]) if line.startswith("  ") else None
    )
    text = escape(visible(line))
    return f"[{colour}]{text}[/]" if colour else text


# What is told of rows


def _show_all(trials: Sequence[FlowTrial], output: OutputForm, *, given: bool) -> None:
    if output is OutputForm.TABLE:
        _tell_of_samples(trials, given=given)
        for trial in trials:
            _show(trial)
    elif output is OutputForm.JSON:
        records = [_record(trial) for trial in trials]
        sys.stdout.write(json.dumps(records, ensure_ascii=False, indent=2) + "\n")
    else:
        _print_stored(trials, output)


def _show(trial: FlowTrial) -> None:
    out = console()
    parts = [f"{trial.received} received", f"{len(trial.rows)} stored"]
    if trial.filtered:
        parts.append(f"{len(trial.filtered)} filtered ({_places(trial.filtered)})")
    heading = f"[bold]{escape(trial.flow.streams[0])} → {escape(trial.table)}[/bold]"
    out.print(f"{heading}: {', '.join(parts)}")
    for failed in trial.failed:
        error_console().print(f"[bold red]row {failed.row + 1} fails:[/bold red] {escape(failed.reason)}")
    for note in flow_notes(trial):
        print_note(note)
    if trial.rows:
        columns = list(trial.rows[0])
        print_table(columns, [list(row.values()) for row in trial.rows])


def flow_notes(trial: FlowTrial) -> list[str]:
    """What is worth knowing of a data flow whatever its rows are."""
    notes = [problem.told for problem in trial.warnings]
    if trial.inferred:
        notes.append(
            f"the columns of {trial.table} are taken from the transform; give --table to check them."
        )
    if trial.left_out:
        notes.append(f"{trial.table} has no column for: {', '.join(trial.left_out)}. They are left out.")
    return notes


def _tell_of_samples(trials: Sequence[FlowTrial], *, given: bool) -> None:
    """What is lost of the samples whatever the transform does; several flows of a stream have the same notes."""
    notes = [note.told for trial in trials for note in trial.notes]
    if not given:
        notes.append("no sample rows were given (--rows): the rule was only compiled.")
    for note in dict.fromkeys(notes):
        print_note(note)


def print_note(text: str) -> None:
    """What is worth knowing and keeps nothing from going on."""
    error_console().print(f"[yellow]note:[/yellow] {escape(visible(text))}")


def _places(rows: Sequence[int]) -> str:
    """Rows as people count them."""
    shown = ", ".join(str(row + 1) for row in rows[:10])
    return f"rows {shown}, ..." if len(rows) > 10 else f"row{'s' if len(rows) > 1 else ''} {shown}"


def _record(trial: FlowTrial) -> dict[str, Any]:
    return {
        "flow": trial.flow.index,
        "stream": trial.flow.streams[0],
        "table": trial.table,
        "received": trial.received,
        "rows": list(trial.rows),
        "filtered": list(trial.filtered),
        "failed": [{"row": failed.row, "reason": failed.reason} for failed in trial.failed],
        "leftOut": list(trial.left_out),
        "columns": [{"name": name, "type": kusto.value} for name, kusto in trial.columns],
        "inferred": trial.inferred,
        "notes": [{"code": note.code, "message": note.message, "hint": note.hint} for note in trial.notes],
        "warnings": [problem.message for problem in trial.warnings],
        "problems": [{"code": problem.code, "message": problem.message} for problem in trial.problems],
    }


def _print_stored(trials: Sequence[FlowTrial], output: OutputForm) -> None:
    if len(trials) != 1:
        hint = "Choose one with --flow, or take --output json."
        raise ProblemError(Problem("SeveralFlows", "Several data flows take the stream.", hint=hint))
    rows = trials[0].rows
    columns = [name for name, _ in trials[0].columns]
    print_rows(columns, [[row.get(name) for name in columns] for row in rows], output)
