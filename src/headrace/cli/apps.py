"""`headrace app`: app registrations, their secrets and certificates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from headrace.cli.client import ARM_SCOPE, EnvFileOption, Server
from headrace.cli.output import OutputForm, OutputOption, print_record, print_rows
from headrace.errors import Problem, ProblemError

group = typer.Typer(help="App registrations: who may ask for tokens.", no_args_is_help=True)

_COLUMNS = ("name", "clientId", "principalId", "enabled")


@group.command("create")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Display name.")],
    certificate: Annotated[
        Path | None,
        typer.Option(metavar="PEM", help="Let it prove itself with this certificate, without a secret."),
    ] = None,
    env_file: EnvFileOption = None,
    output: OutputOption = OutputForm.TABLE,
) -> None:
    """Make an app registration and print its ids, and its secret, which is shown only now."""
    body: dict[str, Any] = {"displayName": name}
    if certificate is not None:
        body["certificate"] = _read_certificate(certificate)
    with Server.find(env_file) as server:
        print_record(_call(server, "POST", "/headrace/apps", body), output)


@group.command("list")
def list_apps(env_file: EnvFileOption = None, output: OutputOption = OutputForm.TABLE) -> None:
    """List the app registrations."""
    with Server.find(env_file) as server:
        found = _call(server, "GET", "/headrace/apps")["value"]
    print_rows(_COLUMNS, [[app.get(column) for column in _COLUMNS] for app in found], output)


@group.command("reset-secret")
def reset_secret(
    client_id: Annotated[str, typer.Argument(metavar="CLIENT_ID", help="Client id of the app.")],
    env_file: EnvFileOption = None,
    output: OutputOption = OutputForm.TABLE,
) -> None:
    """Give an app a new secret; its old ones end at once."""
    with Server.find(env_file) as server:
        print_record(_call(server, "POST", f"/headrace/apps/{client_id}/secrets", {"replace": True}), output)


def _call(server: Server, method: str, path: str, body: Any = None) -> Any:
    answer = server.send(method, f"{server.variable('HEADRACE_ARM_URL')}{path}", ARM_SCOPE, json=body)
    return answer.json()


def _read_certificate(path: Path) -> str:
    try:
        return path.read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ProblemError(Problem("CertificateUnreadable", f"{path}: {error}.")) from None
