"""Workspaces and what is around them, with azure-mgmt-loganalytics."""

from __future__ import annotations

import pytest

from tests.clients.conftest import Azure

pytestmark = [pytest.mark.server]


def test_a_deleted_workspace_is_recovered_or_gone_for_good(azure: Azure) -> None:
    client = azure.log_analytics
    at = (azure.group, "sdk-recovered")
    body = {"location": azure.location, "properties": {"retentionInDays": 60}}
    made = client.workspaces.begin_create_or_update(*at, body).result()
    columns = [{"name": "TimeGenerated", "type": "datetime"}]
    table = {"properties": {"schema": {"name": "Kept_CL", "columns": columns}}}
    client.tables.begin_create_or_update(*at, "Kept_CL", table).result()
    client.workspaces.begin_delete(*at).result()
    assert at[1] not in {item.name for item in client.workspaces.list_by_resource_group(at[0])}
    for listed in (client.deleted_workspaces.list(), client.deleted_workspaces.list_by_resource_group(at[0])):
        # Other tests of this server may have deleted some, too.
        assert {item.name: item.customer_id for item in listed}[at[1]] == made.customer_id
    again = client.workspaces.begin_create_or_update(*at, {"location": body["location"]}).result()
    assert (again.customer_id, again.retention_in_days) == (made.customer_id, 60)
    assert client.tables.get(*at, "Kept_CL").name == "Kept_CL"
    client.workspaces.begin_delete(*at, force=True).result()
    assert at[1] not in {item.name for item in client.deleted_workspaces.list()}


def test_what_connects_a_workspace_is_kept(azure: Azure) -> None:
    client = azure.log_analytics
    at = (azure.group, azure.env["HEADRACE_WORKSPACE_NAME"])
    source = {"kind": "WindowsEvent", "properties": {"eventLogName": "System"}}
    assert client.data_sources.create_or_update(*at, "events", source).properties == source["properties"]
    found = client.data_sources.list_by_workspace(*at, filter="kind eq 'WindowsEvent'")
    assert [item.name for item in found] == ["events"]
    export = {"properties": {"tableNames": ["Heartbeat"], "destination": {"resourceId": "/x"}}}
    assert client.data_exports.create_or_update(*at, "out", export).table_names == ["Heartbeat"]
    accounts = {"properties": {"storageAccountIds": ["/y"]}}
    linked = client.linked_storage_accounts.create_or_update(*at, "Query", accounts)
    assert linked.storage_account_ids == ["/y"]
    service = {"properties": {"writeAccessResourceId": "/z"}}
    assert (
        client.linked_services.begin_create_or_update(*at, "Cluster", service)
        .result()
        .name.endswith("Cluster")
    )
