from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Connection
from tests.identity_kit import SUBSCRIPTION, World

from headrace.identity.access import load_access
from headrace.identity.apps import delete_app, set_enabled
from headrace.identity.assignments import (
    Assignment,
    AssignmentFilter,
    assign,
    delete_assignment,
    delete_assignments_under,
    get_assignment,
    list_assignments,
    parse_filter,
    put_assignment,
)
from headrace.identity.roles import (
    BUILT_IN,
    Permission,
    Role,
    find_role,
    role_definition_id,
    role_document,
)
from headrace.identity.scopes import ancestors, scope_key
from headrace.store.database import Database
from headrace.store.feed import FeedClient
from headrace.store.live import LiveView
from headrace.wire.problems import HttpError

GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/web"
RULE = f"{GROUP}/providers/Microsoft.Insights/dataCollectionRules/access"
SEND = "Microsoft.Insights/Telemetry/Write"
PUBLISHER = "3913510d-42f4-4e42-8a64-420c390055eb"


@pytest.fixture
def connection(world: World) -> Iterator[Connection]:
    with world.database.write() as opened:
        yield opened


def test_a_right_somewhere_may_be_a_groups(world: World) -> None:
    _, principal, _ = world.app("sender")
    group = str(uuid4())
    with world.database.write() as connection:
        put(connection, roleDefinitionId=PUBLISHER, principalId=group, principalType="Group")
    world.view.refresh()
    access = world.view.current
    assert access.allows_somewhere(principal, SEND, data=True, groups=(group,))
    assert not access.allows_somewhere(principal, SEND, groups=(group,))
    assert not access.allows_somewhere(principal, SEND, data=True)


def put(connection: Connection, name: str | None = None, scope: str = RULE, **properties: Any) -> Assignment:
    return put_assignment(
        connection, scope=scope, name=name or str(uuid4()), properties=properties, by="tester", now=1
    )[0]


def problem(action: Any) -> tuple[int, str]:
    with pytest.raises(HttpError) as caught:
        action()
    return caught.value.status, caught.value.problem.code


# Roles


@pytest.mark.parametrize(
    ("role", "action", "data", "allowed"),
    [
        ("Monitoring Metrics Publisher", SEND, True, True),
        ("Monitoring Metrics Publisher", SEND.lower(), True, True),
        ("Monitoring Metrics Publisher", SEND, False, False),
        ("Monitoring Metrics Publisher", "Microsoft.Insights/Telemetry/Write/more", True, False),
        ("Monitoring Metrics Publisher", "Microsoft.Support/tickets/write", False, True),
        ("Monitoring Metrics Publisher", "Microsoft.Insights/dataCollectionRules/write", False, False),
        ("Owner", SEND, True, False),
        ("Owner", "Microsoft.Authorization/roleAssignments/write", False, True),
        ("Contributor", SEND, True, False),
        ("Contributor", "Microsoft.Insights/dataCollectionRules/write", False, True),
        ("Contributor", "Microsoft.Authorization/roleAssignments/write", False, False),
        ("Contributor", "microsoft.authorization/roleAssignments/delete", False, False),
        ("Contributor", "Microsoft.Authorization/roleAssignments/read", False, True),
        ("Contributor", "Microsoft.Authorization/applications/write", False, False),
        ("Reader", "Microsoft.OperationalInsights/workspaces/query/read", False, True),
        ("Reader", "Microsoft.Insights/dataCollectionRules/write", False, False),
        ("Reader", "Microsoft.OperationalInsights/workspaces/sharedKeys/action", False, False),
        (
            "Log Analytics Reader",
            "Microsoft.OperationalInsights/workspaces/query/MyTable_CL/read",
            False,
            True,
        ),
        ("Log Analytics Reader", "Microsoft.OperationalInsights/workspaces/sharedKeys/read", False, False),
        ("Log Analytics Contributor", "Microsoft.OperationalInsights/workspaces/tables/write", False, True),
        ("Log Analytics Contributor", "Microsoft.Authorization/roleAssignments/write", False, False),
        ("Monitoring Contributor", "microsoft.insights/datacollectionrules/write", False, True),
        ("Monitoring Contributor", "Microsoft.Insights/dataCollectionEndpoints/delete", False, True),
        ("Monitoring Contributor", "Microsoft.OperationalInsights/workspaces/tables/write", False, False),
        ("Monitoring Reader", "Microsoft.Insights/dataCollectionRules/read", False, True),
        ("Monitoring Reader", "Microsoft.Insights/dataCollectionRules/delete", False, False),
        ("Owner", "x\ny", False, True),
    ],
)
def test_what_a_role_gives(role: str, action: str, data: bool, allowed: bool) -> None:
    found = find_role(role)
    assert found is not None
    assert found.allows(action, data=data) is allowed


