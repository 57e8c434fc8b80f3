"""`headrace up`: everything, ready to use, in the foreground."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.syntax import Syntax

from headrace.cli.backlog import show_backlog
from headrace.cli.output import console, error_console, examples
from headrace.cli.variables import warn_of_unknown_variables
from headrace.data_folder import Part
from headrace.launch import RunningServer, ephemeral_folder, running_server
from headrace.process import configure_logging, run_event_loop
from headrace.settings import MIB, Settings, load_settings

DataDir = Annotated[
    Path | None, typer.Option(help="Folder of all data. Default: the platform's user data folder.")
]
Host = Annotated[
    str | None, typer.Option(help="Address to listen on. Default: 127.0.0.1, this machine alone.")
]
Port = Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 0 picks a free one. Default: 8443.")]
PublicUrl = Annotated[
    str | None, typer.Option(help="Base address that clients use, if another than we listen on.")
]
HttpAuthority = Annotated[
    int | None,
    typer.Option(
        metavar="PORT", min=0, max=65535, help="Serve the token endpoint alone over plain HTTP on loopback."
    ),
]
ManagedIdentity = Annotated[
    int | None,
    typer.Option(
        metavar="PORT",
        min=0,
        max=65535,
        help="Give apps on this machine tokens as a managed identity, over plain HTTP on loopback.",
    ),
]
Config = Annotated[
    Path | None, typer.Option(help="Settings file. Default: headrace.toml here, if there is one.")
]
EnvFile = Annotated[Path | None, typer.Option(help="Write the env file here too, once the server answers.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log what the processes do.")]


EPHEMERAL = {"journal.segment_bytes": 16 * MIB, "server.processors": "shared"}
"""Defaults of a server that lives for a test: it should not take much disk for the little that it gets, and several of
them share a machine.
"""


def register(app: typer.Typer, panel: str) -> None:
    """Add the command to a panel of the help."""
    ways = examples(
        "up", "up --ephemeral --port 0 --env-file headrace.env", "up --data-dir ./data --port 9443"
    )
    app.command("up", rich_help_panel=panel, epilog=ways)(up)


def up(
    data_dir: DataDir = None,
    host: Host = None,
    port: Port = None,
    public_url: PublicUrl = None,
    ephemeral: Annotated[
        bool, typer.Option("--ephemeral", help="Use a temporary data folder, removed at exit.")
    ] = False,
    env_file: EnvFile = None,
    http_authority: HttpAuthority = None,
    managed_identity: ManagedIdentity = None,
    config: Config = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but problems.")] = False,
    verbose: Verbose = False,
) -> None:
    """Start Headrace with a ready sample: workspace, table, endpoint, rule, app registration with its role.

    It runs until Ctrl-C or SIGTERM. Starting it again finds all data.
    """
    if ephemeral and data_dir is not None:
        raise typer.BadParameter("--ephemeral makes its own data folder: leave out --data-dir.")
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(ephemeral_folder()) if ephemeral else data_dir
        flags = {
            "data_dir": folder,
            "server.host": host,
            "server.port": port,
            "server.public_url": public_url,
            "server.http_authority": http_authority,
            "server.managed_identity": managed_identity,
        }
        warn_of_unknown_variables()
        settings = load_settings(flags, os.environ, config, EPHEMERAL if ephemeral else {}).settings
        configure_logging(verbose, "headrace")
        run_event_loop(run_server(settings, env_file, quiet=quiet, verbose=verbose))


async def run_server(
    settings: Settings, extra_env_file: Path | None, *, quiet: bool, verbose: bool, part: Part | None = None
) -> None:
    """Run a server, or a part of one, until SIGINT or SIGTERM. Raises `ProblemError` when it cannot start."""
    # Only this command needs the server's parts; the others start sooner without them.
    from headrace.app.control import prepare_store

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if settings.server.host not in ("127.0.0.1", "localhost", "::1"):
        _warn_of_wide_bind(settings.server.host)
    start = running_server(
        settings, prepare_store, stop, part=part, extra_env_file=extra_env_file, verbose=verbose
    )
    status = contextlib.nullcontext() if quiet else error_console().status("Starting Headrace")
    with status:
        server = await start.__aenter__()
    try:
        if server is not None and not quiet:
            welcome(server)
            await _until(stop, show_backlog(server.folder.sockets, error_console()))
        await stop.wait()
        if not quiet:
            error_console().print("Stopping: finishing what was accepted.")
    finally:
        await start.__aexit__(None, None, None)


async def _until(stop: asyncio.Event, work: Coroutine[None, None, None]) -> None:
    """Do `work`, but no longer than until `stop`."""
    working, stopped = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
    for task in (working, stopped):
        task.cancel()
    await asyncio.gather(working, stopped, return_exceptions=True)


def _warn_of_wide_bind(host: str) -> None:
    error_console().print(
        f"[bold yellow]warning:[/bold yellow] listening on {escape(host)}: other machines can reach "
        "this server, and the sample's secret is an Owner's. Make an app of your own with few roles for them."
    )


def welcome(server: RunningServer) -> None:
    """Print where the server is and what to paste next."""
    out = console()
    variables = server.variables
    out.print(f"[bold green]Headrace is ready[/bold green] at [bold]{server.base_url}[/bold]")
    out.print(f"[dim]Data is in {escape(str(server.folder.root))}. Ctrl-C stops it.[/dim]\n")
    out.print("[bold]1.[/bold] Point the Azure SDKs at it, in another terminal:\n")
    _code(f"source {server.folder.env_file}", "bash")
    out.print(
        "[bold]2.[/bold] Send a row with Azure's client (pip install azure-identity azure-monitor-ingestion):\n"
    )
    _code(upload_example(), "python")
    out.print("[bold]3.[/bold] Ask for it back:\n")
    _code(f"{_this_command()} query '{variables['HEADRACE_TABLE']} | take 10'", "bash")


def upload_example() -> str:
    """The ten lines that send one row to the sample rule; they use nothing but the env file."""
    return """\
import os
from azure.identity import ClientSecretCredential
from azure.monitor.ingestion import LogsIngestionClient

env = os.environ
credential = ClientSecretCredential(
    env["AZURE_TENANT_ID"], env["AZURE_CLIENT_ID"], env["AZURE_CLIENT_SECRET"],
    authority=env["AZURE_AUTHORITY_HOST"], disable_instance_discovery=True)
client = LogsIngestionClient(env["HEADRACE_INGEST_URL"], credential)
client.upload(env["HEADRACE_DCR_IMMUTABLE_ID"], env["HEADRACE_DCR_STREAM"],
              [{"Time": None, "Computer": "web-1", "Message": "hello"}])
"""


def _this_command() -> str:
    """How this command is called from here: by its name if the shell finds it, else by its path."""
    if shutil.which("headrace"):
        return "headrace"
    path = Path(sys.argv[0])
    if path.name == "__main__.py":
        return f"{sys.executable} -m headrace"
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _code(text: str, language: str) -> None:
    out = console()
    if out.is_terminal:
        out.print(Syntax(text, language, background_color="default", word_wrap=False))
    else:
        out.print(escape(text))
    out.print()
