"""`headrace env`: the variables that point clients at a running server, here or elsewhere."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Annotated

import typer

from headrace import env_file
from headrace.cli.client import local_env_file
from headrace.cli.output import OutputForm, print_record
from headrace.errors import Problem, ProblemError


def register(app: typer.Typer, panel: str) -> None:
    """Add the command to a panel of the help."""
    app.command("env", rich_help_panel=panel)(env)


def env(
    data_dir: Annotated[Path | None, typer.Option(metavar="DIR", help="The server's data folder.")] = None,
    url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Base address by which the clients reach the server, if another than its own: a published port, a "
            "service's name.",
        ),
    ] = None,
    certificates: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="For clients that see no file of the server's: the lines first write its certificates into this "
            'folder of theirs. A whole path, such as "$PWD/headrace-tls".',
        ),
    ] = None,
    output: Annotated[
        OutputForm | None, typer.Option("--output", "-o", help="Another form than lines for a shell.")
    ] = None,
) -> None:
    """Print the env file of a running server.

    `eval "$(headrace env)"` in a shell, and the Azure SDKs started from it find the server. From outside its container:
    `eval "$(docker exec NAME headrace env --certificates "$PWD/headrace-tls")"`.
    """
    path = local_env_file(data_dir)
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise ProblemError(
            Problem(
                "NotRunning",
                f"No server runs on {path.parent}.",
                hint="Start one with `headrace up`, or name its folder with --data-dir.",
            )
        ) from None
    except OSError as error:
        raise ProblemError(Problem("EnvFileUnreadable", f"{path}: {error.strerror}.")) from None
    if url is None and certificates is None and output is None:
        typer.echo(text, nl=False)
        return
    variables = env_file.parse(text)
    if url is not None:
        variables = env_file.reached_by(variables, url)
    files: dict[str, str] = {}
    if certificates is not None:
        if output is not None:
            raise typer.BadParameter("--certificates writes files by lines for a shell: leave out --output.")
        variables, files = _moved(variables, certificates)
    if output is None:
        typer.echo(env_file.render_files(files) + env_file.render(variables), nl=False)
    else:
        print_record(variables, output)


def _moved(variables: dict[str, str], folder: str) -> tuple[dict[str, str], dict[str, str]]:
    """The variables with their files in `folder`, and the text of each of these. Raises `ProblemError`."""
    if not PurePosixPath(folder).is_absolute():
        raise typer.BadParameter(f'--certificates is a whole path on the client\'s machine: "$PWD/{folder}".')
    moved, sources = env_file.with_files_in(variables, PurePosixPath(folder))
    try:
        return moved, {target: source.read_text("utf-8") for target, source in sources.items()}
    except OSError as error:
        raise ProblemError(Problem("CertificateUnreadable", f"{error.filename}: {error.strerror}.")) from None
