"""`headrace table`: the tables of a workspace, and tables inferred from sample records."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from headrace.cli.client import (
    RULES_VERSION,
    TABLES_VERSION,
    WORKSPACES_VERSION,
    EnvFileOption,
    GroupOption,
    Server,
    WorkspaceOption,
)
from headrace.cli.documents import read_rows, read_table_schema
from headrace.cli.output import OutputForm, OutputOption, console, examples, print_record, print_rows
from headrace.cli.sources import SourceFormat
from headrace.errors import Problem, ProblemError

if TYPE_CHECKING:
    from headrace.catalog.infer import Inferred

group = typer.Typer(help="Tables: list, show, create, infer from samples.", no_args_is_help=True)


_COLUMNS = ("name", "plan", "interactive days", "total days", "own columns")


@group.command("list")
def list_tables(
    everything: Annotated[
        bool, typer.Option("--all", help="Microsoft's standard tables too, changed or not.")
    ] = False,
    workspace: WorkspaceOption = None,
    resource_group: GroupOption = None,
    env_file: EnvFileOption = None,
    output: OutputOption = OutputForm.TABLE,
) -> None:
    """List the tables of a workspace: custom ones, and standard ones that have columns of yours."""
    with Server.find(env_file) as server:
        tables = server.arm(
            "GET", f"{server.workspace_id(resource_group, workspace)}/tables", TABLES_VERSION
        )["value"]
    shown = [table for table in tables if everything or table["properties"]["schema"]["columns"]]
    rows = [_row(table) for table in shown]
    print_rows(_COLUMNS, rows, output)


@group.command("show")
def show(
    name: Annotated[str, typer.Argument(metavar="TABLE", help="The table's exact name.")],
    workspace: WorkspaceOption = None,
    resource_group: GroupOption = None,
    env_file: EnvFileOption = None,
    output: OutputOption = OutputForm.TABLE,
) -> None:
    """Show a table's columns; with --output json its whole document."""
    with Server.find(env_file) as server:
        table = server.arm(
            "GET", f"{server.workspace_id(resource_group, workspace)}/tables/{name}", TABLES_VERSION
        )
    if output is OutputForm.JSON:
        print_record(table, output)
        return
    schema = table["properties"]["schema"]
    rows = [
        [column["name"], column["type"], column.get("description", ""), kind]
        for kind, columns in (("own", schema["columns"]), ("standard", schema["standardColumns"]))
        for column in columns
        if not column["isHidden"]
    ]
    print_rows(("column", "type", "description", "kind"), rows, output)


