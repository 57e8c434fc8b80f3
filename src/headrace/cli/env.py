"""`headrace env`: the variables that point clients at a running server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headrace.cli.client import local_env_file
from headrace.cli.output import OutputForm, print_record
from headrace.env_file import parse
from headrace.errors import Problem, ProblemError


def register(app: typer.Typer, panel: str) -> None:
    """Add the command to a panel of the help."""
    app.command("env", rich_help_panel=panel)(env)


def env(
    data_dir: Annotated[Path | None, typer.Option(metavar="DIR", help="The server's data folder.")] = None,
    output: Annotated[
        OutputForm | None, typer.Option("--output", "-o", help="Another form than lines for a shell.")
    ] = None,
) -> None:
    """Print the env file of a running server.

    `eval "$(headrace env)"` in a shell, and the Azure SDKs started from it find the server.
    """
    path = local_env_file(data_dir)
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise ProblemError(
            Problem(
                "NotRunning",
                f"No server runs on {path.parent}.",
                hint="Start one with `headrace up`, or name its folder with --data-dir.",
            )
        ) from None
    except OSError as error:
        raise ProblemError(Problem("EnvFileUnreadable", f"{path}: {error.strerror}.")) from None
    if output is None:
        typer.echo(text, nl=False)
    else:
        print_record(dict(parse(text)), output)
