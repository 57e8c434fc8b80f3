"""`headrace serve`: the production start, from settings alone."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Annotated

import typer

from headrace.cli.up import (
    Config,
    DataDir,
    EnvFile,
    Host,
    HttpAuthority,
    ManagedIdentity,
    Port,
    PublicUrl,
    Verbose,
    run_server,
)
from headrace.cli.variables import warn_of_unknown_variables
from headrace.data_folder import Part
from headrace.process import configure_logging, run_event_loop
from headrace.settings import load_settings


class ServerRole(StrEnum):
    """What of a server runs here."""

    ALL = "all"
    GATEWAY = "gateway"
    PIPELINE = "pipeline"
    QUERY = "query"


_PARTS: dict[ServerRole, Part | None] = {
    ServerRole.ALL: None,
    ServerRole.GATEWAY: "gateway",
    ServerRole.PIPELINE: "pipeline",
    ServerRole.QUERY: "query",
}


def register(app: typer.Typer, panel: str) -> None:
    """Add the command to a panel of the help."""
    app.command("serve", rich_help_panel=panel)(serve)


def serve(
    role: Annotated[
        ServerRole,
        typer.Option(
            help="What to run: everything, or one part of a server whose parts share a data folder. The pipeline's has "
            "the control plane with it and is there once, and so is query; of gateways there may be several, each "
            "with a port of its own."
        ),
    ] = ServerRole.ALL,
    config: Config = None,
    data_dir: DataDir = None,
    host: Host = None,
    port: Port = None,
    public_url: PublicUrl = None,
    http_authority: HttpAuthority = None,
    managed_identity: ManagedIdentity = None,
    env_file: EnvFile = None,
    verbose: Verbose = True,
) -> None:
    """Start Headrace from a settings file, HEADRACE_* variables and flags, and log to standard error.

    For a service manager: systemd is told when the server answers (Type=notify). SIGTERM ends it cleanly.
    """
    flags: dict[str, object] = {
        "data_dir": data_dir,
        "server.host": host,
        "server.port": port,
        "server.public_url": public_url,
        "server.http_authority": http_authority,
        "server.managed_identity": managed_identity,
    }
    warn_of_unknown_variables()
    settings = load_settings(flags, os.environ, config).settings
    configure_logging(verbose, "headrace")
    run_event_loop(run_server(settings, env_file, quiet=True, verbose=verbose, part=_PARTS[role]))
