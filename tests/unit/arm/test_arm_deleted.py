"""Deleted workspaces: what stays, what is recovered, and what is gone for good."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.tables_kit import Bench, make_table
from tests.unit.arm.conftest import GROUP, RULE, SUBSCRIPTION, WORKSPACE, World, rule_body, table_body

from headrace.app.deleted import DeletedData
from headrace.arm import store
from headrace.arm.kinds.deleted import RECOVERABLE
from headrace.arm.views import CatalogLoader, RuleHeadLoader, load_catalog, load_rule, load_shared_keys
from headrace.clock import DAY
from headrace.observe.metrics import render
from headrace.tables.model import TableDroppedError

DELETED = "providers/Microsoft.OperationalInsights/deletedWorkspaces"
SEARCH = f"{WORKSPACE}/savedSearches/mine"


def start(world: World) -> str:
    world.basics()
    world.put(
        SEARCH, {"properties": {"category": "c", "displayName": "d", "query": "My_CL", "functionAlias": "F"}}
    )
    world.put(WORKSPACE, {"location": "eastus", "tags": {"a": "b"}, "properties": {"retentionInDays": 90}})
    customer_id: str = world.get(WORKSPACE)["properties"]["customerId"]
    return customer_id


def dropped(world: World) -> set[str]:
    with world.database.read() as connection:
        return {name for _, name, _ in store.deleted_tables(connection)}


def catalog(world: World) -> Any:
    with world.database.read() as connection:
        return CatalogLoader()(connection, 0)


def test_nothing_can_be_changed_of_what_recovers_a_workspace(world: World) -> None:
    customer_id = start(world)
    world.call("DELETE", WORKSPACE)
    world.clock.advance(DAY)
    record = f"/subscriptions/{SUBSCRIPTION}/{DELETED}/{customer_id}"
    for path in (record, record.lower()):
        tags = f"{path}/providers/Microsoft.Resources/tags/default"
        answer = world.call("PUT", tags, {"properties": {"tags": {"a": "b"}}})
        assert answer.status_code == 404, answer.text
    assert dropped(world) == set()
    assert world.put(WORKSPACE, {"location": "eastus"})["properties"]["customerId"] == customer_id
    assert "My_CL" in catalog(world).workspaces[customer_id].tables.stored


def test_a_deleted_workspace_leaves_the_rules_and_can_be_recovered(world: World) -> None:
    customer_id = start(world)
    immutable_id = world.put(RULE, rule_body())["properties"]["immutableId"]
    incarnation = catalog(world).workspaces[customer_id].tables["My_CL"].incarnation
    keys = world.call("POST", f"{WORKSPACE}/sharedKeys").json()
    reader = world.other_app(("Reader", WORKSPACE))
    assert world.call("DELETE", WORKSPACE).status_code == 200
    assert world.call("DELETE", WORKSPACE).status_code == 204
    assert world.call("GET", WORKSPACE).status_code == 404
    assert world.call("GET", f"{WORKSPACE}/tables/My_CL").status_code == 404
    assert world.get(RULE)["properties"]["immutableId"] == immutable_id
    with world.database.read() as connection:
        assert immutable_id in RuleHeadLoader()(connection, 0)
        assert load_catalog(connection, 0).workspaces == {}
        assert load_rule(connection, immutable_id, 1).flows[0].table == "My_CL"
        assert load_shared_keys(connection, 0) == {}
    assert catalog(world).recoverable == {customer_id}
    assert dropped(world) == set()
    for scope in (GROUP, f"/subscriptions/{SUBSCRIPTION}"):
        (listed,) = world.get(f"{scope}/{DELETED}")["value"]
        assert (listed["id"], listed["name"], listed["location"]) == (WORKSPACE, "work1", "eastus")
        assert listed["properties"]["customerId"] == customer_id
    assert "work1" not in {item["name"] for item in world.get(f"{GROUP}/resources")["value"]}

    again = world.put(WORKSPACE, {"location": "eastus"})
    assert again["properties"]["customerId"] == customer_id
    assert (again["properties"]["retentionInDays"], again["tags"]) == (90, {"a": "b"})
    assert world.get(SEARCH)["properties"]["functionAlias"] == "F"
    found = catalog(world)
    assert found.workspaces[customer_id].tables["My_CL"].incarnation == incarnation
    assert (dict(found.workspaces[customer_id].functions), found.recoverable) == (
        {"F": "() {\nMy_CL\n}"},
        frozenset(),
    )
    assert world.get(f"{WORKSPACE}/tables/My_CL")["properties"]["provisioningState"] == "Succeeded"
    assert world.get(f"{GROUP}/{DELETED}") == {"value": []}
    assert world.call("POST", f"{WORKSPACE}/sharedKeys").json() == keys
    # Roles are to be given again.
    assert world.call("GET", WORKSPACE, token=reader).status_code == 403


def test_a_table_that_was_deleted_before_stays_deleted(world: World) -> None:
    customer_id = start(world)
    world.put(f"{WORKSPACE}/tables/Old_CL", table_body(name="Old_CL"))
    assert world.call("DELETE", f"{WORKSPACE}/tables/Old_CL").status_code == 200
    world.clock.advance(DAY)
    world.call("DELETE", WORKSPACE)
    assert dropped(world) == {"Old_CL"}
    world.put(WORKSPACE, {"location": "eastus"})
    assert world.call("GET", f"{WORKSPACE}/tables/Old_CL").status_code == 404
    assert "Old_CL" not in catalog(world).workspaces[customer_id].tables


def test_force_leaves_nothing_to_recover(world: World) -> None:
    customer_id = start(world)
    world.call("POST", f"{WORKSPACE}/sharedKeys")
    assert world.call("DELETE", f"{WORKSPACE}?force=True").status_code == 200
    assert world.get(f"{GROUP}/{DELETED}") == {"value": []}
    assert dropped(world) == {"My_CL"}
    assert world.put(WORKSPACE, {"location": "eastus"})["properties"]["customerId"] != customer_id
    assert world.call("GET", SEARCH).status_code == 404


def test_after_fourteen_days_it_is_another_workspace(world: World) -> None:
    customer_id = start(world)
    world.call("POST", f"{WORKSPACE}/sharedKeys")
    world.call("DELETE", WORKSPACE)
    world.clock.advance(RECOVERABLE)
    assert world.put(WORKSPACE, {"location": "eastus"})["properties"]["customerId"] != customer_id
    assert dropped(world) == set()
    with world.database.write() as connection:
        assert store.purge_workspaces(connection, world.clock.now() - RECOVERABLE) == 0
        assert store.purge_workspaces(connection, world.clock.now() - RECOVERABLE + 1) == 1
        assert store.find_shared_keys(connection, customer_id) is None
    assert dropped(world) == {"My_CL"}


@pytest.mark.parametrize("location", ["westus", None])
def test_it_is_recovered_where_it_was(world: World, location: str | None) -> None:
    customer_id = start(world)
    world.call("DELETE", WORKSPACE)
    body = {"location": location} if location else {}
    answer = world.call("PUT", WORKSPACE, body)
    if location:
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "InvalidResourceLocation")
        assert world.get(f"{GROUP}/{DELETED}")["value"]
    else:
        assert answer.json()["properties"]["customerId"] == customer_id


def test_the_files_that_wait_for_the_purge_are_told(world: World, tmp_path: Path) -> None:
    customer_id = start(world)
    table = catalog(world).workspaces[customer_id].tables["My_CL"]
    with Bench(tmp_path / "tables", table=make_table(workspace=customer_id), clock=world.clock) as bench:
        key = replace(table, schemas=bench.table.schemas)
        size = sum(bench.publish(offset, table=key).bytes for offset in range(2))
        bench.publish(0)
        bench.store.commit_due(everything=True)
        deleted = DeletedData(world.database, bench.store, world.clock)
        assert told(deleted) is None
        deleted.look()
        assert told(deleted) == (0, 0)
        world.call("DELETE", WORKSPACE)
        deleted.look()
        found = told(deleted)
        assert found is not None
        assert found[0] == 1
        assert found[1] == sum(path.stat().st_size for path in bench.root.rglob("*") if path.is_file())
        assert found[1] > size
        (bench.folder / "more").write_bytes(bytes(100))
        world.clock.advance(RECOVERABLE)
        deleted.look()
        assert told(deleted) == (1, found[1] + 100)
        world.clock.advance(1)
        deleted.look()
        assert told(deleted) == (0, 0)
        with pytest.raises(TableDroppedError):
            bench.store.new_file(key)
        bench.store.new_file(bench.table)


def told(deleted: DeletedData) -> tuple[float, float] | None:
    """The numbers of the deleted workspaces and of their bytes, as Prometheus gets them; None before there are any."""
    names = ("headrace_deleted_workspaces", "headrace_deleted_workspace_bytes")
    text = render([deleted.snapshot()])[0].decode()
    values = [re.search(rf"^{name} (\S+)$", text, re.MULTILINE) for name in names]
    numbers = [float(found[1]) for found in values if found is not None]
    return (numbers[0], numbers[1]) if numbers else None


def test_a_group_goes_with_its_workspaces_and_they_come_back(world: World) -> None:
    customer_id = start(world)
    world.put(f"{GROUP}x", {"location": "eastus"})
    elsewhere = RULE.replace(GROUP, f"{GROUP}x")
    world.put(elsewhere, rule_body())
    assert world.call("DELETE", GROUP).status_code == 200
    assert world.get(elsewhere)["properties"]["provisioningState"] == "Succeeded"
    world.put(GROUP, {"location": "eastus"})
    assert world.call("GET", WORKSPACE).status_code == 404
    assert world.put(WORKSPACE, {"location": "eastus"})["properties"]["customerId"] == customer_id
    assert world.get(SEARCH)["properties"]["displayName"] == "d"