def test_patterns_are_wildcards_and_nothing_else() -> None:
    role = Role("id", "name", "", (Permission(("A.b/*/read", "C/(d|e)"), ("A.b/secret/*",)),))
    assert role.allows("a.B/x/y/READ")
    assert not role.allows("AXb/x/read")
    assert not role.allows("A.b/secret/read")
    assert not role.allows("C/d")
    assert not role.allows("prefix A.b/x/read")
    assert not Role("id", "name", "", (Permission(),)).allows("")


def test_roles_are_found_by_name_id_and_resource_id() -> None:
    for role in BUILT_IN.values():
        for text in (role.id, role.id.upper(), role.name.upper(), role_definition_id(role.id, SUBSCRIPTION)):
            assert find_role(text) is role
        document = role_document(role, SUBSCRIPTION)
        assert document["id"].endswith(document["name"])
        assert document["properties"]["type"] == "BuiltInRole"
    assert find_role("No Such Role") is None
    assert find_role("") is None


# Scopes


def test_scopes_are_compared_by_whole_segments_in_any_case() -> None:
    assert scope_key("/Subscriptions//A/") == "/subscriptions/a"
    assert scope_key("subscriptions/a") == "/subscriptions/a"
    assert scope_key("/") == scope_key("") == ""
    assert ancestors("/a/b") == ["/a/b", "/a", ""]


@pytest.mark.parametrize(
    ("scope", "reaches"),
    [
        (RULE, True),
        (RULE.upper() + "/", True),
        (GROUP, True),
        (f"/subscriptions/{SUBSCRIPTION}", True),
        ("/", True),
        (GROUP[:-1], False),
        (RULE[:-1], False),
        (f"{RULE}/extra", False),
        (f"{GROUP}/providers/Microsoft.Insights/dataCollectionEndpoints/access", False),
        (f"{GROUP}2", False),
    ],
)
def test_a_role_counts_at_its_scope_and_below(world: World, scope: str, reaches: bool) -> None:
    _, principal, _ = world.app()
    with world.database.write() as connection:
        put(connection, scope=scope, roleDefinitionId=PUBLISHER, principalId=principal)
    world.view.refresh()
    access = world.view.current
    assert access.allows(principal, SEND, RULE, data=True) is reaches
    assert access.allows(principal, SEND, RULE.upper(), data=True) is reaches
    assert not access.allows(world.first.principal_id, SEND, RULE, data=True)
    assert not access.allows("nobody", SEND, RULE, data=True)


def test_deny_is_the_default_and_rights_end_with_their_assignment(world: World) -> None:
    app_id, principal, _ = world.app()

    def allowed() -> bool:
        world.view.refresh()
        return world.view.current.allows(principal, SEND, RULE, data=True)

    assert not allowed()
    with world.database.write() as connection:
        made = put(connection, roleDefinitionId=PUBLISHER, principalId=principal.upper())
    assert allowed()
    with world.database.write() as connection:
        assert delete_assignment(connection, GROUP, made.name) is None
        assert delete_assignment(connection, RULE, made.name) == made
        assert delete_assignment(connection, RULE, made.name) is None
    assert not allowed()
    with world.database.write() as connection:
        put(connection, scope=GROUP, roleDefinitionId=PUBLISHER, principalId=principal)
        set_enabled(connection, app_id, False)
    assert not allowed()
    with world.database.write() as connection:
        set_enabled(connection, app_id, True)
    assert allowed()
    with world.database.write() as connection:
        delete_app(connection, app_id)
        assert list_assignments(connection, "/", AssignmentFilter(principal_id=principal)) == []
    assert not allowed()


# Assignments


def test_an_assignment_is_shown_as_arm_shows_it(world: World, connection: Connection) -> None:
    name = str(uuid4())
    definition = role_definition_id(PUBLISHER, SUBSCRIPTION)
    made, new = put_assignment(
        connection,
        scope=RULE,
        name=name.upper(),
        properties={
            "roleDefinitionId": definition,
            "principalId": world.first.principal_id,
            "principalType": "ServicePrincipal",
            "description": "sends",
            "condition": None,
            "conditionVersion": None,
        },
        by="tester",
        now=1_700_000_000_000_000,
    )
    assert new
    document = made.document()
    assert document["id"] == f"{RULE}/providers/Microsoft.Authorization/roleAssignments/{name}"
    assert (document["name"], document["type"]) == (name, "Microsoft.Authorization/roleAssignments")
    properties = document["properties"]
    assert properties["roleDefinitionId"] == definition
    assert properties["principalId"] == world.first.principal_id
    assert (properties["principalType"], properties["scope"]) == ("ServicePrincipal", RULE)
    assert (properties["description"], properties["createdBy"]) == ("sends", "tester")
    assert properties["createdOn"] == properties["updatedOn"] == "2023-11-14T22:13:20.000000Z"
    assert get_assignment(connection, RULE.upper(), name) == made
    assert get_assignment(connection, GROUP, name) is None
    assert get_assignment(connection, RULE, "no guid") is None


