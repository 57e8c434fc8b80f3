"""How commands talk to a server: like any client, over HTTPS, by the variables of the env file."""

from __future__ import annotations

import os
import re
import ssl
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote, urlsplit

import typer

from headrace import env_file
from headrace.data_folder import DataFolder
from headrace.errors import Problem, ProblemError

if TYPE_CHECKING:
    import httpx

EnvFileOption = Annotated[
    Path | None,
    typer.Option(
        "--env-file",
        metavar="FILE",
        help="Env file of the server. Default: the variables of this shell, else the local server's.",
    ),
]

WorkspaceOption = Annotated[
    str | None, typer.Option("--workspace", "-w", metavar="NAME", help="Default: the sample's.")
]
QueriedOption = Annotated[
    str | None,
    typer.Option("--workspace", "-w", metavar="NAME", help="Workspace id or name. Default: the sample's."),
]
GroupOption = Annotated[
    str | None, typer.Option("--resource-group", "-g", metavar="NAME", help="Default: the sample's.")
]

INGESTION_SCOPE = "https://monitor.azure.com/.default"
ARM_SCOPE = "https://management.azure.com/.default"
QUERY_SCOPE = "https://api.loganalytics.io/.default"

RULES_VERSION = "2023-03-11"
TABLES_VERSION = "2022-10-01"
WORKSPACES_VERSION = "2023-09-01"
_RULES = "providers/Microsoft.Insights/dataCollectionRules"

_ACTION = re.compile(r"perform action '([^']+)' over scope '([^']+)'")
_WHAT_THERE_IS = {
    "/tables/": "`headrace table list` shows the tables; their names are case-sensitive.",
    "/dataCollectionRules/": "`headrace rule list` shows the rules.",
}

_SECONDS = 60.0
# A query may run for ten minutes before the server's answer begins.
_READ_SECONDS = 700.0
# A token is asked for anew so long before it ends.
_TOKEN_SPARE_SECONDS = 60.0


