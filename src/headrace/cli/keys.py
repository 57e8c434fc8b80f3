"""`headrace key`: the keys that tokens are signed with."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from headrace.cli.client import EnvFileOption, Server
from headrace.cli.output import OutputForm, OutputOption, print_rows

group = typer.Typer(help="The keys that tokens are signed with.", no_args_is_help=True)

_COLUMNS = ("kid", "signs", "created")


@group.command("list")
def list_keys(env_file: EnvFileOption = None, output: OutputOption = OutputForm.TABLE) -> None:
    """List the keys, newest first. The one that signs is marked; the others still verify."""
    with Server.find(env_file) as server:
        _print(server.admin("GET", "keys"), output)


@group.command("rotate")
def rotate(
    revoke: Annotated[
        bool, typer.Option("--revoke", help="End the old keys, and every token signed with them, at once.")
    ] = False,
    env_file: EnvFileOption = None,
    output: OutputOption = OutputForm.TABLE,
) -> None:
    """Let a new key sign from now on. Old tokens stay good: old keys verify for a while longer."""
    with Server.find(env_file) as server:
        _print(server.admin("POST", "keys", {"revoke": revoke}), output)


def _print(keys: dict[str, Any], output: OutputForm) -> None:
    print_rows(_COLUMNS, [[key[column] for column in _COLUMNS] for key in keys["value"]], output)
