"""`headrace serve`: the production start, from settings alone."""

from __future__ import annotations

import os

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
from headrace.process import configure_logging, run_event_loop
from headrace.settings import load_settings


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve")(serve)


def serve(
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
    """Start Headrace from a settings file, HEADRACE_* variables and flags, and log to standard error."""
    flags: dict[str, object] = {
        "data_dir": data_dir,
        "server.host": host,
        "server.port": port,
        "server.public_url": public_url,
        "server.http_authority": http_authority,
        "server.managed_identity": managed_identity,
    }
    settings = load_settings(flags, os.environ, config).settings
    configure_logging(verbose, "headrace")
    run_event_loop(run_server(settings, env_file, quiet=True, verbose=verbose))