class Server:
    """A server to talk to. Use it in a `with` block."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        # The command's help and completion should not wait for an HTTP client.
        import httpx

        self.variables = variables
        self._transport_error = httpx.TransportError
        timeout = httpx.Timeout(_SECONDS, read=_READ_SECONDS)
        self._http = httpx.Client(verify=_trust(variables), timeout=timeout, trust_env=False)
        self._tokens: dict[str, tuple[str, float]] = {}

    @classmethod
    def find(cls, path: Path | None) -> Server:
        """The server of an env file, of this shell's variables, or the local one. Raises `ProblemError`."""
        if path is not None:
            return cls(_read(path))
        if "HEADRACE_ARM_URL" in os.environ:
            return cls(dict(os.environ))
        local = local_env_file(None)
        if local.exists():
            return cls(_read(local))
        raise ProblemError(
            Problem(
                "NoServer",
                "No server is known.",
                hint="Start one with `headrace up`, or name an env file with --env-file.",
            )
        )

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def variable(self, name: str) -> str:
        """A variable of the env file. Raises `ProblemError` when it is not set."""
        try:
            return self.variables[name]
        except KeyError:
            raise ProblemError(
                Problem(
                    "NoVariable",
                    f"{name} is not set.",
                    hint="Source the env file, or name it with --env-file.",
                )
            ) from None

    @property
    def subscription_id(self) -> str:
        """The subscription's resource id."""
        return f"/subscriptions/{self.variable('AZURE_SUBSCRIPTION_ID')}"

    def group_id(self, name: str | None) -> str:
        """A resource group's resource id; the sample's without a name."""
        return f"{self.subscription_id}/resourceGroups/{name or self.variable('HEADRACE_RESOURCE_GROUP')}"

    def workspace_id(self, group: str | None, name: str | None) -> str:
        """A workspace's resource id; what is not named is the sample's."""
        workspaces = f"{self.group_id(group)}/providers/Microsoft.OperationalInsights/workspaces"
        return f"{workspaces}/{name or self.variable('HEADRACE_WORKSPACE_NAME')}"

    def rule_id(self, group: str | None, name: str) -> str:
        """A data collection rule's resource id, in the sample's group if none is named."""
        return f"{self.group_id(group)}/{_RULES}/{name}"

    def rules(self) -> Iterator[dict[str, Any]]:
        """The documents of all data collection rules of the subscription. Raises `ProblemError`."""
        page = self.arm("GET", f"{self.subscription_id}/{_RULES}", RULES_VERSION)
        while True:
            yield from page["value"]
            if not page.get("nextLink"):
                return
            page = self.send("GET", page["nextLink"], ARM_SCOPE).json()

    def rule(self, immutable_id: str) -> dict[str, Any]:
        """The document of the rule with this immutableId, in any letter case. Raises `ProblemError`."""
        for one in self.rules():
            if one["properties"]["immutableId"] == immutable_id.lower():
                return one
        raise ProblemError(Problem("NoSuchRule", f"There is no rule with the immutableId {immutable_id}."))

    def find_rule(self, group: str | None, name: str) -> dict[str, Any]:
        """The document of the rule with this immutableId or name. Raises `ProblemError`."""
        if name.lower().startswith("dcr-"):
            return self.rule(name)
        found: dict[str, Any] = self.arm("GET", self.rule_id(group, name), RULES_VERSION)
        return found

    def apps(self) -> list[dict[str, str]]:
        """The app registrations. Raises `ProblemError`."""
        found: list[dict[str, str]] = self.admin("GET", "apps")["value"]
        return found

    def client_id(self, app: str) -> str:
        """The client id of the app of that name; a GUID as it is. Raises `ProblemError`."""
        return app if is_guid(app) else named_app(self.apps(), app)["clientId"]

    def admin(self, method: str, path: str, body: Any = None) -> Any:
        """A call of the administration, `path` below `/headrace/`; answers and raises as `arm`."""
        url = f"{self.variable('HEADRACE_ARM_URL')}/headrace/{path}"
        answer = self.send(method, url, ARM_SCOPE, json=body)
        return answer.json() if answer.content else None

    def query(self, kql: str, workspace: str | None = None) -> list[dict[str, Any]]:
        """The rows of a query's first table, by column name. Raises `ProblemError`.

        `workspace` is a name or an id, by default the sample's.
        """
        name = workspace or self.variable("HEADRACE_WORKSPACE_ID")
        url = f"{self.variable('HEADRACE_QUERY_URL')}/workspaces/{quote(name, '')}/query"
        table = self.send("POST", url, QUERY_SCOPE, json={"query": kql}).json()["tables"][0]
        names = [column["name"] for column in table["columns"]]
        return [dict(zip(names, row, strict=True)) for row in table["rows"]]

    def arm(self, method: str, path: str, version: str, body: Any = None, **query: str) -> Any:
        """A management call: the answer's JSON, None where it has none. Raises `ProblemError`."""
        url = f"{self.variable('HEADRACE_ARM_URL')}{path}"
        params = {"api-version": version, **query}
        answer = self.send(method, url, ARM_SCOPE, params=params, json=body)
        return answer.json() if answer.content else None

    def send(self, method: str, url: str, scope: str, **options: Any) -> httpx.Response:
        """A call with a token for `scope`; raises `ProblemError` with the server's own words if it fails."""
        headers = {**options.pop("headers", {}), "Authorization": f"Bearer {self.token(scope)}"}
        answer = self.request(method, url, headers=headers, **options)
        if answer.is_error:
            raise ProblemError(self.with_cure(problem_of(answer)))
        return answer

    def with_cure(self, problem: Problem) -> Problem:
        """The problem with the command that helps, where the server's words name none and one is known."""
        if problem.hint is not None:
            return problem
        hint = None
        missing = _ACTION.search(problem.message) if problem.code == "AuthorizationFailed" else None
        if missing is not None:
            hint = f"Which role allows it: headrace role explain --action {missing[1]} --scope {missing[2]}"
        elif problem.code == "InsufficientAccessError":
            role, client = "'Log Analytics Reader'", self.variable("AZURE_CLIENT_ID")
            workspace = self.workspace_id(None, None)
            hint = (
                f"To read takes a role: headrace role assign {role} --principal {client} --scope {workspace}"
            )
        elif problem.code == "ResourceNotFound":
            hint = next((cure for part, cure in _WHAT_THERE_IS.items() if part in problem.message), None)
        return replace(problem, hint=hint)

    def request(self, method: str, url: str, **options: Any) -> httpx.Response:
        """A call without more ado. Raises `ProblemError` when the server cannot be reached."""
        try:
            return self._http.request(method, url, **options)
        except self._transport_error as error:
            raise ProblemError(_unreachable(urlsplit(url).netloc, str(error))) from None

    def token(self, scope: str) -> str:
        """An access token of the env file's app. Raises `ProblemError` with the reason if it is refused."""
        known = self._tokens.get(scope)
        if known is None or time.monotonic() > known[1]:
            authority, tenant = self.variable("AZURE_AUTHORITY_HOST"), self.variable("AZURE_TENANT_ID")
            form = {
                "grant_type": "client_credentials",
                "client_id": self.variable("AZURE_CLIENT_ID"),
                "client_secret": self.variable("AZURE_CLIENT_SECRET"),
                "scope": scope,
            }
            answer = self.request("POST", f"{authority}/{tenant}/oauth2/v2.0/token", data=form)
            if answer.is_error:
                raise ProblemError(problem_of(answer))
            given = answer.json()
            fresh_until = time.monotonic() + float(given["expires_in"]) - _TOKEN_SPARE_SECONDS
            known = self._tokens[scope] = (str(given["access_token"]), fresh_until)
        return known[0]

    def forget_tokens(self) -> None:
        """Ask for new tokens from now on."""
        self._tokens.clear()


