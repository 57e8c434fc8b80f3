"""`headrace rule`: data collection rules tried before they are live, applied and shown."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from headrace.cli.client import RULES_VERSION, EnvFileOption, GroupOption, Server
from headrace.cli.documents import read_rows, read_rule, read_table
from headrace.cli.output import (
    OutputForm,
    OutputOption,
    console,
    counted,
    error_console,
    fail,
    print_record,
    print_rows,
    print_table,
    visible,
)
from headrace.clock import SystemClock, from_iso
from headrace.errors import Problem, ProblemError

if TYPE_CHECKING:
    from headrace.catalog.rules import Rule
    from headrace.transform.trial import FlowTrial

group = typer.Typer(help="Data collection rules: try, check, apply, show.", no_args_is_help=True)

_ANY_WORKSPACE = (
    "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/any/providers/"
    "Microsoft.OperationalInsights/workspaces/any"
)
"""Where tables are does not matter to a rule that is only tried."""

RuleFile = Annotated[
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


@group.command("test")
def test(
    file: RuleFile,
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

    The compiler and the engine are those of the live pipeline. Ends with 1 when a flow does not compile, a row
    fails, or the rows are not those of --expect.
    """
    rule = _parsed(file)
    samples = {_stream_of(rule, stream): [row for path in rows or () for row in read_rows(path)]}
    trials = [one for one in _trials(rule, samples, table, received) if flow in (None, one.flow.index)]
    if flow is not None and not trials:
        hint = f"It has {counted(len(rule.flows), 'data flow')}, counted from 0."
        raise ProblemError(Problem("NoSuchFlow", f"The rule has no data flow {flow}.", hint=hint))
    trials = [one for one in trials if one.flow.streams[0] in samples]
    if output is OutputForm.TABLE:
        _tell_of_samples(trials, given=rows is not None)
        for trial in trials:
            _show(trial)
    elif output is OutputForm.JSON:
        sys.stdout.write(
            json.dumps([_record(trial) for trial in trials], ensure_ascii=False, indent=2) + "\n"
        )
    else:
        _print_stored(trials, output)
    faults = [problem for trial in trials for problem in trial.problems]
    if expect is not None:
        faults += _differences(trials, read_rows(expect))
    for problem in faults:
        fail(problem)
    if faults or any(trial.failed for trial in trials):
        raise typer.Exit(1)


@group.command("validate")
def validate(
    file: RuleFile,
    table: TablesOption = None,
    online: Annotated[
        bool, typer.Option("--online", help="Ask the server, which knows the real tables; nothing is stored.")
    ] = False,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="With --online: the rule's name. Default: the file's.")
    ] = None,
    resource_group: GroupOption = None,
    env_file: EnvFileOption = None,
) -> None:
    """Check a rule: its structure, its streams and tables, and every transform. Ends with 1 when it is wrong."""
    if online:
        document = read_rule(file)
        with Server.find(env_file) as server:
            path = server.rule_id(resource_group, name or _name(document, file))
            server.arm("PUT", path, RULES_VERSION, located(server, document), validateOnly="true")
        console().print(f"{escape(str(file))} is valid.")
        return
    rule = _parsed(file)
    trials = _trials(rule, {}, table)
    problems = [problem for trial in trials for problem in trial.problems]
    for trial in trials:
        _warn(trial)
    if problems:
        raise ProblemError(_invalid(file, problems))
    parts = f"{counted(len(rule.streams), 'stream')}, {counted(len(trials), 'data flow')}"
    console().print(f"{escape(str(file))} is valid: {parts}.")


@group.command("apply")
def apply(
    file: RuleFile,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The rule's name. Default: the document's, else the file's."),
    ] = None,
    resource_group: GroupOption = None,
    env_file: EnvFileOption = None,
    output: OutputOption = OutputForm.TABLE,
) -> None:
    """Create a rule on the server, or replace it. It holds for the next request.

    A rule without destinations goes to the sample's workspace.
    """
    document = read_rule(file)
    with Server.find(env_file) as server:
        path = server.rule_id(resource_group, name or _name(document, file))
        made = server.arm("PUT", path, RULES_VERSION, located(server, document))
        print_record(_summary(server, made), output)


