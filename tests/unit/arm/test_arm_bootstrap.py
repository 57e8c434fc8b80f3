"""The sample of a first start, and the store's views of it."""

from __future__ import annotations

import re

from tests.unit.arm.conftest import SUBSCRIPTION, MakeSample, World

from headrace.arm import store
from headrace.arm.bootstrap import STREAM, TABLE
from headrace.arm.views import RuleHeadLoader, load_catalog, load_rule
from headrace.identity.access import load_access
from headrace.kql.types import KustoType


def test_the_sample_is_ready_to_use(world: World, make_sample: MakeSample) -> None:
    sample = make_sample()
    assert re.fullmatch(r"dcr-[0-9a-f]{32}", sample.dcr_immutable_id)
    with world.database.read() as connection:
        catalog = load_catalog(connection, 1)
        head = RuleHeadLoader()(connection, 1)[sample.dcr_immutable_id]
        rule = load_rule(connection, sample.dcr_immutable_id, head.version)
        access = load_access(connection, 1)
    table = catalog.workspaces[sample.workspace_id].tables[TABLE]
    assert {column.name: column.type for column in table.schema.columns}[
        "TimeGenerated"
    ] is KustoType.DATETIME
    assert (head.streams, head.kind, head.location) == ((STREAM,), "Direct", sample.location)
    flow = rule.flows[0]
    assert (flow.table, catalog.by_resource_id[flow.workspaces[0]].customer_id) == (
        TABLE,
        sample.workspace_id,
    )
    principal = world.first.principal_id
    assert access.allows(principal, "Microsoft.Insights/Telemetry/Write", sample.rule_id, data=True)
    assert world.validated[0][0].immutable_id == "dcr-" + "0" * 32
    assert world.get(sample.rule_id)["properties"]["endpoints"]["logsIngestion"] == "https://localhost:8443"


def test_a_second_start_finds_the_sample_as_it_is(world: World, make_sample: MakeSample) -> None:
    first = make_sample()
    change = world.database.change()
    assert make_sample() == first
    assert world.database.change() == change


def test_a_sample_deleted_in_part_is_completed(world: World, make_sample: MakeSample) -> None:
    first = make_sample()
    world.call("DELETE", first.rule_id)
    second = make_sample()
    assert second.workspace_id == first.workspace_id
    assert second.dcr_immutable_id != first.dcr_immutable_id


def test_the_owner_of_the_subscription_manages_the_sample(world: World, make_sample: MakeSample) -> None:
    sample = make_sample()
    listed = world.get(f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Insights/dataCollectionRules")
    assert [item["id"] for item in listed["value"]] == [sample.rule_id]


def test_old_rule_versions_are_forgotten_when_told(world: World, make_sample: MakeSample) -> None:
    sample = make_sample()
    document = world.get(sample.rule_id)
    for text in ("one", "two"):
        document["properties"]["description"] = text
        world.put(sample.rule_id, document)
    with world.database.write() as connection:
        assert store.prune_rule_versions(connection, sample.dcr_immutable_id, 9) == 2
        assert store.rule_document(connection, sample.dcr_immutable_id, 1) is None
        assert store.rule_document(connection, sample.dcr_immutable_id, 3) is not None
