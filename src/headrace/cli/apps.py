"""`headrace app`: app registrations, their secrets and certificates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from headrace.cli.client import EnvFileOption, Server
from headrace.cli.output import OutputForm, OutputOption, console, examples, print_record, print_rows
from headrace.errors import Problem, ProblemError

group = typer.Typer(help="App registrations: who may ask for tokens.", no_args_is_help=True)

_COLUMNS = ("name", "clientId", "principalId", "enabled")


AppName = Annotated[str, typer.Argument(metavar="APP", help="Name or client id of the app.")]


@group.command(
    "create",
    epilog=examples("app create web", "app create web --output json", "app create web --certificate web.pem"),
)
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
        print_record(server.admin("POST", "apps", body), output)


@group.command("list")
def list_apps(env_file: EnvFileOption = None, output: OutputOption = OutputForm.TABLE) -> None:
    """List the app registrations."""
    with Server.find(env_file) as server:
        found = server.apps()
    print_rows(_COLUMNS, [[app.get(column) for column in _COLUMNS] for app in found], output)


@group.command("reset-secret")
def reset_secret(
    app: AppName,
    env_file: EnvFileOption = None,
    output: OutputOption = OutputForm.TABLE,
) -> None:
    """Give an app a new secret; its old ones end at once."""
    with Server.find(env_file) as server:
        print_record(server.admin("POST", f"apps/{server.client_id(app)}/secrets", {"replace": True}), output)


@group.command("add-secret")
def add_secret(
    app: AppName,
    name: Annotated[str, typer.Option(metavar="NAME", help="What the secret is for.")] = "",
    ends: Annotated[
        str | None, typer.Option(metavar="TIME", help="When it ends, ISO 8601. Default: in two years.")
    ] = None,
    env_file: EnvFileOption = None,
    output: OutputOption = OutputForm.TABLE,
) -> None:
    """Give an app another secret beside its old ones, so that senders can change over one by one."""
    body = {"name": name} | ({} if ends is None else {"ends": ends})
    with Server.find(env_file) as server:
        print_record(server.admin("POST", f"apps/{server.client_id(app)}/secrets", body), output)


@group.command("add-certificate")
def add_certificate(
    app: AppName,
    certificate: Annotated[Path, typer.Argument(metavar="PEM", help="The certificate; its key stays yours.")],
    env_file: EnvFileOption = None,
    output: OutputOption = OutputForm.TABLE,
) -> None:
    """Let an app prove itself with another certificate."""
    body = {"certificate": _read_certificate(certificate)}
    with Server.find(env_file) as server:
        print_record(server.admin("POST", f"apps/{server.client_id(app)}/certificates", body), output)


@group.command("federate")
def federate(
    app: AppName,
    issuer: Annotated[
        str, typer.Option(metavar="URL", help="Issuer of the tokens, exactly as `iss` has it.")
    ],
    subject: Annotated[
        str, typer.Option(metavar="TEXT", help="Subject of the tokens, exactly as `sub` has it.")
    ],
    audience: Annotated[
        str, typer.Option(metavar="TEXT", help="Audience of the tokens.")
    ] = "api://AzureADTokenExchange",
    name: Annotated[str, typer.Option(metavar="NAME", help="Name of the credential.")] = "",
    env_file: EnvFileOption = None,
    output: OutputOption = OutputForm.TABLE,
) -> None:
    """Let the tokens of another issuer stand for an app: workload identity federation, without any secret."""
    body = {"issuer": issuer, "subject": subject, "audiences": [audience], "name": name}
    with Server.find(env_file) as server:
        print_record(server.admin("POST", f"apps/{server.client_id(app)}/federatedCredentials", body), output)


@group.command("credentials")
def credentials(
    app: AppName, env_file: EnvFileOption = None, output: OutputOption = OutputForm.TABLE
) -> None:
    """List how an app may prove itself: secrets (never their text), certificates, federated credentials."""
    with Server.find(env_file) as server:
        found = server.admin("GET", f"apps/{server.client_id(app)}")
    rows = [
        [
            kind,
            one["keyId"],
            one["name"],
            one.get("ends"),
            one.get("hint") or one.get("thumbprint") or one.get("issuer"),
        ]
        for kind, listed in (
            ("secret", found["secrets"]),
            ("certificate", found["certificates"]),
            ("federated", found["federatedCredentials"]),
        )
        for one in listed
    ]
    print_rows(("kind", "keyId", "name", "ends", "hint"), rows, output)


@group.command("remove-credential")
def remove_credential(
    app: AppName,
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="keyId that `app credentials` shows.")],
    env_file: EnvFileOption = None,
) -> None:
    """End a secret, certificate or federated credential of an app at once."""
    with Server.find(env_file) as server:
        server.admin("DELETE", f"apps/{server.client_id(app)}/secrets/{key_id}")
    console().print(f"{escape(app)} can no longer use the credential {escape(key_id)}.")


@group.command("delete")
def delete(app: AppName, env_file: EnvFileOption = None) -> None:
    """Delete an app with its roles; its tokens end at once."""
    with Server.find(env_file) as server:
        server.admin("DELETE", f"apps/{server.client_id(app)}")
    console().print(f"{escape(app)} is deleted, with its roles and tokens.")


def _read_certificate(path: Path) -> str:
    try:
        return path.read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ProblemError(Problem("CertificateUnreadable", f"{path}: {error}.")) from None
