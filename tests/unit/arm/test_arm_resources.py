"""Groups, workspaces, endpoints, lists, etags and deletions, as clients see them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.arm.conftest import (
    BASE,
    ENDPOINT,
    GROUP,
    RULE,
    SUBSCRIPTION,
    WORKSPACE,
    World,
    rule_body,
    table_body,
)

from headrace.arm.kinds.subscriptions import Subscriptions
from headrace.arm.model import Call
from headrace.arm.views import load_catalog
from headrace.identity.assignments import put_assignment
from headrace.identity.model import Caller
from headrace.identity.roles import READER
from headrace.ids import new_guid


def test_a_group_is_put_read_listed_and_deleted(world: World) -> None:
    made = world.call("PUT", GROUP, {"location": "East US", "tags": {"a": "b"}})
    assert made.status_code == 201
    assert made.json() == {
        "id": GROUP,
        "name": "rg1",
        "type": "Microsoft.Resources/resourceGroups",
        "location": "eastus",
        "tags": {"a": "b"},
        "properties": {"provisioningState": "Succeeded"},
    }
    assert world.call("PUT", GROUP, {"location": "eastus"}).status_code == 200
    head = world.call("HEAD", GROUP.replace("resourceGroups", "resourcegroups"))
    assert (head.status_code, head.content) == (204, b"")
    assert [
        group["name"] for group in world.get(f"/subscriptions/{SUBSCRIPTION}/resourceGroups")["value"]
    ] == ["rg1"]
    assert world.call("DELETE", GROUP).status_code == 200
    missing = world.call("HEAD", GROUP)
    assert (missing.status_code, missing.content) == (404, b"")
    error = world.call("GET", GROUP)
    assert error.json()["error"]["code"] == "ResourceGroupNotFound"


def test_the_workspaces_id_survives_a_second_put(world: World) -> None:
    world.put(GROUP, {"location": "eastus"})
    first = world.call("PUT", WORKSPACE, {"location": "eastus", "properties": {"retentionInDays": 60}})
    assert first.status_code == 201
    body = first.json()
    assert body["type"] == "Microsoft.OperationalInsights/workspaces"
    assert body["properties"]["retentionInDays"] == 60
    again = world.call("PUT", WORKSPACE, {"location": "eastus", "properties": {"customerId": "mine", "x": 1}})
    assert again.status_code == 200
    assert again.json()["properties"]["customerId"] == body["properties"]["customerId"]
    assert again.json()["properties"]["x"] == 1
    assert again.json()["properties"]["retentionInDays"] == 30
    patched = world.call("PATCH", WORKSPACE, {"tags": {"t": "1"}, "properties": {"retentionInDays": 90}})
    assert patched.json()["tags"] == {"t": "1"}
    assert patched.json()["properties"]["retentionInDays"] == 90
    assert patched.json()["properties"]["x"] == 1
    assert patched.json()["systemData"]["createdBy"] == world.first.principal_id


def test_paths_are_read_in_any_case_and_doubled_slashes_collapse(world: World) -> None:
    world.put(GROUP, {"location": "eastus"})
    group = f"/SUBSCRIPTIONS/{SUBSCRIPTION}/resourcegroups/RG1"
    path = f"{group}/providers/microsoft.insights//datacollectionendpoints/Dce1"
    made = world.put(path, {"location": "eastus"})
    canonical = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/RG1/providers/Microsoft.Insights"
    assert made["id"] == f"{canonical}/dataCollectionEndpoints/Dce1"
    assert world.get(ENDPOINT)["name"] == "Dce1"
    assert (
        world.put(ENDPOINT, {"location": "eastus"})["properties"]["immutableId"]
        == made["properties"]["immutableId"]
    )


def test_percent_encoded_query_names_are_understood(world: World) -> None:
    assert world.call("GET", f"/subscriptions/{SUBSCRIPTION}?api%2Dversion=2022-12-01").status_code == 200
    assert (
        world.call("GET", f"/subscriptions/{SUBSCRIPTION}?Api-Version=2022-12-01", version=None).status_code
        == 200
    )


def test_an_endpoints_address_follows_the_request_and_is_never_stored(world: World) -> None:
    world.put(GROUP, {"location": "eastus"})
    made = world.put(
        ENDPOINT, {"location": "eastus", "properties": {"logsIngestion": {"endpoint": "https://x"}}}
    )
    assert made["properties"]["logsIngestion"]["endpoint"] == BASE
    assert made["properties"]["immutableId"].startswith("dce-")
    elsewhere = world.get(f"https://other.example:9{ENDPOINT}")
    assert elsewhere["properties"]["logsIngestion"]["endpoint"] == "https://other.example:9"
    stranger = world.get(f"https://evil.example{ENDPOINT}")
    assert stranger["properties"]["logsIngestion"]["endpoint"] == BASE
    with world.database.read() as connection:
        stored = connection.exec_driver_sql(
            "select group_concat(document || state) from arm_resource"
        ).scalar()
    assert "https://" not in str(stored)


def test_etags_guard_against_lost_updates(world: World) -> None:
    world.put(GROUP, {"location": "eastus"})
    first = world.call("PUT", ENDPOINT, {"location": "eastus"}, headers={"If-None-Match": "*"})
    etag = first.headers["etag"]
    assert first.json()["etag"] == etag
    assert (
        world.call("PUT", ENDPOINT, {"location": "eastus"}, headers={"If-None-Match": "*"}).status_code == 412
    )
    second = world.call("PUT", ENDPOINT, {"location": "eastus"}, headers={"If-Match": etag})
    assert second.status_code == 200
    assert second.headers["etag"] != etag
    for method in ("PUT", "PATCH", "DELETE"):
        body: Any = {"location": "eastus"} if method == "PUT" else {"tags": {}}
        lost = world.call(method, ENDPOINT, body if method != "DELETE" else None, headers={"If-Match": etag})
        assert (lost.status_code, lost.json()["error"]["code"]) == (412, "PreconditionFailed")
    assert world.call("DELETE", ENDPOINT, headers={"If-Match": second.headers["etag"]}).status_code == 200


def test_lists_come_in_pages_that_link_on(world: World) -> None:
    world.put(GROUP, {"location": "eastus"})
    names = [f"dce{number}" for number in range(5)]
    for name in names:
        world.put(ENDPOINT.replace("dce1", name), {"location": "eastus"})
    url = f"{GROUP}/providers/Microsoft.Insights/dataCollectionEndpoints?$top=2"
    seen = []
    for _ in range(3):
        page = world.get(url)
        seen += [item["name"] for item in page["value"]]
        url = page.get("nextLink", "")
        assert not url or url.startswith(f"{BASE}/subscriptions/")
    assert seen == names
    assert url == ""
    across = world.get(f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Insights/dataCollectionEndpoints")
    assert len(across["value"]) == 5


def test_a_location_cannot_change(world: World) -> None:
    world.put(GROUP, {"location": "eastus"})
    world.put(ENDPOINT, {"location": "eastus"})
    moved = world.call("PUT", ENDPOINT, {"location": "westus"})
    assert (moved.status_code, moved.json()["error"]["code"]) == (409, "InvalidResourceLocation")
    assert (
        world.call("PUT", GROUP, {"location": "westus"}).json()["error"]["code"]
        == "InvalidResourceGroupLocation"
    )
    absent = world.call("PUT", ENDPOINT.replace("dce1", "dce2"), {})
    assert absent.json()["error"]["code"] == "LocationRequired"


def test_every_write_is_published_before_it_is_answered(world: World) -> None:
    before = len(world.published)
    world.put(GROUP, {"location": "eastus"})
    assert len(world.published) == before + 1
    assert world.published[-1] == world.database.change()
    world.get(GROUP)
    assert len(world.published) == before + 1


def test_deleting_a_group_takes_everything_along_roles_too(world: World) -> None:
    world.basics()
    world.put(ENDPOINT, {"location": "eastus"})
    world.put(RULE, rule_body())
    reader = world.other_app(("Reader", RULE))
    assert world.call("GET", RULE, token=reader).status_code == 200
    assert world.call("DELETE", GROUP).status_code == 200
    world.basics()
    for path in (ENDPOINT, RULE):
        assert world.call("GET", path).status_code == 404
    world.put(RULE, rule_body())
    assert world.call("GET", RULE, token=reader).status_code == 403


def test_a_table_made_again_is_another_incarnation(world: World) -> None:
    world.basics()
    customer_id = world.get(WORKSPACE)["properties"]["customerId"]

    def incarnation() -> str:
        with world.database.read() as connection:
            return load_catalog(connection, 0).workspaces[customer_id].tables["My_CL"].incarnation

    first = incarnation()
    world.put(f"{WORKSPACE}/tables/My_CL", table_body(("Extra", "int")))
    assert incarnation() == first
    assert world.call("DELETE", f"{WORKSPACE}/tables/My_CL").status_code == 200
    assert world.call("DELETE", f"{WORKSPACE}/tables/My_CL").status_code == 204
    world.put(f"{WORKSPACE}/tables/My_CL", table_body())
    assert incarnation() != first


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"{WORKSPACE}/tables/My_CL", table_body()),
        (
            f"{WORKSPACE}/savedSearches/mine",
            {"properties": {"category": "c", "displayName": "d", "query": "q"}},
        ),
        (f"{GROUP}/providers/Microsoft.OperationsManagement/solutions/mine", {"location": "eastus"}),
    ],
)
def test_roles_and_locks_go_with_what_they_are_of(world: World, path: str, body: Any) -> None:
    world.basics()
    world.put(path, body)
    reader = world.other_app(("Reader", path))
    lock = f"{path}/providers/Microsoft.Authorization/locks/l"
    world.put(lock, {"properties": {"level": "NotSpecified"}})
    assert world.call("GET", path, token=reader).status_code == 200
    assert world.call("DELETE", path).status_code == 200
    world.put(path, body)
    assert world.call("GET", path, token=reader).status_code == 403
    assert world.call("GET", lock).status_code == 404


def test_the_subscriptions_of_a_caller_are_those_with_a_role_in_them(world: World) -> None:
    world.basics()
    world.put(RULE, rule_body())
    publisher = world.other_app(("Monitoring Metrics Publisher", RULE))
    listed = world.get("/subscriptions", version="2022-12-01", token=publisher)["value"]
    assert [entry["subscriptionId"] for entry in listed] == [SUBSCRIPTION]
    assert {"displayName", "state", "tenantId"} <= set(listed[0])
    assert world.get("/subscriptions", token=world.other_app())["value"] == []
    assert world.get("/tenants")["value"][0]["tenantId"] == world.first.tenant_id


def test_the_subscriptions_of_a_group_are_those_of_its_members(world: World) -> None:
    group, member = new_guid(), new_guid()
    properties = {"roleDefinitionId": READER.id, "principalId": group, "principalType": "Group"}
    scope = f"/subscriptions/{SUBSCRIPTION}"
    with world.database.write() as connection:
        put_assignment(connection, scope=scope, name=new_guid(), properties=properties, by=group, now=1)
        caller = Caller(member, "app", world.first.tenant_id, "", 0, (group,))
        call = Call.own(world.deps, connection, caller, "GET", "/subscriptions", "2022-12-01", {})
        assert len(Subscriptions().list(call).body["value"]) == 1


def test_resources_lists_what_is_there(world: World) -> None:
    world.basics()
    world.put(ENDPOINT, {"location": "eastus", "tags": {"k": "v"}})
    found = world.get(f"{GROUP}/resources")["value"]
    assert {item["type"] for item in found} == {
        "Microsoft.OperationalInsights/workspaces",
        "Microsoft.Insights/dataCollectionEndpoints",
    }
    wanted = "?$filter=resourceType eq 'microsoft.insights/datacollectionendpoints'"
    assert [item["name"] for item in world.get(f"{GROUP}/resources{wanted}")["value"]] == ["dce1"]


@pytest.mark.parametrize("name", ["abc", "-work", "work_1", "a" * 64])
def test_workspace_names_outside_azures_rule_are_refused(world: World, name: str) -> None:
    world.put(GROUP, {"location": "eastus"})
    answer = world.call("PUT", WORKSPACE.replace("work1", name), {"location": "eastus"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "InvalidWorkspaceName")


def test_an_endpoint_that_is_refused_says_why(world: World) -> None:
    world.put(GROUP, {"location": "eastus"})
    body = {"location": "eastus", "properties": {"networkAcls": {"publicNetworkAccess": "Perhaps"}}}
    refused = world.call("PUT", ENDPOINT, body)
    assert refused.status_code == 400
    (cause,) = refused.json()["error"]["details"]
    assert cause["target"] == "properties.networkAcls.publicNetworkAccess"
    assert "'Perhaps'" in cause["message"] and "SecuredByPerimeter" in cause["message"]
