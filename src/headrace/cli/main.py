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
    faults,
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
    tail,
    up,
)
from headrace.cli.output import fail
from headrace.errors import ProblemError

app = typer.Typer(
    name="headrace",
    help="Azure Monitor's direct log ingestion on your own machine: same wire, same rules, same KQL.",
    epilog="Begin with `headrace up`; in another terminal, `headrace send rows.ndjson` and "
    "`headrace query 'HeadraceSample_CL | take 10'`. `headrace COMMAND --help` tells more.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


_SERVER, _DATA, _RULES, _ACCESS, _OLD = (
    "The server", "Send and ask", "Rules and tables", "Access", "Leave the Data Collector API",
)  # fmt: skip
_COMMANDS = {
    _SERVER: (up, serve, env, settings, doctor),
    _DATA: (send, query, tail),
    _OLD: (shared_key, migrate),
}
_GROUPS = {
    _SERVER: {"fault": faults.group},
    _RULES: {
        "rule": rules.group,
        "table": tables.group,
        "kql": kql.group,
        "dead-letters": dead_letters.group,
    },
    _ACCESS: {"app": apps.group, "role": roles.group, "key": keys.group, "audit": audit.group},
}


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


for panel, modules in _COMMANDS.items():
    for module in modules:
        module.register(app, panel)
for panel, groups in _GROUPS.items():
    for name, group in groups.items():
        app.add_typer(group, name=name, rich_help_panel=panel)


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