@group.command("show")
def show(
    rule: Annotated[str, typer.Argument(metavar="RULE", help="Its name or immutableId.")],
    resource_group: GroupOption = None,
    env_file: EnvFileOption = None,
    output: OutputOption = OutputForm.TABLE,
) -> None:
    """Show a rule; with --output json its whole document, as `headrace rule apply` takes it."""
    with Server.find(env_file) as server:
        found = server.find_rule(resource_group, rule)
        if output is OutputForm.JSON:
            print_record(found, output)
        else:
            print_record(_summary(server, found), output)


@group.command("list")
def list_rules(env_file: EnvFileOption = None, output: OutputOption = OutputForm.TABLE) -> None:
    """List the subscription's rules."""
    with Server.find(env_file) as server:
        rows = [_row(one) for one in server.rules()]
    print_rows(("name", "immutableId", "streams", "tables"), rows, output)


def _parsed(file: Path) -> Rule:
    """The rule in a file. Raises `ProblemError` with everything that is wrong with its structure."""
    from headrace.catalog.rules import parse_rule

    document = _with_destinations(read_rule(file))
    try:
        return parse_rule(document, "dcr-" + "0" * 32, 1)
    except ProblemError as error:
        raise ProblemError(_invalid(file, error.problems)) from None


def _invalid(file: Path, problems: Sequence[Problem]) -> Problem:
    """All that is wrong with a rule, each with its place, in the form that a server's answer is printed in."""
    return Problem("InvalidRule", f"{file} is not valid:", details=tuple(problems))


def _with_destinations(document: Mapping[str, Any], workspace_id: str = _ANY_WORKSPACE) -> dict[str, Any]:
    """The rule with all its flows going to one workspace, if it has no destinations of its own."""
    properties = dict(document["properties"])
    if not properties.get("destinations"):
        flows = properties["dataFlows"] if isinstance(properties["dataFlows"], list) else []
        named = {
            str(one) for flow in flows if isinstance(flow, dict) for one in flow.get("destinations") or ()
        }
        properties["destinations"] = {
            "logAnalytics": [{"name": name, "workspaceResourceId": workspace_id} for name in sorted(named)]
        }
    return {**document, "properties": properties}


def _trials(
    rule: Rule,
    samples: Mapping[str, Sequence[bytes]],
    tables: Sequence[Path] | None,
    received: str | None = None,
) -> list[FlowTrial]:
    from headrace.settings import load_settings
    from headrace.transform.trial import Trial

    settings = load_settings({}, {}).settings.transform
    trial = Trial(dict(read_table(path) for path in tables or ()), settings)
    return trial.run(rule, samples, _microseconds(received))


def _microseconds(moment: str | None) -> int:
    """A moment in UTC microseconds; now where none is given. Raises `ProblemError`."""
    if moment is None:
        return SystemClock().now()
    try:
        return from_iso(moment)
    except ValueError:
        hint = "Write it like 2026-01-31T12:00:00Z."
        raise ProblemError(Problem("InvalidTime", f"'{moment}' is no time.", hint=hint)) from None


def _stream_of(rule: Rule, stream: str | None) -> str:
    inputs = list(dict.fromkeys(name for flow in rule.flows for name in flow.streams))
    if stream is not None and stream not in inputs:
        known = ", ".join(inputs)
        raise ProblemError(
            Problem("NoSuchStream", f"No data flow takes the stream '{stream}'.", hint=f"There are: {known}.")
        )
    if stream is None and len(inputs) != 1:
        hint = f"Choose with --stream: {', '.join(inputs)}."
        raise ProblemError(Problem("StreamMissing", f"The rule has {len(inputs)} streams.", hint=hint))
    return stream or inputs[0]


