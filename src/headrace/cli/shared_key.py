"""`headrace shared-key`: the key that senders of the retired Data Collector API sign with."""

from __future__ import annotations

from typing import Annotated

import typer

from headrace.cli.client import TABLES_VERSION, EnvFileOption, GroupOption, Server, WorkspaceOption


def register(app: typer.Typer, panel: str) -> None:
    """Add the command to a panel of the help."""
    app.command("shared-key", rich_help_panel=panel)(shared_key)


def shared_key(
    workspace: WorkspaceOption = None,
    resource_group: GroupOption = None,
    secondary: Annotated[
        bool, typer.Option("--secondary", help="The second key, which is as good as the first.")
    ] = False,
    env_file: EnvFileOption = None,
) -> None:
    """Print the key that senders of the Data Collector API sign with: one of the workspace's two."""
    with Server.find(env_file) as server:
        path = f"{server.workspace_id(resource_group, workspace)}/sharedKeys"
        keys = server.arm("POST", path, TABLES_VERSION)
    typer.echo(keys["secondarySharedKey" if secondary else "primarySharedKey"])
