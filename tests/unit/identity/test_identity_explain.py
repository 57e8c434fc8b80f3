"""Why somebody may or may not do something, and what would change it."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from tests.identity_kit import SUBSCRIPTION, World

from headrace.identity.apps import set_enabled
from headrace.identity.assignments import assign

GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/web"
RULE = f"{GROUP}/providers/Microsoft.Insights/dataCollectionRules/access"
WORKSPACE = f"{GROUP}/providers/Microsoft.OperationalInsights/workspaces/logs"
SEND = "Microsoft.Insights/Telemetry/Write"


def give(world: World, principal: str, role: str, scope: str) -> None:
    with world.database.write() as connection:
        assign(connection, scope=scope, role=role, principal_id=principal, by=principal, now=1)


def ask(world: World, principal: str, action: str = SEND, scope: str = RULE, **more: Any) -> dict[str, Any]:
    asked = {"principal": principal, "action": action, "scope": scope, **more}
    answer = world.arm("POST", "/headrace/access/explain", asked)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    # An explanation that disagrees with the decision would be worse than none.
    allowed = world.view.current.allows(
        found["principalId"], action, scope, data=found["isDataAction"], groups=more.get("groups", ())
    )
    assert found["allowed"] is allowed
    return found


def test_a_role_that_allows_is_named(world: World) -> None:
    app_id, principal, _ = world.app("sender")
    give(world, principal, "Monitoring Metrics Publisher", GROUP)
    for text in (principal, app_id, app_id.upper(), "sender"):
        found = ask(world, text)
        assert (found["allowed"], found["principalId"], found["clientId"]) == (True, principal, app_id)
        assert "'Monitoring Metrics Publisher'" in found["reason"] and GROUP in found["reason"]
        assert found["cure"] is None
    (considered,) = found["assignments"]
    assert (considered["allows"], considered["scope"]) == (True, GROUP)
    assert considered["roleAssignmentId"].startswith(f"{GROUP}/providers/")


def test_no_role_at_all(world: World) -> None:
    _, principal, _ = world.app("sender")
    found = ask(world, principal)
    assert found["reason"] == "No role is assigned to the principal at this scope or above it."
    wanted = f"headrace role assign 'Monitoring Metrics Publisher' --principal {principal} --scope {RULE}"
    assert found["cure"] == wanted
    stranger = str(uuid4())
    assert "no app has this id here" in ask(world, stranger)["reason"]


def test_an_owner_may_not_send_and_learns_why(world: World) -> None:
    found = ask(world, world.first.principal_id)
    assert not found["allowed"]
    reasons = {one["roleName"]: one["reason"] for one in found["assignments"]}
    assert reasons["Owner"] == "The role has the action among its actions only, and this is a data action."
    assert "Log Analytics Reader, Owner" in found["reason"]


def test_a_role_at_the_wrong_place_is_found(world: World) -> None:
    _, principal, _ = world.app("sender")
    give(world, principal, "Monitoring Metrics Publisher", WORKSPACE)
    found = ask(world, principal)
    assert found["reason"].startswith(f"A role that gives the data action is assigned only at {WORKSPACE}:")
    assert found["assignments"] == []


def test_not_actions_take_away(world: World) -> None:
    _, principal, _ = world.app("helper")
    give(world, principal, "Contributor", GROUP)
    found = ask(world, principal, "Microsoft.Authorization/roleAssignments/write")
    assert found["assignments"][0]["reason"] == "The role takes the action away by its notActions."
    assert "User Access Administrator" in found["cure"]
    unknown = ask(world, world.first.principal_id, "Microsoft.Insights/Telemetry/Read", data=True)
    assert unknown["cure"].startswith("No role has this data action")


def test_a_disabled_app_is_told_apart(world: World) -> None:
    app_id, principal, _ = world.app("sender")
    give(world, principal, "Monitoring Metrics Publisher", RULE)
    with world.database.write() as connection:
        set_enabled(connection, app_id, False)
    found = ask(world, principal)
    assert "the app is disabled" in found["reason"] and app_id in found["cure"]


def test_groups_count(world: World) -> None:
    _, principal, _ = world.app("sender")
    group = str(uuid4())
    with world.database.write() as connection:
        from headrace.identity.assignments import put_assignment

        properties = {
            "roleDefinitionId": "3913510d-42f4-4e42-8a64-420c390055eb",
            "principalId": group,
            "principalType": "Group",
        }
        put_assignment(connection, scope=RULE, name=str(uuid4()), properties=properties, by=group, now=1)
    assert not ask(world, principal)["allowed"]
    assert ask(world, principal, groups=[group])["allowed"]
    assert not world.view.current.allows(principal, SEND, RULE, data=True, groups=(str(uuid4()),))


def test_anyone_may_ask_about_himself_and_few_about_others(world: World) -> None:
    app_id, principal, secret = world.app("sender")
    other, _, _ = world.app("other")
    token = world.token(client_id=app_id, client_secret=secret, scope="https://management.azure.com/.default")
    asked = {"principal": app_id, "action": SEND, "scope": RULE}
    assert world.arm("POST", "/headrace/access/explain", asked, token).json()["principalId"] == principal
    refused = world.arm("POST", "/headrace/access/explain", asked | {"principal": other}, token)
    assert refused.status_code == 403
    # Whose roles count is not his to choose.
    grouped = world.arm("POST", "/headrace/access/explain", asked | {"groups": [other]}, token)
    assert grouped.status_code == 403
    assert world.client.post("/headrace/access/explain", json=asked).status_code == 401


@pytest.mark.parametrize(
    ("change", "target"),
    [
        ({"principal": ""}, "principal"),
        ({"action": 7}, "action"),
        ({"scope": "here"}, "scope"),
        ({"data": "yes"}, "data"),
        ({"groups": "one"}, "groups"),
        ({"scope": "/" + "x" * 3000}, "scope"),
    ],
)
def test_a_wrong_question_is_named(world: World, change: dict[str, Any], target: str) -> None:
    asked = {"principal": "x", "action": SEND, "scope": RULE} | change
    answer = world.arm("POST", "/headrace/access/explain", asked)
    assert (answer.status_code, answer.json()["error"]["target"]) == (400, target)
