"""Roles with Azure's management client, down to single tables, and what the command line says about them."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from azure.monitor.ingestion import LogsIngestionClient
from azure.monitor.query import LogsQueryClient

from tests.clients.conftest import Azure, headrace
from tests.clients.test_identity import credential
from tests.servers import ServerProcess

pytestmark = pytest.mark.server

READER_ROLE = "acdd72a7-3385-48ef-bd42-f606fba81ae7"


def make_role(azure: Azure, scope: str, *actions: str) -> str:
    guid = str(uuid.uuid4())
    definition: dict[str, Any] = {
        "properties": {
            "roleName": f"Custom {guid}",
            "description": "Made by a test.",
            "type": "CustomRole",
            "permissions": [{"actions": list(actions)}],
            "assignableScopes": [scope],
        }
    }
    made = azure.authorization.role_definitions.create_or_update(scope, guid, definition)
    assert made.role_type == "CustomRole"
    found = azure.authorization.role_definitions.list(scope, filter=f"roleName eq 'Custom {guid}'")
    assert [one.name for one in found] == [guid]
    return guid


def test_a_single_table_may_be_read(azure: Azure, server: ServerProcess) -> None:
    """Azure's way: a custom role lets ask the workspace, a role on the table lets read that one."""
    workspace = azure.workspace("ws-tables")
    azure.table("ws-tables", "Open_CL", {"TimeGenerated": "datetime", "Text": "string"})
    azure.table("ws-tables", "Shut_CL", {"TimeGenerated": "datetime", "Text": "string"})
    app = headrace(server, "app", "create", "table reader")
    asks = make_role(azure, workspace.id, "Microsoft.OperationalInsights/workspaces/query/read")
    azure.grant(workspace.id, app["principalId"], asks)
    azure.grant(f"{workspace.id}/tables/Open_CL", app["principalId"], READER_ROLE)
    other = azure.workspace("ws-unasked")
    azure.table("ws-unasked", "Open_CL", {"TimeGenerated": "datetime", "Text": "string"})
    azure.grant(f"{other.id}/tables/Open_CL", app["principalId"], READER_ROLE)
    token = credential(server.env, app["clientId"], app["clientSecret"])
    with token, LogsQueryClient(token, endpoint=server.env["HEADRACE_QUERY_URL"]) as client:
        assert client.query_workspace(workspace.customer_id, "Open_CL | count", timespan=None).tables[0].rows
        for text in ("Shut_CL | count", "union Open_CL, Shut_CL | count"):
            with pytest.raises(HttpResponseError, match="Shut_CL"):
                client.query_workspace(workspace.customer_id, text, timespan=None)
        with pytest.raises(HttpResponseError, match="Open_CL"):
            text = "workspace('ws-unasked').Open_CL | count"
            client.query_workspace(workspace.customer_id, text, timespan=None)
        found = client.query_workspace(workspace.customer_id, "union * | count", timespan=None)
        assert found.tables[0].rows[0][0] == 0
    for table, allowed in (("Open_CL", True), ("Shut_CL", False)):
        said = headrace(
            server,
            "role",
            "explain",
            "--principal",
            app["clientId"],
            "--action",
            "Microsoft.OperationalInsights/workspaces/tables/query/read",
            "--scope",
            f"{workspace.id}/tables/{table}",
        )
        assert said["allowed"] is allowed
        assert said["principalId"] == app["principalId"]


def test_a_custom_role_with_the_data_action_may_send(azure: Azure, server: ServerProcess) -> None:
    scope = f"/subscriptions/{server.env['AZURE_SUBSCRIPTION_ID']}"
    guid = str(uuid.uuid4())
    permissions = [{"actions": [], "dataActions": ["Microsoft.Insights/Telemetry/*"]}]
    properties = {"roleName": guid, "permissions": permissions, "assignableScopes": [scope]}
    azure.authorization.role_definitions.create_or_update(scope, guid, {"properties": properties})
    app = headrace(server, "app", "create", "custom sender")
    assert not headrace(server, "role", "explain", "--principal", app["clientId"])["allowed"]
    azure.grant(scope, app["principalId"], guid)
    said = headrace(server, "role", "explain", "--principal", app["clientId"])
    assert said["allowed"] and guid in said["reason"]
    token = credential(server.env, app["clientId"], app["clientSecret"])
    with token, LogsIngestionClient(server.env["HEADRACE_INGEST_URL"], token) as client:
        rows = [{"Time": None, "Message": "by a custom role"}]
        client.upload(server.env["HEADRACE_DCR_IMMUTABLE_ID"], server.env["HEADRACE_DCR_STREAM"], rows)
