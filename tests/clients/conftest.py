"""Azure's own clients, pointed at a real server by nothing but its env file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.identity import ClientSecretCredential
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.loganalytics import LogAnalyticsManagementClient
from azure.mgmt.monitor import MonitorManagementClient
from azure.monitor.ingestion import LogsIngestionClient
from azure.monitor.query import LogsQueryClient, LogsQueryResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from tests.server.kit import PUBLISHER_ROLE
from tests.servers import ServerProcess


def headrace(server: ServerProcess, *arguments: str) -> Any:
    """A command that prints JSON, with the env file's variables."""
    done = subprocess.run(
        [sys.executable, "-m", "headrace", *arguments, "--output", "json"],
        env=server.env,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@dataclass
class Azure:
    """The clients of one server, all made as Azure's documentation makes them."""

    env: dict[str, str]
    credential: ClientSecretCredential
    monitor: MonitorManagementClient
    log_analytics: LogAnalyticsManagementClient
    authorization: AuthorizationManagementClient
    ingestion: LogsIngestionClient
    query_client: LogsQueryClient

    @property
    def group(self) -> str:
        return self.env["HEADRACE_RESOURCE_GROUP"]

    @property
    def location(self) -> str:
        return self.env["HEADRACE_LOCATION"]

    def workspace(self, name: str) -> Any:
        poller = self.log_analytics.workspaces.begin_create_or_update(
            self.group, name, {"location": self.location, "properties": {"sku": {"name": "PerGB2018"}}}
        )
        return poller.result()

    def table(self, workspace: str, name: str, columns: dict[str, str]) -> Any:
        schema = {"name": name, "columns": [{"name": n, "type": t} for n, t in columns.items()]}
        poller = self.log_analytics.tables.begin_create_or_update(
            self.group, workspace, name, {"properties": {"schema": schema}}
        )
        return poller.result()

    def endpoint(self, name: str) -> Any:
        body = {"location": self.location, "properties": {"networkAcls": {"publicNetworkAccess": "Enabled"}}}
        return self.monitor.data_collection_endpoints.create(self.group, name, body)

    def rule(self, name: str, properties: dict[str, Any], kind: str | None = None) -> Any:
        body: dict[str, Any] = {"location": self.location, "properties": properties}
        if kind:
            body["kind"] = kind
        return self.monitor.data_collection_rules.create(self.group, name, body)

    def source(
        self, name: str, declared: dict[str, str], columns: dict[str, str], transform: str
    ) -> tuple[Any, Any]:
        """A workspace with the table `Rows_CL`, and the rule that takes the stream `Custom-Rows` into it."""
        workspace = self.workspace(name)
        self.table(name, "Rows_CL", columns)
        flow = {
            "streams": ["Custom-Rows"],
            "destinations": ["there"],
            "transformKql": transform,
            "outputStream": "Custom-Rows_CL",
        }
        listed = [{"name": column, "type": kind} for column, kind in declared.items()]
        rule = self.rule(
            name,
            {
                "streamDeclarations": {"Custom-Rows": {"columns": listed}},
                "destinations": {"logAnalytics": [{"workspaceResourceId": workspace.id, "name": "there"}]},
                "dataFlows": [flow],
            },
        )
        self.grant(rule.id)
        return workspace, rule

    def grant(self, scope: str, principal: str | None = None, role: str = PUBLISHER_ROLE) -> Any:
        subscription = self.env["AZURE_SUBSCRIPTION_ID"]
        definition = f"/subscriptions/{subscription}/providers/Microsoft.Authorization/roleDefinitions/{role}"
        body = {
            "properties": {
                "roleDefinitionId": definition,
                "principalId": principal or self.env["HEADRACE_PRINCIPAL_ID"],
                "principalType": "ServicePrincipal",
            }
        }
        return self.authorization.role_assignments.create(scope, str(uuid.uuid4()), body)

    def rows(self, workspace_id: str, text: str, timespan: Any = None) -> list[dict[str, Any]]:
        result = self.query_client.query_workspace(workspace_id, text, timespan=timespan)
        assert isinstance(result, LogsQueryResult), result
        table = result.tables[0]
        return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate: the file with its key, as the SDK takes it, and the certificate alone."""
    folder = tmp_path_factory.mktemp("certificate")
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sender")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=2))
        .sign(key, hashes.SHA256())
    )
    alone, both = folder / "certificate.pem", folder / "key-and-certificate.pem"
    alone.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    both.write_bytes(private + alone.read_bytes())
    return both, alone


@pytest.fixture(scope="session")
def azure(server: ServerProcess) -> Iterator[Azure]:
    """The clients of the shared server."""
    yield from clients_of(server)


def clients_of(server: ServerProcess) -> Iterator[Azure]:
    """The clients of a server, which trust its CA while they are open."""
    patch = pytest.MonkeyPatch()
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        patch.setenv(name, server.env[name])
    with connect(server.env) as clients:
        yield clients
    patch.undo()


@contextmanager
def running(command: list[str], folder: Path, variables: dict[str, str]) -> Iterator[Path]:
    """A log shipper at work in a folder; where its own log is. It is killed at the end."""
    log = folder / "shipper.log"
    with log.open("wb") as written:
        process = subprocess.Popen(
            command, env=os.environ | variables, cwd=folder, stdout=written, stderr=written
        )
    try:
        yield log
    finally:
        process.kill()
        process.wait()


class connect:
    """Opens the clients for the variables of an env file and closes them again."""

    def __init__(self, env: dict[str, str]) -> None:
        self._env = env

    def __enter__(self) -> Azure:
        env = self._env
        credential = ClientSecretCredential(
            env["AZURE_TENANT_ID"],
            env["AZURE_CLIENT_ID"],
            env["AZURE_CLIENT_SECRET"],
            authority=env["AZURE_AUTHORITY_HOST"],
            disable_instance_discovery=True,
        )
        arm = env["HEADRACE_ARM_URL"]
        options: dict[str, Any] = {"base_url": arm, "credential_scopes": [f"{arm}/.default"]}
        subscription = env["AZURE_SUBSCRIPTION_ID"]
        self._azure = Azure(
            env,
            credential,
            MonitorManagementClient(credential, subscription, **options),
            LogAnalyticsManagementClient(credential, subscription, **options),
            AuthorizationManagementClient(credential, subscription, **options),
            LogsIngestionClient(env["HEADRACE_INGEST_URL"], credential),
            LogsQueryClient(credential, endpoint=env["HEADRACE_QUERY_URL"]),
        )
        return self._azure

    def __exit__(self, *_: object) -> None:
        azure = self._azure
        for client in (
            azure.monitor,
            azure.log_analytics,
            azure.authorization,
            azure.ingestion,
            azure.query_client,
        ):
            client.close()
        azure.credential.close()
