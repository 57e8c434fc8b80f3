"""`headrace rule`: data collection rules tried before they are live, applied and shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from headrace.cli.client import RULES_VERSION, EnvFileOption, GroupOption, Server
from headrace.cli.documents import RuleFile, read_rule_file
from headrace.cli.kql import CheckForm
from headrace.cli.output import (
    OutputForm,
    OutputOption,
    console,
    counted,
    examples,
    print_record,
    print_rows,
)
from headrace.cli.rule_faults import Fault, faults_of, print_faults, print_records
from headrace.cli.rule_test import FileArgument, TablesOption, flow_notes, print_note, test
from headrace.cli.rule_trials import microseconds, tried_rule, with_destinations
from headrace.errors import Problem, ProblemError

group = typer.Typer(help="Data collection rules: try, check, apply, show, delete.", no_args_is_help=True)
group.command(
    "test",
    epilog=examples(
        "rule test rule.json --rows rows.ndjson",
        "rule test rule.json --rows rows.ndjson --expect expected.json",
        "rule test rule.json --cases cases.json --junit report.xml",
    ),
)(test)


@group.command(
    "validate", epilog=examples("rule validate rule.json", "rule validate rules/*.json --output json")
)
def validate(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE", help="Rules: the JSON of one, its properties, or a template with one, each."
        ),
    ],
    table: TablesOption = None,
    online: Annotated[
        bool, typer.Option("--online", help="Ask the server, which knows the real tables; nothing is stored.")
    ] = False,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="With --online: the rule's name. Default: the file's.")
    ] = None,
    resource_group: GroupOption = None,
    env_file: EnvFileOption = None,
    output: Annotated[CheckForm, typer.Option("--output", "-o", help="Form of the output.")] = CheckForm.TEXT,
) -> None:
    """Check rules: structure, streams, tables, and every transform. Ends with 1 when one is wrong.

    All that is wrong is told at once, each fault with its line, its place in the document and the cure.
    """
    if name is not None and len(files) > 1:
        raise typer.BadParameter("--name is for one rule.")
    found: list[tuple[RuleFile, tuple[Fault, ...]]] = []
    for path in files:
        rule = read_rule_file(path)
        faults = (
            _faults_online(rule, name, resource_group, env_file)
            if online
            else _faults_here(rule, table or ())
        )
        found.append((rule, faults))
        if output is CheckForm.TEXT:
            print_faults(rule, faults)
            if not faults:
                console().print(f"{escape(str(path))} is valid: {_parts(rule)}.")
    if output is CheckForm.JSON:
        print_records(found)
    if any(faults for _, faults in found):
        raise typer.Exit(1)


def _faults_online(
    rule: RuleFile, name: str | None, resource_group: str | None, env_file: Path | None
) -> tuple[Fault, ...]:
    with Server.find(env_file) as server:
        path = server.rule_id(resource_group, name or _name(rule))
        try:
            server.arm("PUT", path, RULES_VERSION, located(server, rule.document), validateOnly="true")
        except ProblemError as error:
            return _told(rule, error)
    return ()


def _told(rule: RuleFile, error: ProblemError) -> tuple[Fault, ...]:
    """What a server says is wrong with a rule. Raises the error where it is about something else."""
    problems = [detail for problem in error.problems for detail in problem.details if detail.target]
    if not problems:
        raise error
    return faults_of(rule, problems)


def _faults_here(rule: RuleFile, tables: Sequence[Path]) -> tuple[Fault, ...]:
    with tried_rule(rule.document, tables) as tried:
        if not tried.problems:
            for trial in tried.trial.on({}, microseconds(None)):
                for note in flow_notes(trial):
                    print_note(note)
        return faults_of(rule, tried.problems)


def _parts(rule: RuleFile) -> str:
    properties = rule.document["properties"]
    streams, flows = properties.get("streamDeclarations") or (), properties["dataFlows"]
    return f"{counted(len(streams), 'stream')}, {counted(len(flows), 'data flow')}"


@group.command("apply")
def apply(
    file: FileArgument,
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
    rule = read_rule_file(file)
    with Server.find(env_file) as server:
        path = server.rule_id(resource_group, name or _name(rule))
        try:
            made = server.arm("PUT", path, RULES_VERSION, located(server, rule.document))
        except ProblemError as error:
            print_faults(rule, _told(rule, error), errors=True)
            raise typer.Exit(1) from None
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


@group.command("delete")
def delete(
    rule: Annotated[str, typer.Argument(metavar="RULE", help="Its name or immutableId.")],
    resource_group: GroupOption = None,
    env_file: EnvFileOption = None,
) -> None:
    """Delete a rule: nothing is sent to it any more. The rows that it stored stay.

    Its immutableId does not come back with a rule of the same name.
    """
    with Server.find(env_file) as server:
        found = server.find_rule(resource_group, rule)
        server.arm("DELETE", found["id"], RULES_VERSION)
    console().print(f"The rule {escape(found['name'])} is deleted.")


def _name(rule: RuleFile) -> str:
    name = rule.document.get("name")
    if isinstance(name, str) and not name.startswith("["):
        return name
    if str(rule.path) == "-":
        raise ProblemError(Problem("NoName", "The rule has no name.", hint="Give --name."))
    return rule.path.stem


def located(server: Server, document: Mapping[str, Any]) -> dict[str, Any]:
    """The document as it is put: where it has no location or no destinations, the sample's."""
    fields = ("location", "kind", "tags", "identity", "properties")
    kept = {name: document[name] for name in fields if name in document}
    workspace = server.workspace_id(None, None)
    return {"location": server.variable("HEADRACE_LOCATION"), **with_destinations(kept, workspace)}


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