def is_guid(text: str) -> bool:
    """Whether a text has the form of a GUID with dashes."""
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False


def named_app(apps: Sequence[dict[str, str]], name: str) -> dict[str, str]:
    """The one app of that name. Raises `ProblemError` when there is none, or several."""
    found = [app for app in apps if app["name"] == name]
    if len(found) == 1:
        return found[0]
    if found:
        hint = "Give the client id of one: `headrace app list` shows them."
        raise ProblemError(Problem("SeveralApps", f"{len(found)} apps are called '{name}'.", hint=hint))
    known = ", ".join(sorted(app["name"] for app in apps)) or "none that you may see"
    hint = f"Apps: {known}. What has no name here is named by its id."
    raise ProblemError(Problem("NoSuchApp", f"There is no app '{name}'.", hint=hint))


def local_env_file(data_dir: Path | None) -> Path:
    """The env file of the server on a data folder; without one, on that of the settings, by default the user's own."""
    if data_dir is None:
        from headrace.settings import configured_data_dir

        data_dir = configured_data_dir(os.environ)
    return DataFolder(data_dir).env_file


def problem_of(answer: httpx.Response) -> Problem:
    """The problem that an error answer states, in whichever of the documented shapes."""
    try:
        document = answer.json()
    except ValueError:
        document = None
    error = document.get("error") if isinstance(document, dict) else None
    if isinstance(error, dict):
        return _nested(error)
    if isinstance(document, dict) and "error_description" in document:
        return Problem(str(error), str(document["error_description"]).splitlines()[0])
    return Problem("HttpError", f"The server answered {answer.status_code}.")


def _nested(error: Mapping[str, Any]) -> Problem:
    details = tuple(_nested(detail) for detail in error.get("details") or () if isinstance(detail, dict))
    target = error.get("target")
    return Problem(str(error.get("code")), str(error.get("message")), target=target, details=details)


def _unreachable(host: str, reason: str) -> Problem:
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        hint = "Does the env file belong to this server? Source it again, or name it with --env-file."
        return Problem(
            "Untrusted", f"{host} has a certificate that HEADRACE_CA_FILE does not vouch for.", hint=hint
        )
    return Problem(
        "Unreachable", f"{host} cannot be reached: {reason.rstrip('.')}.", hint="Is the server running?"
    )


def _read(path: Path) -> dict[str, str]:
    try:
        return env_file.parse(path.read_text("utf-8"))
    except ProblemError as error:
        # It says the line, and whoever has several env files wants to know of which.
        form = "An env file is what `headrace env` prints."
        raise ProblemError(
            [replace(one, message=f"{path}: {one.message}", hint=one.hint or form) for one in error.problems]
        ) from None
    except OSError as error:
        hint = "The server writes it once it answers." if isinstance(error, FileNotFoundError) else None
        raise ProblemError(Problem("EnvFileUnreadable", f"{path}: {error.strerror}.", hint=hint)) from None
    except UnicodeDecodeError:
        raise ProblemError(Problem("EnvFileUnreadable", f"{path} is not a text file.")) from None


def _trust(variables: Mapping[str, str]) -> ssl.SSLContext:
    context = _authorities(variables)
    certificate = variables.get("HEADRACE_CLIENT_CERTIFICATE")
    if certificate:
        try:
            context.load_cert_chain(certificate, variables.get("HEADRACE_CLIENT_KEY"))
        except OSError as error:
            name = "HEADRACE_CLIENT_CERTIFICATE"
            raise ProblemError(
                Problem("CertificateUnreadable", f"{name} ({certificate}): {error}.")
            ) from None
    return context


def _no_ca(name: str, path: str, error: OSError) -> Problem:
    if not isinstance(error, FileNotFoundError):
        return Problem("CaUnreadable", f"{name} ({path}): {error.strerror or error}.")
    message = f"{name} names {path}, which is not there: the server of this env file is gone, or on another machine."
    hint = "Source the env file of a running server, or name it with --env-file."
    return Problem("CaUnreadable", message, hint=hint)


def _authorities(variables: Mapping[str, str]) -> ssl.SSLContext:
    for name in ("HEADRACE_CA_FILE", "SSL_CERT_FILE"):
        if variables.get(name):
            try:
                return ssl.create_default_context(cafile=variables[name])
            except OSError as error:
                raise ProblemError(_no_ca(name, variables[name], error)) from None
    return ssl.create_default_context()
