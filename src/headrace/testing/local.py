"""A server for the tests of other projects: started in a process of its own, with what a test asks of it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace import env_file
from headrace.cli.client import RULES_VERSION, TABLES_VERSION, Server
from headrace.cli.documents import read_rule
from headrace.cli.roles import assign_role
from headrace.cli.rules import located
from headrace.errors import ProblemError
from headrace.settings import variable_name
from headrace.testing.faults import Faults
from headrace.testing.rules import in_full
from headrace.transform.expected import difference

if TYPE_CHECKING:
    from azure.identity import ClientSecretCredential

_START_SECONDS = 90.0
_STOP_SECONDS = 60.0
_PUBLISHER = "Monitoring Metrics Publisher"


@dataclass(frozen=True, slots=True)
class LiveRule:
    """A rule that can be sent to: what an ingestion client needs to know of it."""

    name: str
    immutable_id: str
    endpoint: str
    streams: tuple[str, ...]

    @property
    def stream(self) -> str:
        """The rule's only stream. Raises `ValueError` if it has several."""
        (only,) = self.streams
        return only


class LocalServer:
    """A running server. `variables` are those of its env file, by which Azure's clients find it.

    `faults` are those that its calls are to meet.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.variables = dict(variables)
        self._server = Server(self.variables)
        self.faults = Faults(self._server)

    def close(self) -> None:
        """Close the connections; the server is not touched."""
        self._server.close()

    def credential(self) -> ClientSecretCredential:
        """What signs in at this server, for Azure's clients. Needs the package azure-identity."""
        from azure.identity import ClientSecretCredential

        return ClientSecretCredential(
            self.variables["AZURE_TENANT_ID"],
            self.variables["AZURE_CLIENT_ID"],
            self.variables["AZURE_CLIENT_SECRET"],
            authority=self.variables["AZURE_AUTHORITY_HOST"],
            disable_instance_discovery=True,
            connection_verify=self.variables["HEADRACE_CA_FILE"],
        )

    def create_table(self, name: str, columns: Mapping[str, str]) -> None:
        """Make a table with columns by name and type; `TimeGenerated` comes by itself. Raises `ProblemError`."""
        typed = {"TimeGenerated": "datetime", **columns}
        schema = {
            "name": name,
            "columns": [{"name": column, "type": kind} for column, kind in typed.items()],
        }
        path = f"{self._server.workspace_id(None, None)}/tables/{name}"
        self._server.arm("PUT", path, TABLES_VERSION, {"properties": {"schema": schema}})

    def apply_rule(self, rule: Path | Mapping[str, Any], name: str | None = None) -> LiveRule:
        """Make a rule of a document, or of a file's, and let the server's own app send to it.

        The document is what `headrace rule apply` takes; where it has no destinations, they are the sample's workspace.
        It is named by `name`, else by its file.
        Raises `ProblemError` with everything that is wrong with it.
        """
        if isinstance(rule, Mapping):
            document, default = dict(rule), f"rule-{uuid.uuid4()}"
        else:
            document, default = read_rule(rule), rule.stem
        known = name or default
        path = self._server.rule_id(None, known)
        try:
            made = self._server.arm("PUT", path, RULES_VERSION, located(self._server, document))
        except ProblemError as error:
            raise in_full(error) from None
        assign_role(self._server, _PUBLISHER, self.variables["HEADRACE_PRINCIPAL_ID"], path)
        properties = made["properties"]
        streams = dict.fromkeys(stream for flow in properties["dataFlows"] for stream in flow["streams"])
        endpoint = properties.get("endpoints", {}).get("logsIngestion", self.variables["HEADRACE_INGEST_URL"])
        return LiveRule(known, properties["immutableId"], endpoint, tuple(streams))

    def query(self, kql: str) -> list[dict[str, Any]]:
        """The rows of a query in the sample's workspace, by column name. Raises `ProblemError`."""
        return self._server.query(kql)

    def wait_for(self, kql: str, count: int = 1, seconds: float = 30.0) -> list[dict[str, Any]]:
        """The rows of a query once there are `count`: rows can be queried a moment after their upload.

        Raises `AssertionError` after `seconds`, with the rows that there are and what the server says went wrong.
        """
        deadline = time.monotonic() + seconds
        while len(rows := self.query(kql)) < count:
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"{len(rows)} of {count} rows after {seconds:g} s: {kql}\nrows: {rows}\n{self._errors()}"
                )
            time.sleep(0.05)
        return rows

    def expect(self, kql: str, rows: Sequence[Mapping[str, Any]], seconds: float = 30.0) -> None:
        """Wait until a query gives these rows, in its order; only the columns that they name are compared.

        Raises `AssertionError` after `seconds`, with what differs and what the server says went wrong.
        """
        deadline = time.monotonic() + seconds
        while (told := difference(rows, self.query(kql))) is not None:
            if time.monotonic() > deadline:
                raise AssertionError(f"{kql}: {told}\n{self._errors()}")
            time.sleep(0.05)

    def _errors(self) -> str:
        found = self.query("DCRLogErrors | project OperationName, InputStreamId, Message | take 10")
        return (
            f"DCRLogErrors: {found}" if found else "DCRLogErrors has no rows: did the transform filter them?"
        )


@contextlib.contextmanager
def local_server(folder: Path, *arguments: str) -> Iterator[LocalServer]:
    """A server with a temporary data folder for the block; `arguments` go to `headrace up` beside its own.

    Its env file and its log, `headrace.env` and `headrace.log`, are written to `folder`. Raises `RuntimeError` with the
    log when it does not start.
    """
    env, log = folder / "headrace.env", folder / "headrace.log"
    command = [sys.executable, "-m", "headrace", "up", "--ephemeral", "--port", "0", "--quiet"]
    command += ["--env-file", str(env), *arguments]
    env.unlink(missing_ok=True)
    # What this shell has of another server is not meant for this one.
    own = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    own[variable_name("faults.enabled")] = "true"
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=own) as process,
    ):
        try:
            _await(process, env, log)
            server = LocalServer(env_file.parse(env.read_text("utf-8")))
            try:
                yield server
            finally:
                server.close()
        finally:
            _stop(process)


def _await(process: subprocess.Popen[bytes], env: Path, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not env.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"headrace up did not start:\n{log.read_text('utf-8', 'replace')}")
        time.sleep(0.05)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


@contextlib.contextmanager
def variables_set(variables: Mapping[str, str]) -> Iterator[None]:
    """The variables in this process's environment for the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
