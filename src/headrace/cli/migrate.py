"""`headrace migrate`: from a log type of the retired Data Collector API to a data collection rule."""

from __future__ import annotations

import json
from typing import Annotated, Any

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
from headrace.cli.output import console
from headrace.errors import Problem, ProblemError


def register(app: typer.Typer, panel: str) -> None:
    """Add the command to a panel of the help."""
    app.command("migrate", rich_help_panel=panel)(migrate)


def migrate(
    log_type: Annotated[
        str, typer.Argument(metavar="LOG-TYPE", help="The log type, or its table's name (with _CL).")
    ],
    workspace: WorkspaceOption = None,
    resource_group: GroupOption = None,
    rule: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the rule to make. Default: LOG-TYPE-rule.")
    ] = None,
    time_field: Annotated[
        str, typer.Option(metavar="NAME", help="The property that old senders named for TimeGenerated.")
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the rule's JSON and change nothing.")
    ] = False,
    env_file: EnvFileOption = None,
) -> None:
    """Make the rule that replaces one log type of the Data Collector API, and migrate its table.

    The rule takes the same records that old senders post. They may go on posting to /api/logs meanwhile: what the
    table has columns for is stored, other columns are not made any more.
    """
    from headrace.collector.migration import rule_document
    from headrace.collector.model import is_time_field

    name = log_type.removesuffix("_CL")
    if time_field and not is_time_field(time_field):
        raise ProblemError(Problem("InvalidTimeField", f"'{time_field}' cannot be a property's name."))
    with Server.find(env_file) as server:
        workspace_id = server.workspace_id(resource_group, workspace)
        table_id = f"{workspace_id}/tables/{name}_CL"
        table = _table(server, table_id, name)
        location = server.arm("GET", workspace_id, WORKSPACES_VERSION)["location"]
        document = rule_document(
            name, _columns(table), workspace_id=workspace_id, location=location, time_field=time_field
        )
        if not document["properties"]["streamDeclarations"][f"Custom-{name}_CL"]["columns"]:
            raise ProblemError(
                Problem(
                    "NothingToMigrate",
                    f"No column of {name}_CL has a suffix of the Data Collector API (_s, _d, _b, _t, _g).",
                    hint="Write a rule by hand: its table was not made by that API.",
                )
            )
        if dry_run:
            typer.echo(json.dumps(document, indent=2))
            return
        server.arm("POST", f"{table_id}/migrate", TABLES_VERSION)
        rule_id = server.rule_id(resource_group, rule or f"{name}-rule")
        made = server.arm("PUT", rule_id, RULES_VERSION, document)
        _tell(server, made, f"Custom-{name}_CL")


def _table(server: Server, table_id: str, log_type: str) -> dict[str, Any]:
    try:
        table: dict[str, Any] = server.arm("GET", table_id, TABLES_VERSION)
    except ProblemError as error:
        if error.problems[0].code != "ResourceNotFound":
            raise
        message = f"There is no table {log_type}_CL: nothing was posted as {log_type} yet."
        hint = "`headrace table list` shows the tables. A first post makes its table within a second or two."
        raise ProblemError(Problem("NothingToMigrate", message, hint=hint)) from None
    return table


def _columns(table: dict[str, Any]) -> list[tuple[str, Any]]:
    from headrace.kql.types import parse_type

    listed = table["properties"]["schema"]["columns"]
    return [(column["name"], parse_type(column["type"])) for column in listed]


def _tell(server: Server, rule: dict[str, Any], stream: str) -> None:
    immutable_id = rule["properties"]["immutableId"]
    out = console()
    out.print(f"The rule {escape(rule['name'])} ({immutable_id}) takes what was posted before.")
    out.print("Let a sender's app use it:")
    out.print(
        f"  headrace role assign 'Monitoring Metrics Publisher' --principal APP --scope {immutable_id}",
        soft_wrap=True,
    )
    out.print("and let it send the same records to:")
    url = f"{server.variable('HEADRACE_INGEST_URL')}/dataCollectionRules/{immutable_id}/streams/{stream}"
    out.print(f"  POST {escape(url)}?api-version=2023-01-01", soft_wrap=True)
    out.print("Until then /api/logs goes on taking them.")
