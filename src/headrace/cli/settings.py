"""`headrace settings`: every setting with its value and where it came from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from headrace.cli.output import OutputForm, print_rows
from headrace.settings import load_settings, variable_name


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("settings")(settings)


def settings(
    config: Annotated[Path | None, typer.Option(help="Settings file; default: headrace.toml here.")] = None,
    output: Annotated[OutputForm, typer.Option(help="Form of the output.")] = OutputForm.TABLE,
) -> None:
    """Print each setting with its value, where the value came from, and what it does."""
    loaded = load_settings({}, os.environ, config)
    rows = [
        [
            each.name,
            None if each.value is None else str(each.value),
            each.origin,
            variable_name(each.name),
            each.description,
        ]
        for each in loaded.each()
    ]
    print_rows(["setting", "value", "from", "variable", "what it does"], rows, output)
