"""What somebody may do, asked by the addresses that portals, command lines and clusters ask."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.arm.conftest import GROUP, RULE, SUBSCRIPTION, WORKSPACE, World, rule_body

from headrace.arm.ids import NEVER_ANY_TYPES

AUTHORIZATION = "providers/Microsoft.Authorization"
READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
NOBODY = "00000000-0000-0000-0000-000000000001"


def question(principal: str, *actions: str, **more: Any) -> dict[str, Any]:
    return {
        "Subject": {"Attributes": {"ObjectId": principal}},
        "Actions": [{"Id": action} for action in actions],
        **more,
    }


def check(world: World, scope: str, body: Any, version: str = "2018-09-01-preview", **options: Any) -> Any:
    return world.call("POST", f"{scope}/{AUTHORIZATION}/checkAccess", body, version=version, **options)


def test_a_caller_sees_what_its_roles_give_at_a_scope(world: World) -> None:
    world.basics()
    world.put(RULE, rule_body())
    token = world.other_app(("Monitoring Metrics Publisher", RULE), ("Reader", GROUP))
    for path, count in ((RULE, 2), (GROUP, 1), (f"/subscriptions/{SUBSCRIPTION}", 0)):
        given = world.get(f"{path}/{AUTHORIZATION}/permissions", version="2022-04-01", token=token)["value"]
        assert len(given) == count, path
    (reader,) = world.get(f"{WORKSPACE}/{AUTHORIZATION}/permissions", token=token)["value"]
    assert reader == {"actions": ["*/read"], "notActions": [], "dataActions": [], "notDataActions": []}


def test_permissions_tell_nobody_what_there_is(world: World) -> None:
    world.basics()
    nobody = world.other_app()
    for path in (WORKSPACE, f"{WORKSPACE}x"):
        assert world.get(f"{path}/{AUTHORIZATION}/permissions", token=nobody) == {"value": []}
    assert world.call("GET", f"{WORKSPACE}x/{AUTHORIZATION}/permissions").status_code == 404


def test_access_is_checked_action_by_action(world: World) -> None:
    world.basics()
    world.put(RULE, rule_body())
    before = world.database.change()
    asked = question(
        world.first.principal_id,
        "Microsoft.Insights/dataCollectionRules/write",
        "Microsoft.Insights/Telemetry/Write",
    )
    owner, sender = check(world, RULE, asked).json()
    assert (owner["accessDecision"], owner["actionId"]) == ("Allowed", asked["Actions"][0]["Id"])
    assert owner["roleAssignment"]["principalId"] == world.first.principal_id
    assert (sender["accessDecision"], sender["isDataAction"], sender["roleAssignment"]) == (
        "NotAllowed",
        True,
        None,
    )
    paged = check(world, RULE, asked, "2021-06-01-preview").json()
    assert paged == {"value": [owner, sender]}
    assert world.database.change() == before, "a question changes nothing"


def test_names_in_a_check_have_any_case_and_a_resource_below_may_be_named(world: World) -> None:
    world.basics()
    body = {
        "subject": {"attributes": {"objectId": world.first.principal_id.upper()}},
        "actions": [{"id": "Microsoft.OperationalInsights/workspaces/read", "isDataAction": False}],
        "resource": {"id": WORKSPACE},
    }
    (decision,) = check(world, GROUP, body).json()
    assert decision["accessDecision"] == "Allowed"
    body["resource"] = {"id": GROUP}
    refused = check(world, WORKSPACE, body)
    assert (refused.status_code, refused.json()["error"]["target"]) == (400, "Resource.Id")


def test_who_asks_about_others_needs_to_see_their_roles(world: World) -> None:
    world.basics()
    token = world.other_app(("Monitoring Metrics Publisher", GROUP))
    asked = question(world.first.principal_id, "Microsoft.Insights/dataCollectionRules/read")
    assert check(world, GROUP, asked, token=token).json()["error"]["code"] == "AuthorizationFailed"
    (decision,) = check(world, GROUP, question(NOBODY, "a/b/read")).json()
    assert decision["accessDecision"] == "NotAllowed"


@pytest.mark.parametrize(
    ("body", "target"),
    [
        ({}, "Subject"),
        ({"Subject": {"Attributes": {}}}, "Subject.Attributes.ObjectId"),
        ({"Subject": {"Attributes": {"ObjectId": "x"}}}, "Subject.Attributes.ObjectId"),
        (question(NOBODY), "Actions"),
        (question(NOBODY, *["a/b/read"] * 201), "Actions"),
        (question(NOBODY, ""), "Actions[0].Id"),
        ({**question(NOBODY), "Actions": ["a/b/read"]}, "Actions[0].Id"),
        (question(NOBODY, "a/b/read", Resource={"Id": 5}), "Resource.Id"),
        (
            {**question(NOBODY, "a/b/read"), "Subject": {"Attributes": {"ObjectId": NOBODY, "Groups": [1]}}},
            "Subject.Attributes.Groups",
        ),
    ],
)
def test_a_wrong_question_names_the_field(world: World, body: dict[str, Any], target: str) -> None:
    world.basics()
    response = check(world, GROUP, body)
    assert (response.status_code, response.json()["error"]["target"]) == (400, target)


@pytest.mark.parametrize("name", NEVER_ANY_TYPES)
def test_what_is_never_there_is_an_empty_list(world: World, name: str) -> None:
    world.basics()
    assert world.get(f"{GROUP}/providers/{name}", version="2022-04-01") == {"value": []}
    assert world.call("PUT", f"{GROUP}/providers/{name}/x", {}, version="2022-04-01").status_code == 405


def test_a_workspace_has_a_tier(world: World) -> None:
    world.basics()
    (tier,) = world.get(f"{WORKSPACE}/availableServiceTiers", version="2022-10-01")
    assert (tier["serviceTier"], tier["enabled"], tier["defaultRetention"]) == ("PerGB2018", True, 30)


def test_operations_are_listed_for_custom_roles(world: World) -> None:
    nobody = world.other_app()
    listed = world.get("/providers/Microsoft.Insights/operations", version="2015-04-01", token=nobody)[
        "value"
    ]
    names = {one["name"]: one["isDataAction"] for one in listed}
    assert names["Microsoft.Insights/dataCollectionRules/write"] is False
    assert names["Microsoft.Insights/Telemetry/Write"] is True
    path = f"/{AUTHORIZATION}/providerOperations"
    one = world.get(f"{path}/microsoft.operationalinsights?$expand=resourceTypes", token=nobody)
    types = {item["name"]: [o["name"] for o in item["operations"]] for item in one["resourceTypes"]}
    assert "Microsoft.OperationalInsights/workspaces/sharedkeys/action" in types["workspaces/sharedkeys"]
    assert "Microsoft.OperationalInsights/workspaces/tables/delete" in types["workspaces/tables"]
    assert {one["name"] for one in world.get(path)["value"]} >= {"Microsoft.Insights", "Microsoft.Resources"}
    assert world.call("GET", f"{path}/No.Such").status_code == 404


def test_providers_of_the_tenant_and_their_api_versions(world: World) -> None:
    nobody = world.other_app()
    listed = {one["namespace"]: one for one in world.get("/providers", token=nobody)["value"]}
    assert listed["microsoft.insights"]["id"] == "/providers/microsoft.insights"
    one = world.get("/providers/Microsoft.Insights", token=nobody)
    types = {item["resourceType"]: item for item in one["resourceTypes"]}
    assert "2023-03-11" in types["dataCollectionRules"]["apiVersions"]
    assert types["dataCollectionRules"]["capabilities"] == "SupportsTags, SupportsLocation"
    assert types["diagnosticSettings"]["capabilities"] == "None"
    assert "microsoft.resourcegraph" in {name.lower() for name in listed}


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/tables/My_CL/deleteData", "totalRetentionInDays"),
        ("/tables/My_CL/cancelSearch", "search jobs"),
        ("/purge", "totalRetentionInDays"),
    ],
)
def test_actions_that_there_is_no_way_to_do_are_refused_by_name(world: World, path: str, says: str) -> None:
    world.basics()
    error = world.call("POST", WORKSPACE + path, {"filters": []}, version="2023-09-01").json()["error"]
    assert error["code"] == "OperationNotSupported" and says in error["message"]


def test_keys_are_listed_by_both_names(world: World) -> None:
    world.basics()
    shown = [world.call("POST", f"{WORKSPACE}/{name}").json() for name in ("sharedKeys", "listKeys")]
    assert shown[0] == shown[1] and shown[0]["primarySharedKey"]