@group.command(
    "create",
    epilog=examples(
        "table create Web_CL --column Path:string --column Status:int",
        "table create Web_CL --schema web.json",
    ),
)
def create(
    name: Annotated[str, typer.Argument(metavar="TABLE", help="Its name, which ends in _CL.")],
    column: Annotated[
        list[str] | None,
        typer.Option("--column", "-c", metavar="NAME:TYPE", help="A column; TimeGenerated comes by itself."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--schema", metavar="FILE", help="The table's JSON, as `table show` gives it."),
    ] = None,
    retention: Annotated[
        int | None, typer.Option(metavar="DAYS", help="Days that queries see. Default: the workspace's.")
    ] = None,
    total_retention: Annotated[
        int | None, typer.Option(metavar="DAYS", help="Days that rows are kept.")
    ] = None,
    workspace: WorkspaceOption = None,
    resource_group: GroupOption = None,
    env_file: EnvFileOption = None,
    output: OutputOption = OutputForm.TABLE,
) -> None:
    """Create a table, or replace its columns."""
    columns = _columns(column or (), file)
    properties = {"schema": {"name": name, "columns": columns}, **_retentions(retention, total_retention)}
    with Server.find(env_file) as server:
        path = f"{server.workspace_id(resource_group, workspace)}/tables/{name}"
        made = server.arm("PUT", path, TABLES_VERSION, {"properties": properties})
    print_rows(_COLUMNS, [_row(made)], output)


@group.command("retention")
def set_retention(
    name: Annotated[str, typer.Argument(metavar="TABLE", help="The table's exact name.")],
    interactive: Annotated[int | None, typer.Option(metavar="DAYS", help="Days that queries see.")] = None,
    total: Annotated[int | None, typer.Option(metavar="DAYS", help="Days that rows are kept.")] = None,
    workspace: WorkspaceOption = None,
    resource_group: GroupOption = None,
    env_file: EnvFileOption = None,
    output: OutputOption = OutputForm.TABLE,
) -> None:
    """Say how long a table keeps its rows. Rows past the total retention are deleted, soon after this command.

    What is not given stays as it is; the columns do, too.
    """
    properties = _retentions(interactive, total)
    if not properties:
        hint = "Give --interactive, --total or both."
        raise ProblemError(Problem("NothingChosen", "How many days?", hint=hint))
    with Server.find(env_file) as server:
        path = f"{server.workspace_id(resource_group, workspace)}/tables/{name}"
        made = server.arm("PATCH", path, TABLES_VERSION, {"properties": properties})
    print_rows(_COLUMNS, [_row(made)], output)


def _retentions(interactive: int | None, total: int | None) -> dict[str, int]:
    days = {"retentionInDays": interactive, "totalRetentionInDays": total}
    return {field: number for field, number in days.items() if number is not None}


@group.command("delete")
def delete_table(
    name: Annotated[str, typer.Argument(metavar="TABLE", help="The table's exact name.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    workspace: WorkspaceOption = None,
    resource_group: GroupOption = None,
    env_file: EnvFileOption = None,
) -> None:
    """Delete a custom table with its rows.

    It asks before, if a person can answer; a script gives --yes.
    """
    with Server.find(env_file) as server:
        path = f"{server.workspace_id(resource_group, workspace)}/tables/{name}"
        server.arm("GET", path, TABLES_VERSION)
        if not yes and not (sys.stdin.isatty() and typer.confirm(f"Delete {name} and all its rows?")):
            raise ProblemError(Problem("NotConfirmed", "Nothing was deleted.", hint="--yes does it unasked."))
        server.arm("DELETE", path, TABLES_VERSION)
    console().print(f"The table {escape(name)} is deleted.")


@group.command(
    "infer",
    epilog=examples(
        "table infer rows.ndjson --name Web_CL", "table infer rows.ndjson --name Web_CL --create"
    ),
)
def infer_table(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="Sample records: NDJSON, a JSON array or CSV. `-` is stdin."),
    ],
    name: Annotated[str, typer.Option("--name", "-n", metavar="TABLE", help="The table's name, with _CL.")],
    form: Annotated[
        SourceFormat | None,
        typer.Option("--format", help="How the records stand in the file. Default: its name tells."),
    ] = None,
    make: Annotated[
        bool, typer.Option("--create", help="Create the table and a Direct rule that fills it.")
    ] = False,
    workspace: WorkspaceOption = None,
    resource_group: GroupOption = None,
    env_file: EnvFileOption = None,
    output: OutputOption = OutputForm.TABLE,
) -> None:
    """Infer a table from sample records, with the rule that fills it.

    As a table it prints the columns; as JSON the documents of the table and the rule.
    """
    from headrace.catalog.infer import infer
    from headrace.catalog.names import custom_table_fault

    fault = custom_table_fault(name)
    if fault is not None:
        raise ProblemError(Problem("InvalidTableName", f"'{name}' cannot be a table's name. {fault}"))
    records = [json.loads(row) for row in read_rows(file, form)]
    if not records:
        raise ProblemError(Problem("NoRecords", f"{file} has no records."))
    inferred = infer(records)
    if make:
        with Server.find(env_file) as server:
            _create(server, resource_group, workspace, name, inferred)
        return
    if output is OutputForm.JSON:
        documents = {"table": table_document(name, inferred), "rule": rule_document(name, inferred, "", "")}
        sys.stdout.write(json.dumps(documents, indent=2, ensure_ascii=False) + "\n")
        return
    rows = [
        [column.property, column.name, column.type.value, f"{column.seen}/{len(records)}"]
        for column in inferred.columns
    ]
    print_rows(("property", "column", "type", "records"), rows, output)
    if output is OutputForm.TABLE:
        console().print(f"transformKql: {escape(inferred.transform)}")


def table_document(name: str, inferred: Inferred) -> dict[str, Any]:
    """The ARM document of an inferred table."""
    from headrace.catalog.schema import TABLE_TYPES

    columns = [{"name": column, "type": TABLE_TYPES[kusto]} for column, kusto in inferred.table_columns]
    return {"properties": {"schema": {"name": name, "columns": columns}}}


def rule_document(name: str, inferred: Inferred, workspace_id: str, location: str) -> dict[str, Any]:
    """The ARM document of the rule that fills an inferred table; without a workspace it has no destinations."""
    stream = f"Custom-{name}"
    columns = [{"name": column.property, "type": column.type.value} for column in inferred.columns]
    for column in columns:
        column["type"] = "boolean" if column["type"] == "bool" else column["type"]
    properties: dict[str, Any] = {
        "streamDeclarations": {stream: {"columns": columns}},
        "dataFlows": [
            {
                "streams": [stream],
                "destinations": ["workspace"],
                "transformKql": inferred.transform,
                "outputStream": stream,
            }
        ],
    }
    if not workspace_id:
        return {"kind": "Direct", "properties": properties}
    destination = {"name": "workspace", "workspaceResourceId": workspace_id}
    properties["destinations"] = {"logAnalytics": [destination]}
    return {"location": location, "kind": "Direct", "properties": properties}


def _create(server: Server, group: str | None, workspace: str | None, name: str, inferred: Inferred) -> None:
    workspace_id = server.workspace_id(group, workspace)
    server.arm("PUT", f"{workspace_id}/tables/{name}", TABLES_VERSION, table_document(name, inferred))
    location = server.arm("GET", workspace_id, WORKSPACES_VERSION)["location"]
    rule_id = server.rule_id(group, f"{name.removesuffix('_CL')}-rule")
    made = server.arm("PUT", rule_id, RULES_VERSION, rule_document(name, inferred, workspace_id, location))
    immutable_id = made["properties"]["immutableId"]
    out = console()
    out.print(f"{escape(name)} is there, and the rule {escape(made['name'])} ({immutable_id}) fills it.")
    out.print("Let an app send to it:")
    out.print(
        f"  headrace role assign 'Monitoring Metrics Publisher' --principal APP --scope {immutable_id}",
        soft_wrap=True,
    )


def _columns(listed: list[str] | tuple[str, ...], file: Path | None) -> list[dict[str, Any]]:
    """The columns that the options ask for, `TimeGenerated` among them. Raises `ProblemError`."""
    if bool(listed) == (file is not None):
        hint = "--column Name:string for each, or --schema FILE."
        raise ProblemError(Problem("NoColumns", "A table needs columns, given in one way.", hint=hint))
    columns = read_table_schema(file)[1] if file is not None else [_column(text) for text in listed]
    if all(column.get("name") != "TimeGenerated" for column in columns):
        columns.insert(0, {"name": "TimeGenerated", "type": "dateTime"})
    return columns


def _column(text: str) -> dict[str, Any]:
    name, colon, kind = text.partition(":")
    if not colon or not name or not kind:
        hint = "Types: string, int, long, real, boolean, dateTime, guid, dynamic."
        raise ProblemError(Problem("InvalidColumn", f"'{text}' is not NAME:TYPE.", hint=hint))
    return {"name": name, "type": kind}


def _row(table: Mapping[str, Any]) -> list[Any]:
    properties = table["properties"]
    return [
        table["name"],
        properties["plan"],
        properties["retentionInDays"],
        properties["totalRetentionInDays"],
        len(properties["schema"]["columns"]),
    ]
