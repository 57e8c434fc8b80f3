"""Lines of docs/reference/differences.md that no other test holds, and that every line names a test."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from tests.docs.held_lines import ROOT, check_lines
from tests.servers import ServerProcess

from headrace.cli.client import ARM_SCOPE, QUERY_SCOPE, Server
from headrace.kql.api import KqlError, compile_transform
from headrace.kql.types import KustoType, Schema, SchemaColumn
from headrace.settings import MIB, load_settings


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Server]:
    with Server(server.env) as connected:
        yield connected


def ask(client: Server, kql: str) -> list[list[Any]]:
    url = (
        f"{client.variable('HEADRACE_QUERY_URL')}/workspaces/{client.variable('HEADRACE_WORKSPACE_ID')}/query"
    )
    rows: list[list[Any]] = client.send("POST", url, QUERY_SCOPE, json={"query": kql}).json()["tables"][0][
        "rows"
    ]
    return rows


def send(client: Server, rows: str) -> None:
    rule, stream = client.variable("HEADRACE_DCR_IMMUTABLE_ID"), client.variable("HEADRACE_DCR_STREAM")
    client.send(
        "POST",
        f"{client.variable('HEADRACE_INGEST_URL')}/dataCollectionRules/{rule}/streams/{stream}?api-version=2023-01-01",
        "https://monitor.azure.com/.default",
        content=rows.encode(),
        headers={"Content-Type": "application/json"},
    )


def test_every_line_names_a_test_that_exists() -> None:
    check_lines(ROOT / "docs" / "reference" / "differences.md", 30)


def test_limits_by_default_and_by_profile() -> None:
    default = load_settings({}, {}).settings
    assert (default.ingest.max_wire_bytes, default.ingest.max_inflated_bytes) == (4 * MIB, 8 * MIB)
    assert default.transform.max_field_bytes == 64 * 1024
    assert default.ingest.rule_bytes_per_minute is None and default.ingest.rule_requests_per_minute is None
    assert (default.query.concurrency, default.query.queue) == (5, 200)
    azure = load_settings({"profile": "azure"}, {}).settings.ingest
    assert (azure.max_wire_bytes, azure.max_inflated_bytes) == (MIB, 50 * MIB)
    assert (azure.rule_bytes_per_minute, azure.rule_requests_per_minute) == (2_000_000_000, 12_000)


SOURCE = Schema((SchemaColumn("Time", KustoType.DATETIME), SchemaColumn("Text", KustoType.STRING)))


def test_kql_beyond_the_list() -> None:
    text = "source | project-keep Text | extend Short = trim(' ', Text)"
    warned = " ".join(warning.message for warning in compile_transform(text, SOURCE).warnings)
    assert "`project-keep`" in warned and "`trim`" in warned
    with pytest.raises(KqlError) as raised:
        compile_transform(text, SOURCE, functions="documented")
    assert len(raised.value.problems) == 2


@pytest.mark.server
def test_the_text_of_numbers_in_dynamic_values(client: Server) -> None:
    name = uuid.uuid4().hex
    send(
        client,
        f'[{{"Computer":"{name}","Message":"m","Properties":'
        '{"a":1.10,"b":1e3,"c":-0,"d":12345678901234567890,"e":1.0,"twice":1,"twice":2}}]',
    )
    query = f"{client.variable('HEADRACE_TABLE')} | where Computer == '{name}' | project Properties"
    deadline = time.monotonic() + 30
    while not (rows := ask(client, query)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert rows[0][0] == '{"a":1.1,"b":1000.0,"c":0,"d":12345678901234567890,"e":1.0,"twice":1,"twice":2}'


@pytest.mark.server
def test_geo_location_without_a_database(client: Server) -> None:
    """A rule with it is taken, and every part of its answer is null."""
    name = uuid.uuid4().hex
    base = f"/subscriptions/{client.variable('AZURE_SUBSCRIPTION_ID')}/resourceGroups"
    base += f"/{client.variable('HEADRACE_RESOURCE_GROUP')}/providers"
    workspace = (
        f"{base}/Microsoft.OperationalInsights/workspaces/{client.variable('HEADRACE_WORKSPACE_NAME')}"
    )
    schema = {
        "name": "Geo_CL",
        "columns": [
            {"name": "TimeGenerated", "type": "datetime"},
            {"name": "Name", "type": "string"},
            {"name": "Place", "type": "dynamic"},
        ],
    }
    client.arm("PUT", f"{workspace}/tables/Geo_CL", "2022-10-01", {"properties": {"schema": schema}})
    properties = {
        "streamDeclarations": {"Custom-Geo": {"columns": [{"name": "Name", "type": "string"}]}},
        "destinations": {"logAnalytics": [{"workspaceResourceId": workspace, "name": "la"}]},
        "dataFlows": [
            {
                "streams": ["Custom-Geo"],
                "destinations": ["la"],
                "outputStream": "Custom-Geo_CL",
                "transformKql": "source | project TimeGenerated = now(), Name, Place = geo_location('8.8.8.8')",
            }
        ],
    }
    document = {"location": client.variable("HEADRACE_LOCATION"), "properties": properties}
    rule = client.arm("PUT", f"{base}/Microsoft.Insights/dataCollectionRules/geo", "2023-03-11", document)
    role = "3913510d-42f4-4e42-8a64-420c390055eb"
    assignment = f"{rule['id']}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
    definition = f"/subscriptions/{client.variable('AZURE_SUBSCRIPTION_ID')}/providers"
    definition += f"/Microsoft.Authorization/roleDefinitions/{role}"
    grant = {"roleDefinitionId": definition, "principalId": client.variable("HEADRACE_PRINCIPAL_ID")}
    client.arm("PUT", assignment, "2022-04-01", {"properties": grant | {"principalType": "ServicePrincipal"}})
    client.send(
        "POST",
        f"{client.variable('HEADRACE_INGEST_URL')}/dataCollectionRules/{rule['properties']['immutableId']}"
        "/streams/Custom-Geo?api-version=2023-01-01",
        "https://monitor.azure.com/.default",
        json=[{"Name": name}],
    )
    query = f"Geo_CL | where Name == '{name}' | project Place"
    deadline = time.monotonic() + 30
    while not (rows := ask(client, query)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert set(json.loads(rows[0][0]).values()) == {None}


@pytest.mark.server
def test_no_put_has_to_be_polled(client: Server) -> None:
    base = f"/subscriptions/{client.variable('AZURE_SUBSCRIPTION_ID')}/resourceGroups"
    base += (
        f"/{client.variable('HEADRACE_RESOURCE_GROUP')}/providers/Microsoft.OperationalInsights/workspaces"
    )
    url = f"{client.variable('HEADRACE_ARM_URL')}{base}/polled?api-version=2022-10-01"
    body = {"location": client.variable("HEADRACE_LOCATION"), "properties": {}}
    answers = [client.send("PUT", url, ARM_SCOPE, json=body) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 200]
    assert answers[0].json()["properties"]["provisioningState"] == "Succeeded"
    assert not {"azure-asyncoperation", "location"} & set(answers[0].headers)


@pytest.mark.server
def test_network_access_is_only_kept(client: Server) -> None:
    path = f"/subscriptions/{client.variable('AZURE_SUBSCRIPTION_ID')}/resourceGroups"
    path += f"/{client.variable('HEADRACE_RESOURCE_GROUP')}/providers/Microsoft.Insights"
    acls = {"publicNetworkAccess": "Disabled"}
    document = {"location": client.variable("HEADRACE_LOCATION"), "properties": {"networkAcls": acls}}
    made = client.arm("PUT", f"{path}/dataCollectionEndpoints/closed", "2023-03-11", document)["properties"]
    assert made["networkAcls"] == acls
    assert made["logsIngestion"]["endpoint"] == client.variable("HEADRACE_INGEST_URL")
    send(client, '[{"Computer":"x","Message":"not kept out"}]')


@pytest.mark.server
def test_users_get_no_tokens(client: Server) -> None:
    url = f"{client.variable('AZURE_AUTHORITY_HOST')}/{client.variable('AZURE_TENANT_ID')}/oauth2/v2.0/token"
    form = {"client_id": client.variable("AZURE_CLIENT_ID"), "scope": "https://monitor.azure.com/.default"}
    user = {"grant_type": "password", "username": "someone", "password": "x"}
    answer = client.request("POST", url, data=form | user)
    assert (answer.status_code, answer.json()["error"]) == (400, "unsupported_grant_type")


@pytest.mark.server
def test_a_table_without_data_is_an_empty_answer(client: Server) -> None:
    assert ask(client, "Syslog | where Computer == 'none'") == []
