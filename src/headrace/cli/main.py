"""The `headrace` command: its groups, and the one place where a failure becomes a line and an exit code."""

from __future__ import annotations

import os
import sys

import typer

from headrace import __version__
from headrace.cli import (
    apps,
    audit,
    dead_letters,
    doctor,
    env,
    keys,
    kql,
    migrate,
    query,
    roles,
    rules,
    send,
    serve,
    settings,
    shared_key,
    tables,
    up,
)
from headrace.cli.output import fail
from headrace.errors import ProblemError

app = typer.Typer(
    name="headrace",
    help="Azure Monitor's direct log ingestion on your own machine: same wire, same rules, same KQL.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"headrace {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Azure Monitor's direct log ingestion on your own machine: same wire, same rules, same KQL."""


for module in (up, serve, send, query, shared_key, migrate, env, settings, doctor):
    module.register(app)
app.add_typer(apps.group, name="app")
app.add_typer(roles.group, name="role")
app.add_typer(keys.group, name="key")
app.add_typer(audit.group, name="audit")
app.add_typer(rules.group, name="rule")
app.add_typer(tables.group, name="table")
app.add_typer(kql.group, name="kql")
app.add_typer(dead_letters.group, name="dead-letters")


def main() -> int:
    """Run the command. Exit codes: 0 done, 1 a failure with one clear line on stderr, 2 wrong usage."""
    try:
        app(prog_name="headrace")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except ProblemError as error:
        for problem in error.problems:
            fail(problem)
        return 1
    except BrokenPipeError:
        # Whoever read our output (`head`, `less`) has seen enough. Nothing may be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return 0
