"""`headrace fault`: faults that a test of an ingestion client asks a server for."""

from __future__ import annotations

from typing import Annotated

import typer

from headrace.cli.client import EnvFileOption, Server
from headrace.cli.output import OutputForm, OutputOption, print_rows
from headrace.testing.faults import Faults

group = typer.Typer(
    help="Faults on purpose, to see that an ingestion client copes: of a server started with "
    "HEADRACE_FAULTS_ENABLED=true.",
    no_args_is_help=True,
)

Times = Annotated[int, typer.Option(min=1, help="How many calls meet it. Default: 1.", show_default=False)]
Always = Annotated[bool, typer.Option("--always", help="All calls meet it until it is cleared.")]
After = Annotated[bool, typer.Option("--after", help="Keep the call first: only its answer is at fault.")]

_COLUMNS = ("id", "fault", "status", "retryAfter", "seconds", "after", "times", "hits")


@group.command("answer")
def answer(
    status: Annotated[
        int, typer.Argument(help="401, 403, 404, 408, 413, 429, 500, 502, 503 or 504.", show_default=False)
    ],
    retry_after: Annotated[
        int | None, typer.Option(help="Seconds that 429 and 503 ask for. Default: 1.", show_default=False)
    ] = None,
    times: Times = 1,
    always: Always = False,
    after: After = False,
    env_file: EnvFileOption = None,
) -> None:
    """Answer the next calls with an error. Prints the fault's id."""
    with Server.find(env_file) as server:
        count = None if always else times
        typer.echo(Faults(server).answer(status, times=count, retry_after=retry_after, after=after).id)


@group.command("delay")
def delay(
    seconds: Annotated[float, typer.Argument(help="How long a call waits.", show_default=False)],
    times: Times = 1,
    always: Always = False,
    after: After = False,
    env_file: EnvFileOption = None,
) -> None:
    """Let the next calls wait. Prints the fault's id."""
    with Server.find(env_file) as server:
        typer.echo(Faults(server).delay(seconds, times=None if always else times, after=after).id)


@group.command("cut")
def cut(
    times: Times = 1, always: Always = False, after: After = False, env_file: EnvFileOption = None
) -> None:
    """Reset the connections of the next calls. Prints the fault's id."""
    with Server.find(env_file) as server:
        typer.echo(Faults(server).cut(times=None if always else times, after=after).id)


@group.command("list")
def list_faults(env_file: EnvFileOption = None, output: OutputOption = OutputForm.TABLE) -> None:
    """List the faults, oldest first, and how many calls have met them."""
    with Server.find(env_file) as server:
        rows = [[one.get(column) for column in _COLUMNS] for one in Faults(server).armed()]
    print_rows(_COLUMNS, rows, output)


@group.command("clear")
def clear(
    fault: Annotated[
        str | None, typer.Argument(help="Id of a fault. Default: all.", show_default=False)
    ] = None,
    env_file: EnvFileOption = None,
) -> None:
    """Let no further call meet any fault, or the one of that id."""
    with Server.find(env_file) as server:
        Faults(server).clear(fault)
