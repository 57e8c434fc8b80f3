"""`headrace settings`: every setting with its value and where it came from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from headrace.cli.output import OutputForm, OutputOption, print_rows


def register(app: typer.Typer, panel: str) -> None:
    """Add the command to a panel of the help."""
    app.command("settings", rich_help_panel=panel)(settings)


def settings(
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Settings file. Default: headrace.toml here.")
    ] = None,
    output: OutputOption = OutputForm.TABLE,
) -> None:
    """Print each setting with its value, where the value came from, and what it does.

    The variable of `ingest.max_rows` is HEADRACE_INGEST_MAX_ROWS, and so on.
    """
    # The settings' models are slow to import, and most commands can do without them.
    from headrace.cli.variables import warn_of_unknown_variables
    from headrace.settings import load_settings, variable_name

    warn_of_unknown_variables()
    loaded = load_settings({}, os.environ, config)
    found = [(each, None if each.value is None else str(each.value)) for each in loaded.each()]
    if output is OutputForm.TABLE:
        table = [[each.name, value, each.origin, each.description] for each, value in found]
        print_rows(["setting", "value", "from", "what it does"], table, output)
        return
    rows = [
        [each.name, value, each.origin, variable_name(each.name), each.description] for each, value in found
    ]
    print_rows(["setting", "value", "from", "variable", "description"], rows, output)
