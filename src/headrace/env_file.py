"""The env file: what a user pastes to point real clients at this server."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from headrace.disk import RealDisk, replace_durably
from headrace.errors import Problem, ProblemError

OWN_NAMES = frozenset(
    {
        "HEADRACE_PRINCIPAL_ID",
        "HEADRACE_CA_FILE",
        "HEADRACE_ARM_URL",
        "HEADRACE_INGEST_URL",
        "HEADRACE_QUERY_URL",
        "HEADRACE_KUSTO_URL",
        "HEADRACE_PORTAL_URL",
        "HEADRACE_RESOURCE_GROUP",
        "HEADRACE_LOCATION",
        "HEADRACE_WORKSPACE_NAME",
        "HEADRACE_WORKSPACE_ID",
        "HEADRACE_DCR_IMMUTABLE_ID",
        "HEADRACE_DCR_STREAM",
        "HEADRACE_TABLE",
        "HEADRACE_AUTHORITY_HTTP_URL",
        "HEADRACE_MANAGED_IDENTITY_URL",
        "HEADRACE_CLIENT_CERTIFICATE",
        "HEADRACE_CLIENT_KEY",
    }
)
"""The variables of the env file that are Headrace's own, whichever of them a server has."""

_FILES = {
    "HEADRACE_CA_FILE": "ca.pem",
    "NODE_EXTRA_CA_CERTS": "ca.pem",
    "SSL_CERT_FILE": "bundle.pem",
    "REQUESTS_CA_BUNDLE": "bundle.pem",
    "HEADRACE_CLIENT_CERTIFICATE": "client.pem",
    "HEADRACE_CLIENT_KEY": "client.key",
}
"""The variables that name files, and what these are called where they are copied to."""


_PEM = re.compile(r"^-----BEGIN [A-Z ]+-----$[A-Za-z0-9+/=\s]+^-----END [A-Z ]+-----$", re.MULTILINE)
_END = "END_OF_FILE"


@dataclass(frozen=True, slots=True)
class Sample:
    """The ready-made resources and the first app registration. The secret lives here alone."""

    tenant_id: str
    client_id: str
    client_secret: str
    principal_id: str
    subscription_id: str
    resource_group: str
    location: str
    workspace_name: str
    workspace_id: str
    dcr_immutable_id: str
    dcr_stream: str
    table: str


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How this server is reached."""

    base: str
    ca: Path
    bundle: Path
    http_authority: str | None = None
    managed_identity: str | None = None
    managed_identity_header: str = ""
    client_certificate: Path | None = None
    client_key: Path | None = None


def environment(sample: Sample, endpoint: Endpoint) -> dict[str, str]:
    """The variables of the env file, in the order of the contract."""
    variables = {
        "AZURE_TENANT_ID": sample.tenant_id,
        "AZURE_CLIENT_ID": sample.client_id,
        "AZURE_CLIENT_SECRET": sample.client_secret,
        "HEADRACE_PRINCIPAL_ID": sample.principal_id,
        "AZURE_AUTHORITY_HOST": endpoint.base,
        "AZURE_SUBSCRIPTION_ID": sample.subscription_id,
        "SSL_CERT_FILE": str(endpoint.bundle),
        "REQUESTS_CA_BUNDLE": str(endpoint.bundle),
        "NODE_EXTRA_CA_CERTS": str(endpoint.ca),
        "HEADRACE_CA_FILE": str(endpoint.ca),
        "HEADRACE_ARM_URL": endpoint.base,
        "HEADRACE_INGEST_URL": endpoint.base,
        "HEADRACE_QUERY_URL": f"{endpoint.base}/v1",
        "HEADRACE_KUSTO_URL": endpoint.base,
        "HEADRACE_PORTAL_URL": endpoint.base,
        "HEADRACE_RESOURCE_GROUP": sample.resource_group,
        "HEADRACE_LOCATION": sample.location,
        "HEADRACE_WORKSPACE_NAME": sample.workspace_name,
        "HEADRACE_WORKSPACE_ID": sample.workspace_id,
        "HEADRACE_DCR_IMMUTABLE_ID": sample.dcr_immutable_id,
        "HEADRACE_DCR_STREAM": sample.dcr_stream,
        "HEADRACE_TABLE": sample.table,
    }
    if endpoint.http_authority is not None:
        variables["HEADRACE_AUTHORITY_HTTP_URL"] = endpoint.http_authority
    if endpoint.managed_identity is not None:
        variables["HEADRACE_MANAGED_IDENTITY_URL"] = endpoint.managed_identity
        variables["IDENTITY_ENDPOINT"] = f"{endpoint.managed_identity}/msi/token"
        variables["IDENTITY_HEADER"] = endpoint.managed_identity_header
    if endpoint.client_certificate is not None:
        variables["HEADRACE_CLIENT_CERTIFICATE"] = str(endpoint.client_certificate)
        variables["HEADRACE_CLIENT_KEY"] = str(endpoint.client_key)
    return variables


def render(variables: Mapping[str, str]) -> str:
    """The env file's text: `export NAME=value` lines that any POSIX shell reads."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())


def reached_by(variables: Mapping[str, str], url: str) -> dict[str, str]:
    """The variables for clients that reach the server by another base address. Raises `ProblemError` if it is none."""
    base, new = variables["HEADRACE_ARM_URL"], url.rstrip("/")
    try:
        parts = urlsplit(new)
        origin = f"{parts.scheme}://{parts.netloc}"
        good = parts.scheme == "https" and bool(parts.hostname) and parts.port != 0 and origin == new
    except ValueError:
        good = False
    if not good:
        hint = "It has the form https://HOST or https://HOST:PORT."
        raise ProblemError(Problem("InvalidAddress", f"--url: {url} is no base address.", hint=hint))
    return {
        name: new + value.removeprefix(base) if value == base or value.startswith(f"{base}/") else value
        for name, value in variables.items()
    }


def with_files_in(
    variables: Mapping[str, str], folder: PurePosixPath
) -> tuple[dict[str, str], dict[str, Path]]:
    """The variables with their files in another folder, and of which file each there is a copy."""
    moved, sources = dict(variables), {}
    for name, file in _FILES.items():
        if name in variables:
            moved[name] = str(folder / file)
            sources[moved[name]] = Path(variables[name])
    return moved, sources


def render_files(files: Mapping[str, str]) -> str:
    """Lines for a POSIX shell that write PEM files, by their whole paths, for their owner alone.

    What stands between a file's certificates and keys, often their names, is left out: not every shell keeps it whole.
    """
    return "".join(_writing(path, _PEM.findall(text)) for path, text in files.items())


def _writing(path: str, blocks: Sequence[str]) -> str:
    folder = shlex.quote(str(PurePosixPath(path).parent))
    lines = "\n".join(blocks)
    return f"(umask 077; mkdir -p {folder} && cat > {shlex.quote(path)}) <<'{_END}'\n{lines}\n{_END}\n"


def parse(text: str) -> dict[str, str]:
    """The variables of an env file's text. Raises `ProblemError` with the line that is not understood."""
    variables: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            words = [line, ""]
        if not words:
            continue
        if words[0] == "export":
            words = words[1:]
        name, equals, value = words[0].partition("=") if len(words) == 1 else ("", "", "")
        if not equals:
            raise ProblemError(Problem("EnvFileUnreadable", f"Line {number} is not `export NAME=value`."))
        variables[name] = value
    return variables


def write(path: Path, variables: Mapping[str, str]) -> None:
    """Replace the env file; only its owner can read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_durably(RealDisk(), path, render(variables).encode(), "env_file", 0o600)
