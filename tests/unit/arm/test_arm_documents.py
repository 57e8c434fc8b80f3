"""What resources' documents hold: words in any letter case, types of fields, tags that are taken away, identities."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.arm.conftest import ENDPOINT, GROUP, RULE, SUBSCRIPTION, WORKSPACE, World, rule_body

TEMPLATE = {"$schema": "https://x/deploymentTemplate.json#", "contentVersion": "1.0.0.0", "resources": []}
DEPLOYMENT = {"properties": {"mode": "Incremental", "template": TEMPLATE}}
BASES: dict[str, dict[str, Any]] = {
    GROUP: {"location": "eastus"},
    WORKSPACE: {"location": "eastus", "properties": {}},
    ENDPOINT: {"location": "eastus", "properties": {}},
}


def refused(world: World, method: str, path: str, body: Any) -> tuple[int, str | None]:
    response = world.call(method, path, body)
    return response.status_code, response.json()["error"].get("target")


@pytest.mark.parametrize("path", list(BASES))
def test_a_tag_that_is_null_is_taken_away(world: World, path: str) -> None:
    world.basics()
    world.put(path, {**BASES[path], "tags": {"a": "1", "b": None}})
    assert world.get(path)["tags"] == {"a": "1"}
    patched = world.call("PATCH", path, {"tags": {"a": None, "c": "3"}}).json()
    assert patched["tags"] == {"c": "3"}
    assert refused(world, "PATCH", path, {"tags": {"a": 1}}) == (400, "tags")


def test_tags_are_merged_and_deleted_by_name(world: World) -> None:
    world.basics()
    path = f"{GROUP}/providers/Microsoft.Resources/tags/default"

    def patch(operation: str, **tags: str | None) -> Any:
        body = {"operation": operation, "properties": {"tags": tags}}
        return world.call("PATCH", path, body).json()["properties"]["tags"]

    assert patch("merge", a="1", b="2", c="3") == {"a": "1", "b": "2", "c": "3"}
    assert patch("DELETE", a="", b="other", c=None) == {"b": "2"}
    assert patch("Delete", b="2") == {}


def test_words_are_read_in_any_case_and_shown_in_azures(world: World) -> None:
    world.basics()
    properties = {"sku": {"name": "pergb2018"}, "publicNetworkAccessForQuery": "disabled"}
    shown = world.put(WORKSPACE, {"location": "eastus", "properties": properties})["properties"]
    assert (shown["sku"]["name"], shown["publicNetworkAccessForQuery"]) == ("PerGB2018", "Disabled")
    body = {"location": "eastus", "properties": {"networkAcls": {"publicNetworkAccess": "enabled"}}}
    assert world.put(ENDPOINT, body)["properties"]["networkAcls"] == {"publicNetworkAccess": "Enabled"}
    lock = f"{WORKSPACE}/providers/Microsoft.Authorization/locks/keep"
    assert world.put(lock, {"properties": {"level": "canNotDelete"}})["properties"]["level"] == "CanNotDelete"
    assert world.call("DELETE", WORKSPACE).json()["error"]["code"] == "ScopeLocked"


@pytest.mark.parametrize(
    ("path", "change", "target"),
    [
        (WORKSPACE, {"properties": {"sku": {"name": "Gold"}}}, "properties.sku.name"),
        (WORKSPACE, {"properties": {"features": 5}}, "properties.features"),
        (WORKSPACE, {"properties": {"workspaceCapping": []}}, "properties.workspaceCapping"),
        (
            WORKSPACE,
            {"properties": {"workspaceCapping": {"dailyQuotaGb": "x"}}},
            "properties.workspaceCapping.dailyQuotaGb",
        ),
        (
            WORKSPACE,
            {"properties": {"publicNetworkAccessForIngestion": "Maybe"}},
            "properties.publicNetworkAccessForIngestion",
        ),
        (ENDPOINT, {"kind": 5}, "kind"),
        (ENDPOINT, {"properties": {"description": 5}}, "properties.description"),
        (ENDPOINT, {"identity": "SystemAssigned"}, "identity.type"),
        (ENDPOINT, {"identity": {"type": "Mine"}}, "identity.type"),
        (
            ENDPOINT,
            {"identity": {"type": "UserAssigned", "userAssignedIdentities": []}},
            "identity.userAssignedIdentities",
        ),
    ],
)
def test_a_wrong_value_is_named(world: World, path: str, change: dict[str, Any], target: str) -> None:
    world.basics()
    assert refused(world, "PUT", path, {**BASES[path], **change}) == (400, target)
    if path == WORKSPACE:
        assert refused(world, "PATCH", path, change) == (400, target)


@pytest.mark.parametrize("only", ["", "?validateOnly=true"])
def test_rules_are_checked_alike_where_they_are_only_checked(world: World, only: str) -> None:
    world.basics()
    assert refused(world, "PUT", RULE + only, {**rule_body(), "kind": 5}) == (400, "kind")
    assert refused(world, "PUT", RULE + only, {**rule_body(), "identity": 5}) == (400, "identity.type")


def test_a_system_assigned_identity_has_an_id_that_stays(world: World) -> None:
    world.basics()
    body = {**BASES[ENDPOINT], "identity": {"type": "systemAssigned,userAssigned", "principalId": "mine"}}
    identity = world.put(ENDPOINT, body)["identity"]
    assert identity["type"] == "SystemAssigned, UserAssigned"
    assert identity["tenantId"] == world.first.tenant_id and len(identity["principalId"]) == 36
    patched = world.call("PATCH", ENDPOINT, {"identity": {"type": "SystemAssigned"}}).json()["identity"]
    assert patched == {**identity, "type": "SystemAssigned"}
    assert (
        "principalId" not in world.call("PATCH", ENDPOINT, {"identity": {"type": "None"}}).json()["identity"]
    )


def test_groups_are_filtered_by_their_tags(world: World) -> None:
    for name, tags in (("rg1", {"Env": "prod"}), ("rg2", {"env": "test"}), ("rg3", {"a": "prod"})):
        path = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{name}"
        world.put(path, {"location": "eastus", "tags": tags})
    listed = f"/subscriptions/{SUBSCRIPTION}/resourcegroups"

    def names(query: str) -> list[str]:
        return [one["name"] for one in world.get(f"{listed}?{query}")["value"]]

    assert names("$filter=tagName eq 'env'") == ["rg1", "rg2"]
    assert names("$filter=tagName eq 'ENV' and tagValue eq 'prod'") == ["rg1"]
    page = world.get(f"{listed}?$filter=tagName eq 'env'&$top=1")
    assert [one["name"] for one in page["value"]] == ["rg1"]
    assert [one["name"] for one in world.get(page["nextLink"])["value"]] == ["rg2"]
    assert world.call("GET", f"{listed}?$filter=color eq 'x'").status_code == 400


def test_deployments_are_filtered_by_their_state(world: World) -> None:
    world.basics()
    failing = {**TEMPLATE, "resources": [{"type": "No.Such/x", "apiVersion": "2020-01-01", "name": "n"}]}
    deployments = f"{GROUP}/providers/Microsoft.Resources/deployments"
    world.put(f"{deployments}/good", DEPLOYMENT)
    world.put(f"{deployments}/bad", {"properties": {"mode": "Incremental", "template": failing}})
    for state, name in (("Failed", "bad"), ("succeeded", "good")):
        found = world.get(f"{deployments}?$filter=provisioningState eq '{state}'")["value"]
        assert [one["name"] for one in found] == [name]
    assert len(world.get(f"{deployments}?$top=1")["value"]) == 1


def test_a_subscriptions_deployment_has_a_location_and_keeps_it(world: World) -> None:
    path = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Resources/deployments/one"
    assert world.call("PUT", path, DEPLOYMENT).json()["error"]["code"] == "LocationRequired"
    assert world.put(path, {**DEPLOYMENT, "location": "East US"})["location"] == "eastus"
    assert world.put(path, {**DEPLOYMENT, "location": "eastus"})["location"] == "eastus"
    moved = world.call("PUT", path, {**DEPLOYMENT, "location": "westus"})
    assert (moved.status_code, moved.json()["error"]["code"]) == (409, "InvalidDeploymentLocation")