def test_putting_again_is_the_same_and_changes_only_the_description(
    world: World, connection: Connection
) -> None:
    name = str(uuid4())
    good = {"roleDefinitionId": PUBLISHER, "principalId": world.first.principal_id}
    assert put_assignment(connection, scope=RULE, name=name, properties=good, by="a", now=1)[1]
    again, new = put_assignment(
        connection, scope=RULE.upper(), name=name, properties=good | {"description": "d"}, by="b", now=2
    )
    assert not new
    assert again.document()["properties"]["description"] == "d"
    assert (again.created, again.updated, again.created_by, again.updated_by) == (1, 2, "a", "b")
    for scope, properties in (
        (GROUP, good),
        (RULE, good | {"roleDefinitionId": find_role("Reader").id}),  # type: ignore[union-attr]
        (RULE, good | {"principalId": str(uuid4()), "principalType": "User"}),
    ):
        assert problem(lambda s=scope, p=properties: put(connection, name, s, **p)) == (
            400,
            "RoleAssignmentUpdateNotPermitted",
        )


def test_the_same_assignment_under_another_name_exists_already(world: World, connection: Connection) -> None:
    good = {"roleDefinitionId": PUBLISHER, "principalId": world.first.principal_id}
    made = put(connection, **good)
    with pytest.raises(HttpError) as caught:
        put(connection, scope=RULE.lower(), **good)
    assert (caught.value.status, caught.value.problem.code) == (409, "RoleAssignmentExists")
    assert made.name.replace("-", "") in caught.value.problem.message


def test_principals_must_exist_and_the_other_ids_of_an_app_are_explained(
    world: World, connection: Connection
) -> None:
    unknown = str(uuid4())
    assert problem(lambda: put(connection, roleDefinitionId=PUBLISHER, principalId=unknown)) == (
        400,
        "PrincipalNotFound",
    )
    typed = put(connection, roleDefinitionId=PUBLISHER, principalId=unknown, principalType="User")
    assert typed.principal_type == "User"
    for kind in (None, "ServicePrincipal"):
        with pytest.raises(HttpError) as caught:
            put(connection, roleDefinitionId=PUBLISHER, principalId=world.first.app_id, principalType=kind)
        assert caught.value.problem.code == "PrincipalNotFound"
        assert world.first.principal_id in caught.value.problem.message
    wrong = {"roleDefinitionId": PUBLISHER, "principalId": world.first.principal_id, "principalType": "User"}
    assert problem(lambda: put(connection, **wrong)) == (400, "UnmatchedPrincipalType")


@pytest.mark.parametrize(
    ("name", "properties", "expected"),
    [
        ("not-a-guid", {}, (400, "InvalidRoleAssignmentId")),
        (None, {}, (400, "InvalidRequestContent")),
        (None, {"principalId": None}, (400, "InvalidRequestContent")),
        (None, {"principalId": "me"}, (400, "InvalidRequestContent")),
        (None, {"principalId": ["x"]}, (400, "InvalidRequestContent")),
        (None, {"principalType": "Robot"}, (400, "InvalidRequestContent")),
        (None, {"principalType": {}}, (400, "InvalidRequestContent")),
        (None, {"roleDefinitionId": str(uuid4())}, (404, "RoleDefinitionDoesNotExist")),
        (None, {"roleDefinitionId": "Owner"}, (404, "RoleDefinitionDoesNotExist")),
        (None, {"roleDefinitionId": 7}, (400, "InvalidRequestContent")),
        (None, {"condition": "@Resource[x] StringEquals 'y'"}, (400, "RoleAssignmentConditionNotSupported")),
    ],
)
def test_faults_of_an_assignment(
    world: World, connection: Connection, name: str | None, properties: dict[str, Any], expected: Any
) -> None:
    good = {"roleDefinitionId": PUBLISHER, "principalId": world.first.principal_id}
    sent = {**good, **properties} if properties or name else {}
    assert problem(lambda: put(connection, name, **sent)) == expected
    if not sent:
        odds: tuple[Any, ...] = (None, [], "x")
        for odd in odds:
            with pytest.raises(HttpError):
                put_assignment(connection, scope=RULE, name=str(uuid4()), properties=odd, by="a", now=1)


