"""Azure's own clients, pointed at a real server by nothing but its env file."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest
from azure.identity import ClientSecretCredential
from azure.mgmt.authorization import AuthorizationManagementClient
from azure.mgmt.loganalytics import LogAnalyticsManagementClient
from azure.mgmt.monitor import MonitorManagementClient
from azure.monitor.ingestion import LogsIngestionClient
from azure.monitor.query import LogsQueryClient, LogsQueryResult

from tests.servers import ServerProcess

T = TypeVar("T")
PUBLISHER_ROLE = "3913510d-42f4-4e42-8a64-420c390055eb"
_WAIT_SECONDS = 30.0


def eventually(look: Callable[[], T], good: Callable[[T], bool]) -> T:
    """What `look` gives once it is good; fails with the last look when that does not come."""
    deadline = time.monotonic() + _WAIT_SECONDS
    while True:
        seen = look()
        if good(seen):
            return seen
        assert time.monotonic() < deadline, f"still not as wanted: {seen!r}"
        time.sleep(0.05)


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
def azure(server: ServerProcess) -> Iterator[Azure]:
    """The clients of the shared server."""
    patch = pytest.MonkeyPatch()
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        patch.setenv(name, server.env[name])
    with connect(server.env) as clients:
        yield clients
    patch.undo()


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
