"""`headrace env`: the variables that point clients at a running server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headrace.cli.output import OutputForm, print_record
from headrace.data_folder import DataFolder
from headrace.env_file import parse
from headrace.errors import Problem, ProblemError
from headrace.settings import default_data_dir


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("env")(env)


def env(
    data_dir: Annotated[Path | None, typer.Option(help="The server's data folder.")] = None,
    output: Annotated[OutputForm | None, typer.Option(help="Another form than lines for a shell.")] = None,
) -> None:
    """Print the env file of a running server: `source <(headrace env)` and the Azure SDKs find it."""
    path = DataFolder(data_dir or default_data_dir()).env_file
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise ProblemError(
            Problem("NotRunning", f"No server runs on {path.parent}.", hint="Start one with `headrace up`.")
        ) from None
    if output is None:
        typer.echo(text, nl=False)
    else:
        print_record(parse(text), output)
