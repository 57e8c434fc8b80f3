"""What stands around resources: the cloud's description, providers, locks, tags, keys, lists, the directory."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from tests.unit.arm.conftest import BASE, ENDPOINT, GROUP, RULE, SUBSCRIPTION, WORKSPACE, World, rule_body

from headrace.arm.store import SharedKeys
from headrace.arm.views import load_shared_keys
from headrace.identity.apps import create_app

ROOT = f"/subscriptions/{SUBSCRIPTION}"
GRAPH = "https://graph.microsoft.com"


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_the_cloud_is_described_without_a_token(world: World) -> None:
    described = world.call("GET", "//Metadata/Endpoints", version="2022-09-01", headers={"Authorization": ""})
    assert described.status_code == 200
    document = described.json()
    assert document["authentication"]["loginEndpoint"] == document["resourceManager"] == BASE
    assert document["authentication"]["audiences"][0] == document["microsoftGraphResourceId"] == BASE
    assert document["authentication"]["tenant"] == world.first.tenant_id
    assert world.get("/metadata/endpoints", version="2019-05-01") == [document]
    assert world.get("/metadata/endpoints", version="1.0")["authentication"]["loginEndpoint"] == BASE
    assert code(world.call("GET", "/metadata/endpoints", version=None))[0] == 400
    other = world.call("GET", "https://other.example:9/metadata/endpoints", version="2022-09-01").json()
    assert other["resourceManager"] == "https://other.example:9"


def test_providers_are_registered(world: World) -> None:
    listed = world.get(f"{ROOT}/providers")["value"]
    assert {"microsoft.insights", "Microsoft.OperationalInsights"} <= {item["namespace"] for item in listed}
    one = world.get(f"{ROOT}/providers/microsoft.insights")
    assert one["registrationState"] == "Registered"
    types = {item["resourceType"]: item for item in one["resourceTypes"]}
    assert "2023-03-11" in types["dataCollectionRules"]["apiVersions"]
    registered = world.call("POST", f"{ROOT}/providers/Microsoft.Insights/register")
    assert registered.json()["id"] == f"{ROOT}/providers/microsoft.insights"
    assert code(world.call("GET", f"{ROOT}/providers/No.Such")) == (404, "InvalidResourceNamespace")
    reader = world.other_app(("Reader", ROOT))
    assert world.call("GET", f"{ROOT}/providers/Microsoft.Insights", token=reader).status_code == 200
    refused = world.call("POST", f"{ROOT}/providers/Microsoft.Insights/register", token=reader)
    assert code(refused) == (403, "AuthorizationFailed")


def test_a_lock_forbids_deletion_here_below_and_above(world: World) -> None:
    world.basics()
    lock = f"{WORKSPACE}/providers/Microsoft.Authorization/locks/keep"
    world.put(lock, {"properties": {"level": "CanNotDelete", "notes": "ours"}})
    for path in (f"{WORKSPACE}/tables/My_CL", WORKSPACE, GROUP):
        refused = world.call("DELETE", path)
        assert code(refused) == (409, "ScopeLocked"), path
        assert f"'{WORKSPACE}'" in refused.json()["error"]["message"]
    assert world.call("PATCH", WORKSPACE, {"tags": {"a": "b"}}).status_code == 200
    listed = world.get(f"{GROUP}/providers/Microsoft.Authorization/locks")["value"]
    assert [item["name"] for item in listed] == ["keep"]
    assert world.call("DELETE", lock).status_code == 200
    assert world.call("DELETE", lock).status_code == 204
    assert world.call("DELETE", GROUP).status_code == 200


def test_an_etag_guards_the_deletion_of_extensions(world: World) -> None:
    world.basics()
    lock = f"{GROUP}/providers/Microsoft.Authorization/locks/keep"
    world.put(lock, {"properties": {"level": "CanNotDelete"}})
    etag = world.call("GET", lock).headers["etag"]
    world.put(lock, {"properties": {"level": "ReadOnly"}})
    for sent in (etag, '"other"'):
        assert code(world.call("DELETE", lock, headers={"If-Match": sent})) == (412, "PreconditionFailed")
    assert world.call("DELETE", lock, headers={"If-Match": "*"}).status_code == 200
    assert world.call("DELETE", lock, headers={"If-Match": "*"}).status_code == 412
    assert world.call("DELETE", lock).status_code == 204


def test_a_read_only_lock_forbids_writing(world: World) -> None:
    world.basics()
    lock = f"{GROUP}/providers/Microsoft.Authorization/locks/still"
    world.put(lock, {"properties": {"level": "ReadOnly"}})
    refused = world.call("PUT", ENDPOINT, {"location": "eastus"})
    assert code(refused) == (409, "ScopeLocked")
    assert world.call("GET", WORKSPACE).status_code == 200
    assert code(world.call("PUT", lock, {"properties": {"level": "Sometimes"}}))[0] == 400


def test_tags_are_merged_replaced_and_deleted(world: World) -> None:
    world.basics()
    tags = f"{WORKSPACE}/providers/Microsoft.Resources/tags/default"

    def patch(operation: str, **values: str) -> Any:
        answer = world.call("PATCH", tags, {"operation": operation, "properties": {"tags": values}})
        assert answer.status_code == 200, answer.text
        return answer.json()["properties"]["tags"]

    world.put(tags, {"properties": {"tags": {"a": "1", "b": "2"}}})
    assert patch("Merge", b="3", c="4") == {"a": "1", "b": "3", "c": "4"}
    assert patch("Delete", a="1", b="not this") == {"b": "3", "c": "4"}
    assert patch("Replace", z="9") == {"z": "9"}
    assert world.get(WORKSPACE)["tags"] == {"z": "9"}
    assert world.get(f"{ROOT}/tagNames")["value"][0]["tagName"] == "z"
    assert world.call("DELETE", tags).status_code == 200
    assert world.get(tags)["properties"]["tags"] == {}
    assert code(world.call("PATCH", tags, {"operation": "Other"}))[0] == 400
    assert code(world.call("GET", tags.replace("default", "mine")))[0] == 400


def test_shared_keys_are_made_once_and_renewed_one_at_a_time(world: World) -> None:
    world.basics()
    reader = world.other_app(("Log Analytics Reader", GROUP))
    assert code(world.call("POST", f"{WORKSPACE}/sharedKeys", token=reader))[0] == 403
    first = world.call("POST", f"{WORKSPACE}/sharedKeys").json()
    assert world.call("POST", f"{WORKSPACE}/sharedKeys").json() == first
    assert len(base64.b64decode(first["primarySharedKey"])) == 64
    renewed = world.call("POST", f"{WORKSPACE}/regenerateSharedKey", {"keyType": "Secondary"}).json()
    assert renewed["primarySharedKey"] == first["primarySharedKey"]
    assert renewed["secondarySharedKey"] != first["secondarySharedKey"]
    customer_id = world.get(WORKSPACE)["properties"]["customerId"]
    with world.database.read() as connection:
        kept = load_shared_keys(connection, 1)
    assert kept == {customer_id: SharedKeys(renewed["primarySharedKey"], renewed["secondarySharedKey"])}
    assert renewed["primarySharedKey"] not in repr(kept)
    world.call("DELETE", WORKSPACE)
    with world.database.read() as connection:
        assert load_shared_keys(connection, 2) == {}


def test_what_a_workspace_never_has_is_an_empty_list(world: World) -> None:
    world.basics()
    assert world.get(f"{WORKSPACE}/usages") == {"value": []}
    assert world.get(f"{WORKSPACE}/intelligencePacks") == []
    assert code(world.call("GET", f"{WORKSPACE}x/usages"))[0] == 404


def test_what_connects_a_workspace_is_kept_as_it_was_put(world: World) -> None:
    world.basics()
    source = f"{WORKSPACE}/dataSources/events"
    made = world.put(source, {"kind": "WindowsEvent", "properties": {"eventLogName": "System"}})
    assert (made["kind"], made["properties"]) == ("WindowsEvent", {"eventLogName": "System"})
    world.put(f"{WORKSPACE}/dataSources/counters", {"kind": "PerformanceCounter", "properties": {}})
    listed = world.get(f"{WORKSPACE}/dataSources?$filter=kind eq 'windowsevent'")["value"]
    assert [item["name"] for item in listed] == ["events"]
    assert code(world.call("PUT", f"{WORKSPACE}x/dataSources/events", {}))[0] == 404
    assert world.call("DELETE", source, headers={"If-Match": "other"}).status_code == 412
    assert world.call("DELETE", source).status_code == 200
    assert world.call("DELETE", source).status_code == 204
    assert code(world.call("GET", source))[0] == 404


def test_sentinels_resources_are_kept_with_their_workspace(world: World) -> None:
    world.basics()
    solution = f"{GROUP}/providers/Microsoft.OperationsManagement/solutions/SecurityInsights(work1)"
    body = {"location": "eastus", "plan": {"name": "x"}, "properties": {"workspaceResourceId": WORKSPACE}}
    assert world.put(solution, body)["plan"] == {"name": "x"}
    sentinel = f"{WORKSPACE}/providers/Microsoft.SecurityInsights"
    world.put(f"{sentinel}/onboardingStates/default", {"properties": {}})
    made = world.put(
        f"{sentinel}/dataconnectordefinitions/mine", {"kind": "Customizable", "properties": {"a": 1}}
    )
    assert (made["type"], made["kind"]) == (
        "Microsoft.SecurityInsights/dataConnectorDefinitions",
        "Customizable",
    )
    assert [item["name"] for item in world.get(f"{sentinel}/dataConnectorDefinitions")["value"]] == ["mine"]
    world.call("DELETE", f"{WORKSPACE}?force=true")
    world.put(WORKSPACE, {"location": "eastus", "properties": {}})
    assert world.get(f"{sentinel}/onboardingStates") == {"value": []}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("resourceType eq 'Microsoft.Insights/dataCollectionRules'", ["dcr1"]),
        ("resourcetype eq 'microsoft.insights/datacollectionrules' and name eq 'DCR1'", ["dcr1"]),
        ("resourceGroup eq 'rg1' and location eq 'eastus'", ["dcr1", "work1"]),
        ("substringof('ork', name)", ["work1"]),
        ("tagName eq 'team' and tagValue eq 'blue'", ["work1"]),
        ("startswith(tagName, 'te')", ["work1"]),
        ("name ne 'dcr1'", ["work1"]),
        ("tagName eq 'none'", []),
    ],
)
def test_resources_are_filtered(world: World, text: str, names: list[str]) -> None:
    world.basics()
    world.put(RULE, rule_body())
    world.call("PATCH", WORKSPACE, {"tags": {"team": "blue"}})
    found = world.get(f"{ROOT}/resources?$filter={text}")["value"]
    assert [item["name"] for item in found] == names


def test_resources_come_in_pages_and_odd_filters_are_refused(world: World) -> None:
    world.basics()
    world.put(RULE, rule_body())
    page = world.get(f"{GROUP}/resources?$top=1")
    assert [item["name"] for item in page["value"]] == ["dcr1"]
    assert [item["name"] for item in world.get(page["nextLink"])["value"]] == ["work1"]
    for text in ("name", "name eq dcr1", "name eq 'a' or name eq 'b'", "colour eq 'red'", "name eq 'a' and"):
        refused = world.call("GET", f"{ROOT}/resources?$filter={text}")
        assert code(refused) == (400, "InvalidFilterInQueryString"), text


def test_the_directory_knows_apps_by_every_name(world: World) -> None:
    token = world.token(audience=GRAPH)
    first = world.first
    wanted = f"servicePrincipalNames/any(c:c eq '{first.app_id.upper()}')"
    found = world.get(f"/v1.0/servicePrincipals?$filter={wanted}", token=token)["value"]
    assert [item["id"] for item in found] == [first.principal_id]
    assert world.get(f"/v1.0/servicePrincipals/{first.principal_id}", token=token)["appId"] == first.app_id
    by_app = world.get(f"/beta/ServicePrincipals(appId='{first.app_id}')", token=token)
    assert by_app["id"] == first.principal_id
    applications = world.get(f"/v1.0/applications?$filter=appId eq '{first.app_id}'", token=token)["value"]
    assert applications[0]["appId"] == first.app_id
    body = {"ids": [first.principal_id, SUBSCRIPTION]}
    stubs = world.call("POST", "/v1.0/directoryObjects/getByIds", body, token=token).json()["value"]
    assert [stub["@odata.type"] for stub in stubs] == ["#microsoft.graph.servicePrincipal"]
    assert world.get("/v1.0/users", token=token) == {"value": []}
    missing = world.call("GET", f"/v1.0/applications/{SUBSCRIPTION}", token=token)
    assert code(missing) == (404, "Request_ResourceNotFound")
    odd = world.call("GET", "/v1.0/servicePrincipals?$filter=tags/any()", token=token)
    assert code(odd) == (400, "Request_UnsupportedQuery")
    assert code(world.call("POST", "/v1.0/directoryObjects/getByIds", {"ids": 3}, token=token))[0] == 400
    stranger = {"Authorization": "Bearer x"}
    assert (
        world.call("POST", "/v1.0/directoryObjects/getByIds", content=b"[", headers=stranger).status_code
        == 401
    )


def test_who_sees_no_roles_sees_only_itself_in_the_directory(world: World) -> None:
    world.other_app()
    path = "/v1.0/servicePrincipals"
    assert code(world.call("GET", path, headers={"Authorization": ""}))[0] == 401
    assert len(world.get(path, token=world.token(audience=GRAPH))["value"]) == 2
    stranger = create(world)
    seen = world.get(path, token=stranger[1])["value"]
    assert [item["id"] for item in seen] == [stranger[0]]


def create(world: World) -> tuple[str, str]:
    """The object id of a new app without roles, and its token for the directory."""
    with world.database.write() as connection:
        app = create_app(connection, "stranger", world.clock.now())
    return app.principal_id, world.token(app.app_id, app.principal_id, GRAPH)
