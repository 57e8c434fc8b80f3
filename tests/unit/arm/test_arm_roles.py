"""Custom roles and scopes over HTTP, as the management SDK and `az role definition` call them."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest
from tests.unit.arm.conftest import GROUP, RULE, SUBSCRIPTION, WORKSPACE, World

ROOT = f"/subscriptions/{SUBSCRIPTION}"
DEFINITIONS = "/providers/Microsoft.Authorization/roleDefinitions"
ASSIGNMENTS = "/providers/Microsoft.Authorization/roleAssignments"
OWNER = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"


def body(name: str = "Table watcher", scope: str = ROOT, **changes: Any) -> dict[str, Any]:
    permission = {
        "actions": ["Microsoft.OperationalInsights/workspaces/*"],
        "notActions": ["Microsoft.OperationalInsights/workspaces/tables/delete"],
    }
    properties = {
        "roleName": name,
        "description": "Reads and makes tables.",
        "type": "CustomRole",
        "permissions": [permission],
        "assignableScopes": [scope],
    }
    return {"properties": properties | changes}


def make(world: World, name: str = "Table watcher", **changes: Any) -> str:
    guid = str(uuid4())
    made = world.put(f"{ROOT}{DEFINITIONS}/{guid}", body(name, **changes), version="2022-04-01")
    assert made["properties"]["type"] == "CustomRole"
    return guid


def test_a_custom_role_is_made_read_listed_changed_and_deleted(world: World) -> None:
    guid = make(world)
    path = f"{ROOT}{DEFINITIONS}/{guid}"
    assert world.get(path)["properties"]["permissions"][0]["dataActions"] == []
    listed = world.get(f"{ROOT}{DEFINITIONS}?$filter=roleName eq 'table WATCHER'")["value"]
    assert [one["name"] for one in listed] == [guid]
    custom = world.get(f"{ROOT}{DEFINITIONS}?$filter=type eq 'CustomRole'")["value"]
    assert [one["name"] for one in custom] == [guid]
    assert OWNER not in [one["name"] for one in custom]
    world.put(path, body("Watcher", description="new"))
    assert (
        world.get(path)["properties"] | {"roleName": "Watcher", "description": "new"}
        == world.get(path)["properties"]
    )
    assert world.call("DELETE", path).status_code == 200
    assert world.call("DELETE", path).status_code == 204
    assert world.call("GET", path).json()["error"]["code"] == "RoleDefinitionDoesNotExist"


def test_a_role_is_found_by_a_name_with_and_in_it(world: World) -> None:
    made = make(world, "Reader and writer of Bob's")
    named = "roleName eq 'reader AND writer of Bob''s'"
    for text in (named, f"atScopeAndBelow() and {named} and type eq 'CustomRole'"):
        found = world.get(f"{ROOT}{DEFINITIONS}?$filter={quote(text)}")["value"]
        assert [one["name"] for one in found] == [made], text
    for text in (f"{named} and", f"and {named}", f"{named} {named}", "x" * 3000):
        answer = world.call("GET", f"{ROOT}{DEFINITIONS}?$filter={quote(text)}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "UnsupportedQuery"), text


def test_a_custom_role_counts_where_it_is_assigned_and_as_far_as_it_goes(world: World) -> None:
    world.basics()
    guid = make(world)
    token = world.other_app(("Table watcher", WORKSPACE))
    table = f"{WORKSPACE}/tables/My_CL"
    assert world.call("GET", table, token=token).status_code == 200
    assert world.call("DELETE", table, token=token).status_code == 403
    assert world.call("GET", GROUP, token=token).status_code == 403
    # A change of the role counts for the very next call.
    world.put(f"{ROOT}{DEFINITIONS}/{guid}", body(permissions=[{"actions": ["Microsoft.Nothing/read"]}]))
    assert world.call("GET", table, token=token).status_code == 403
    refused = world.call("DELETE", f"{ROOT}{DEFINITIONS}/{guid}")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "RoleDefinitionHasAssignments")


@pytest.mark.parametrize(
    ("changes", "target"),
    [
        ({"roleName": ""}, "properties.roleName"),
        ({"roleName": 7}, "properties.roleName"),
        ({"description": ["x"]}, "properties.description"),
        ({"type": "BuiltInRole"}, "properties.type"),
        ({"permissions": []}, "properties.permissions"),
        ({"permissions": [7]}, "properties.permissions[0]"),
        ({"permissions": [{"actions": "read"}]}, "properties.permissions[0].actions"),
        (
            {"permissions": [{"actions": ["a/b"]}, {"dataActions": ["nothing"]}]},
            "properties.permissions[1].dataActions",
        ),
        ({"assignableScopes": []}, "properties.assignableScopes"),
        ({"assignableScopes": ["subscriptions/x"]}, "properties.assignableScopes[0]"),
    ],
)
def test_what_is_wrong_with_a_role_is_named(world: World, changes: dict[str, Any], target: str) -> None:
    refused = world.call("PUT", f"{ROOT}{DEFINITIONS}/{uuid4()}", body(**changes))
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["target"]) == (400, "InvalidRequestContent", target)


def test_names_ids_and_scopes_of_roles_are_guarded(world: World) -> None:
    def refused(guid: str, document: dict[str, Any], token: str | None = None) -> tuple[int, str]:
        answer = world.call("PUT", f"{ROOT}{DEFINITIONS}/{guid}", document, token=token)
        return answer.status_code, answer.json()["error"]["code"]

    make(world)
    assert refused(str(uuid4()), body("TABLE watcher")) == (409, "RoleDefinitionWithSameNameExists")
    assert refused(str(uuid4()), body("owner")) == (409, "RoleDefinitionWithSameNameExists")
    assert refused(OWNER, body("Mine")) == (409, "SystemDefinedRole")
    assert refused("no-guid", body("Mine")) == (400, "InvalidRoleDefinitionId")
    # A role cannot be made for a place where its maker has no say.
    owner = world.other_app(("Owner", ROOT))
    assert refused(str(uuid4()), body("Mine", scope="/"), owner) == (403, "LinkedAuthorizationFailed")
    elsewhere = f"/subscriptions/{uuid4()}"
    assert refused(str(uuid4()), body("Mine", scope=elsewhere), owner) == (403, "LinkedAuthorizationFailed")
    contributor = world.other_app(("Contributor", ROOT))
    assert refused(str(uuid4()), body("Mine"), contributor) == (403, "AuthorizationFailed")


def test_roles_are_found_at_the_root_by_everybody(world: World) -> None:
    """As `azurerm_role_definition` of Terraform asks that names no scope."""
    world.basics()
    guid = make(world)
    stranger, owner = world.other_app(), world.other_app(("Owner", ROOT))
    by_name = f"{DEFINITIONS}?$filter=roleName eq"
    for token in (stranger, owner):
        found = world.get(f"{by_name} 'Monitoring Metrics Publisher'", token=token)["value"]
        assert [one["name"] for one in found] == ["3913510d-42f4-4e42-8a64-420c390055eb"]
        assert world.get(f"{DEFINITIONS}/{OWNER}", token=token)["properties"]["roleName"] == "Owner"
    for token, status, names in ((stranger, 404, []), (owner, 200, [guid])):
        assert world.call("GET", f"{DEFINITIONS}/{guid}", token=token).status_code == status
        custom = world.get(f"{by_name} 'Table watcher'", token=token)["value"]
        assert [one["name"] for one in custom] == names
    assert world.call("PUT", f"{DEFINITIONS}/{guid}", body(), token=stranger).status_code == 403
    assert world.call("GET", f"{ROOT}{DEFINITIONS}", token=stranger).status_code == 403


def test_a_role_is_assigned_within_its_assignable_scopes_only(world: World) -> None:
    world.basics()
    make(world, scope=f"{ROOT}/resourceGroups/other")
    role = world.get(f"{ROOT}{DEFINITIONS}?$filter=roleName eq 'Table watcher'")["value"][0]
    assert world.get(f"{GROUP}{DEFINITIONS}?$filter=type eq 'CustomRole'")["value"] == []
    properties = {"roleDefinitionId": role["id"], "principalId": str(uuid4()), "principalType": "Group"}
    refused = world.call("PUT", f"{GROUP}{ASSIGNMENTS}/{uuid4()}", {"properties": properties})
    assert refused.json()["error"]["code"] == "RoleAssignmentScopeNotAssignableToRoleDefinition"


def test_the_root_management_group_stands_for_everything(world: World) -> None:
    world.basics()
    tenant = world.first.tenant_id
    root = f"/providers/Microsoft.Management/managementGroups/{tenant}"
    token = world.other_app(("Reader", root))
    assert world.call("GET", WORKSPACE, token=token).status_code == 200
    listed = world.call("GET", f"{root}{ASSIGNMENTS}", token=token).json()["value"]
    assert root in [one["properties"]["scope"] for one in listed]
    owner = world.other_app(("Owner", "/"))
    name = uuid4()
    role = f"/providers/Microsoft.Authorization/roleDefinitions/{OWNER}"
    properties = {"roleDefinitionId": role, "principalId": str(uuid4()), "principalType": "User"}
    made = world.call("PUT", f"{root}{ASSIGNMENTS}/{name}", {"properties": properties}, token=owner)
    assert (made.status_code, made.json()["properties"]["scope"]) == (201, root)
    assert world.call("GET", f"{root}{ASSIGNMENTS}/{name}", token=owner).status_code == 200
    unknown = f"/providers/Microsoft.Management/managementGroups/{uuid4()}{ASSIGNMENTS}"
    assert world.call("GET", unknown, token=owner).status_code == 404


def test_a_wildcard_that_would_take_ages_takes_none(world: World) -> None:
    pattern = "/".join(["*a"] * 40)
    guid = make(world, permissions=[{"actions": [pattern]}])
    token = world.other_app(("Table watcher", ROOT))
    assert world.call("GET", f"{ROOT}/resourceGroups/{'a' * 80}", token=token).status_code == 403
    assert world.call("GET", RULE, token=token).status_code == 403
    assert world.get(f"{ROOT}{DEFINITIONS}/{guid}")["properties"]["permissions"][0]["actions"] == [pattern]


def test_a_post_without_an_action_does_nothing(world: World) -> None:
    """Its right would be none of the actions' own: a role that holds one back could be got around."""
    world.basics()
    for path in (WORKSPACE, f"{WORKSPACE}/tables/My_CL"):
        assert world.call("POST", path, {}).status_code == 405
    assert world.call("POST", f"{WORKSPACE}/sharedKeys").json()["primarySharedKey"]
