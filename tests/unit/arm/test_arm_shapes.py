"""The documented members of each resource: what is answered, and what is kept as it was put."""

from __future__ import annotations

import re
from typing import Any

import pytest
from tests.unit.arm.conftest import ENDPOINT, GROUP, RULE, WORKSPACE, World, rule_body, table_body

SYSTEM_DATA = {
    "createdBy", "createdByType", "createdAt", "lastModifiedBy", "lastModifiedByType", "lastModifiedAt",
}  # fmt: skip
STORED: dict[str, Any] = {
    "description": "every part that Azure documents",
    "agentSettings": {"logs": [{"name": "MaxDiskQuotaInMB", "value": "1000"}]},
    "references": {
        "enrichmentData": {
            "storageBlobs": [
                {"resourceId": "/r", "blobUrl": "https://b", "lookupType": "Cidr", "name": "blob"}
            ]
        }
    },
    "dataSources": {
        "syslog": [
            {"name": "log", "streams": ["Microsoft-Syslog"], "facilityNames": ["*"], "logLevels": ["*"]}
        ],
        "performanceCounters": [
            {
                "name": "cpu",
                "streams": ["Microsoft-Perf"],
                "samplingFrequencyInSeconds": 60,
                "counterSpecifiers": ["c"],
            }
        ],
    },
}
ELSEWHERE: dict[str, Any] = {
    "azureMonitorMetrics": {"name": "metrics"},
    "monitoringAccounts": [{"accountResourceId": "/a", "name": "account"}],
    "eventHubs": [{"eventHubResourceId": "/h", "name": "hub"}],
    "eventHubsDirect": [{"eventHubResourceId": "/h", "name": "hub-direct"}],
    "storageBlobsDirect": [{"containerName": "c", "storageAccountResourceId": "/s", "name": "blob"}],
    "storageAccounts": [{"containerName": "c", "storageAccountResourceId": "/s", "name": "storage"}],
    "storageTablesDirect": [{"tableName": "t", "storageAccountResourceId": "/s", "name": "table"}],
    "azureDataExplorer": [{"resourceId": "/x", "databaseName": "d", "name": "explorer"}],
    "microsoftFabric": [
        {
            "tenantId": "t",
            "artifactId": "a",
            "databaseName": "d",
            "ingestionUri": "https://f",
            "name": "fabric",
        }
    ],
}


def test_every_documented_part_of_a_rule_is_kept(world: World) -> None:
    world.basics()
    body = rule_body()
    properties = body["properties"]
    properties["destinations"] |= ELSEWHERE
    properties["dataFlows"][0]["captureOverflow"] = True
    properties["dataFlows"].append(
        {"streams": ["Microsoft-Syslog"], "destinations": ["la"], "builtInTransform": "x"}
    )
    properties |= STORED
    identity = {"type": "UserAssigned", "userAssignedIdentities": {"/i": {}}}
    world.put(RULE, body | {"kind": " Direct", "identity": identity, "tags": {"a": "b"}})
    found = world.get(RULE)
    assert (found["kind"], found["identity"], found["tags"]) == ("Direct", identity, {"a": "b"})
    assert {name: found["properties"][name] for name in STORED} == STORED
    destinations = dict(found["properties"]["destinations"])
    (workspace,) = destinations.pop("logAnalytics")
    assert workspace["workspaceId"] == world.get(WORKSPACE)["properties"]["customerId"]
    assert destinations == ELSEWHERE
    flows = found["properties"]["dataFlows"]
    assert (flows[0]["captureOverflow"], flows[1]["builtInTransform"]) == (True, "x")
    assert re.fullmatch(r"dcr-[0-9a-f]{32}", found["properties"]["immutableId"])
    assert set(found["systemData"]) == SYSTEM_DATA
    assert found["properties"]["endpoints"]["logsIngestion"].startswith("https://")
    assert "endpoints" not in world.get(RULE, version="2022-06-01")["properties"]


def test_an_endpoint_has_its_addresses_and_an_id_of_its_own(world: World) -> None:
    world.put(GROUP, {"location": "eastus"})
    body = {"location": "eastus", "kind": "Linux", "properties": {"description": "d"}}
    made = world.put(ENDPOINT, body)
    properties = made["properties"]
    assert re.fullmatch(r"dce-[0-9a-f]{32}", properties["immutableId"])
    for name in ("logsIngestion", "configurationAccess"):
        assert properties[name]["endpoint"].startswith("https://")
    assert (properties["provisioningState"], properties["networkAcls"]) == (
        "Succeeded",
        {"publicNetworkAccess": "Enabled"},
    )
    assert (made["kind"], properties["description"]) == ("Linux", "d")
    assert set(made["systemData"]) == SYSTEM_DATA


def test_a_table_has_the_documented_members(world: World) -> None:
    world.basics()
    sent = table_body()
    column = {
        "name": "Link",
        "type": "String",
        "dataTypeHint": "uri",
        "displayName": "L",
        "description": "where",
    }
    sent["properties"]["schema"]["columns"].append(column)
    found = world.put(f"{WORKSPACE}/tables/My_CL", sent)["properties"]
    assert {
        "plan", "retentionInDays", "totalRetentionInDays", "archiveRetentionInDays", "retentionInDaysAsDefault",
        "totalRetentionInDaysAsDefault", "provisioningState", "schema",
    } <= set(found)  # fmt: skip
    schema = found["schema"]
    kept = {"isDefaultDisplay": False, "isHidden": False, "type": "string"}
    assert schema["columns"][-1] == column | kept
    assert schema["standardColumns"][0]["name"] == "TenantId"
    shown = {name: value for name, value in schema.items() if not name.endswith("olumns")}
    assert shown == {
        "name": "My_CL", "categories": [], "labels": [], "solutions": ["LogManagement"], "source": "customer",
        "isTroubleshootingAllowed": False, "tableType": "CustomLog", "tableSubType": "DataCollectionRuleBased",
    }  # fmt: skip


VERSIONS = (
    "2015-07-01", "2018-01-01-preview", "2020-04-01-preview", "2020-08-01-preview", "2020-10-01-preview",
    "2022-04-01",
)  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS)
def test_role_assignments_have_every_documented_version(world: World, version: str) -> None:
    world.put(GROUP, {"location": "eastus"})
    assert world.get(f"{GROUP}/providers/Microsoft.Authorization/roleAssignments", version=version)["value"]