def test_lists_show_what_counts_at_a_scope(world: World, connection: Connection) -> None:
    first = world.first.principal_id
    other = str(uuid4())
    at = {
        scope: put(connection, scope=scope, roleDefinitionId=PUBLISHER, principalId=first).name
        for scope in (
            "/",
            f"/subscriptions/{SUBSCRIPTION}",
            GROUP,
            RULE,
            GROUP + "_x",
            GROUP.replace("web", "w%"),
        )
    }
    theirs = put(
        connection, scope=GROUP, roleDefinitionId=PUBLISHER, principalId=other, principalType="Group"
    ).name

    def names(scope: str, text: str | None) -> set[str]:
        wanted = parse_filter(text)
        found = {item.name for item in list_assignments(connection, scope, wanted)}
        return found & {*at.values(), theirs}

    subscription = f"/subscriptions/{SUBSCRIPTION}"
    assert names("/", None) == {*at.values(), theirs}
    assert names(GROUP, None) == {at["/"], at[subscription], at[GROUP], at[RULE], theirs}
    assert names(GROUP, "atScope()") == {at["/"], at[subscription], at[GROUP], theirs}
    assert names(GROUP, f"principalId eq '{other.upper()}'") == {theirs}
    assert names(GROUP, f"atScope() and assignedTo('{other}')") == {theirs}
    assert names(RULE, f"assignedTo('{first}') AND atscope()") == {
        at["/"],
        at[subscription],
        at[GROUP],
        at[RULE],
    }
    assert names(GROUP.replace("web", "w%"), None) == {
        at["/"],
        at[subscription],
        at[GROUP.replace("web", "w%")],
    }
    assert parse_filter("  ") == AssignmentFilter()
    for odd in ("roleName eq 'x'", "atScope() or atScope()", "principalId eq x", "'" * 3000):
        assert problem(lambda text=odd: parse_filter(text)) == (400, "UnsupportedQuery")


def test_what_is_deleted_takes_its_assignments_along(world: World, connection: Connection) -> None:
    first = world.first.principal_id
    kept = [
        put(connection, scope=scope, roleDefinitionId=PUBLISHER, principalId=first)
        for scope in (f"{GROUP}2", f"/subscriptions/{SUBSCRIPTION}")
    ]
    for scope in (GROUP, RULE):
        put(connection, scope=scope, roleDefinitionId=PUBLISHER, principalId=first)
    assert delete_assignments_under(connection, GROUP.upper()) == 2
    assert delete_assignments_under(connection, GROUP) == 0
    for assignment in kept:
        assert get_assignment(connection, assignment.scope, assignment.name) == assignment
    with pytest.raises(ValueError, match="root"):
        delete_assignments_under(connection, "/")


def test_assign_by_name_is_idempotent(world: World, connection: Connection) -> None:
    wanted = {"scope": GROUP, "principal_id": world.first.principal_id, "by": "a", "now": 1}
    made = assign(connection, role="monitoring metrics publisher", **wanted)  # type: ignore[arg-type]
    assert assign(connection, role=PUBLISHER, **wanted) == made  # type: ignore[arg-type]
    assert problem(lambda: assign(connection, role="Emperor", **wanted)) == (  # type: ignore[arg-type]
        404,
        "RoleDefinitionDoesNotExist",
    )
    assert load_access(connection, 0).allows(world.first.principal_id, SEND, RULE, data=True)


def test_a_revocation_reaches_a_gateway_although_the_engine_died_right_after_it(
    world: World, tmp_path: Path
) -> None:
    _, principal, _ = world.app()
    with world.database.write() as connection:
        made = put(connection, roleDefinitionId=PUBLISHER, principalId=principal)
    engine = """
import os, signal, sys
from pathlib import Path
from headrace.identity.assignments import delete_assignment
from headrace.store.database import Database
database = Database.open(Path(sys.argv[1]))
with database.write() as connection:
    assert delete_assignment(connection, sys.argv[2], sys.argv[3])
os.kill(os.getpid(), signal.SIGKILL)
"""

    async def gateway() -> None:
        reader = Database.open(tmp_path / "store.db", read_only=True)
        view = LiveView(reader, load_access)
        following = asyncio.create_task(FeedClient(tmp_path / "feed.sock", view.refresh).run())
        assert view.current.allows(principal, SEND, RULE, data=True)
        arguments = (sys.executable, "-c", engine, str(tmp_path / "store.db"), RULE, made.name)
        died = await asyncio.create_subprocess_exec(*arguments)
        assert await died.wait() == -signal.SIGKILL
        async with asyncio.timeout(20):
            while view.current.allows(principal, SEND, RULE, data=True):
                await asyncio.sleep(0.01)
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following
        reader.close()

    asyncio.run(gateway())