def _show(trial: FlowTrial) -> None:
    out = console()
    out.print(f"[bold]{escape(trial.flow.streams[0])} → {escape(trial.table)}[/bold]", end="")
    if trial.problems:
        out.print(": does not compile")
        return
    parts = [f"{trial.received} received", f"{len(trial.rows)} stored"]
    if trial.filtered:
        parts.append(f"{len(trial.filtered)} filtered ({_places(trial.filtered)})")
    out.print(": " + ", ".join(parts))
    for failed in trial.failed:
        error_console().print(f"[bold red]row {failed.row + 1} fails:[/bold red] {escape(failed.reason)}")
    _warn(trial)
    if trial.rows:
        columns = list(trial.rows[0])
        print_table(columns, [list(row.values()) for row in trial.rows])


def _warn(trial: FlowTrial) -> None:
    notes = [f"{problem.message} {problem.hint or ''}".strip() for problem in trial.warnings]
    if trial.inferred:
        notes.append(
            f"the columns of {trial.table} are taken from the transform; give --table to check them."
        )
    if trial.left_out:
        notes.append(f"{trial.table} has no column for: {', '.join(trial.left_out)}. They are left out.")
    for note in notes:
        _note(note)


def _tell_of_samples(trials: Sequence[FlowTrial], *, given: bool) -> None:
    """What is lost of the samples whatever the transform does; several flows of a stream have the same notes."""
    notes = [f"{note.message} {note.hint or ''}".strip() for trial in trials for note in trial.notes]
    if not given:
        notes.append("no sample rows were given (--rows): the rule was only compiled.")
    for note in dict.fromkeys(notes):
        _note(note)


def _note(text: str) -> None:
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


def _differences(trials: Sequence[FlowTrial], expected: Sequence[bytes]) -> list[Problem]:
    """Where the rows that came out are not those that were expected."""
    if len(trials) != 1:
        hint = "Choose one with --flow."
        raise ProblemError(Problem("SeveralFlows", "Several data flows take the stream.", hint=hint))
    rows = trials[0].rows
    problems = []
    if len(rows) != len(expected):
        problems.append(Problem("OtherRows", f"{len(expected)} rows were expected, {len(rows)} came out."))
    for number, (row, text) in enumerate(zip(rows, expected, strict=False), 1):
        for name, value in json.loads(text).items():
            if name not in row:
                problems.append(Problem("OtherRows", f"Row {number} has no column '{name}'."))
            elif not _same(row[name], value):
                shown, wanted = json.dumps(row[name]), json.dumps(value)
                problems.append(Problem("OtherRows", f"Row {number}: {name} is {shown}, expected {wanted}."))
    return problems


def _same(value: Any, expected: Any) -> bool:
    """Whether a value is the expected one; times are compared as moments."""
    if value == expected:
        return True
    try:
        return datetime.fromisoformat(value) == datetime.fromisoformat(expected)
    except (TypeError, ValueError):
        return False


def _name(document: Mapping[str, Any], file: Path) -> str:
    name = document.get("name")
    if isinstance(name, str) and not name.startswith("["):
        return name
    if str(file) == "-":
        raise ProblemError(Problem("NoName", "The rule has no name.", hint="Give --name."))
    return file.stem


def located(server: Server, document: Mapping[str, Any]) -> dict[str, Any]:
    """The document as it is put: where it has no location or no destinations, the sample's."""
    fields = ("location", "kind", "tags", "identity", "properties")
    kept = {name: document[name] for name in fields if name in document}
    workspace = server.workspace_id(None, None)
    return {"location": server.variable("HEADRACE_LOCATION"), **_with_destinations(kept, workspace)}


def _summary(server: Server, rule: Mapping[str, Any]) -> dict[str, Any]:
    properties = rule["properties"]
    endpoint = properties.get("endpoints", {}).get("logsIngestion", server.variable("HEADRACE_INGEST_URL"))
    name, immutable_id, streams, tables = _row(rule)
    return {
        "name": name,
        "immutableId": immutable_id,
        "endpoint": endpoint,
        "streams": streams,
        "tables": tables,
    }


def _row(rule: Mapping[str, Any]) -> list[Any]:
    properties = rule["properties"]
    flows = properties.get("dataFlows", [])
    streams = dict.fromkeys(stream for flow in flows for stream in flow.get("streams", []))
    tables = dict.fromkeys(flow.get("outputStream") or flow["streams"][0] for flow in flows)
    return [rule["name"], properties["immutableId"], " ".join(streams), " ".join(tables)]
