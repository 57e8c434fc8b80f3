"""Data collection rules over HTTP: documents, versions, validation, endpoints, associations."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.arm.conftest import BASE, ENDPOINT, GROUP, RULE, WORKSPACE, World, rule_body, table_body

from headrace.arm.views import RuleHeadLoader, load_catalog, load_rule
from headrace.catalog import standard
from headrace.errors import Problem


def heads(world: World) -> Any:
    with world.database.read() as connection:
        return RuleHeadLoader()(connection, 7)


def test_a_rule_keeps_its_immutable_id_and_unknown_properties(world: World) -> None:
    world.basics()
    body = rule_body(dataSources={"newThing": [{"a": [1, {"b": None}]}]}, agentSettings={"logs": []})
    body["tags"] = {"k": "v"}
    first = world.call("PUT", RULE, body)
    assert first.status_code == 201
    made = first.json()
    assert made["type"] == "Microsoft.Insights/dataCollectionRules"
    assert made["properties"]["dataSources"] == {"newThing": [{"a": [1, {"b": None}]}]}
    assert made["properties"]["provisioningState"] == "Succeeded"
    customer_id = world.get(WORKSPACE)["properties"]["customerId"]
    assert made["properties"]["destinations"]["logAnalytics"][0]["workspaceId"] == customer_id
    # What was read can be put back as it is.
    again = world.call("PUT", RULE, made)
    assert again.status_code == 200
    assert again.json()["properties"] == made["properties"]
    assert len(made["properties"]["immutableId"]) == 36


def test_a_change_makes_a_version_and_tags_do_not(world: World) -> None:
    world.basics()
    immutable_id = world.put(RULE, rule_body())["properties"]["immutableId"]
    head = heads(world)[immutable_id]
    assert (head.version, head.streams, head.resource_id) == (1, ("Custom-My",), RULE.lower())
    world.call("PATCH", RULE, {"tags": {"a": "b"}})
    world.put(RULE, {**rule_body(), "tags": {"a": "c"}})
    assert heads(world)[immutable_id].version == 1
    other = rule_body()
    other["properties"]["dataFlows"][0]["transformKql"] = "source"
    world.put(RULE, other)
    assert heads(world)[immutable_id].version == 2
    with world.database.read() as connection:
        assert (
            load_rule(connection, immutable_id.upper(), 1).flows[0].transform.startswith("source | project")
        )
        assert load_rule(connection, immutable_id, 2).flows[0].transform == "source"
        with pytest.raises(KeyError):
            load_rule(connection, immutable_id, 3)


def test_the_loader_reads_a_version_once(world: World) -> None:
    world.basics()
    immutable_id = world.put(RULE, rule_body())["properties"]["immutableId"]
    loader = RuleHeadLoader()
    with world.database.read() as connection:
        first = loader(connection, 1)
        assert loader(connection, 2)[immutable_id] is first[immutable_id]
    world.put(RULE, rule_body(description="another"))
    with world.database.read() as connection:
        second = loader(connection, 3)
        assert second == RuleHeadLoader()(connection, 3)
    assert (first[immutable_id].version, second[immutable_id].version) == (1, 2)
    world.call("DELETE", RULE)
    with world.database.read() as connection:
        assert loader(connection, 4) == {}


def test_a_deleted_rule_made_again_is_another(world: World) -> None:
    world.basics()
    first = world.put(RULE, rule_body())["properties"]["immutableId"]
    assert world.call("DELETE", RULE).status_code == 200
    assert world.call("DELETE", RULE).status_code == 204
    second = world.put(RULE, rule_body())["properties"]["immutableId"]
    assert first != second
    assert list(heads(world)) == [second]


def test_direct_endpoints_show_from_the_version_that_has_them(world: World) -> None:
    world.basics()
    made = world.put(RULE, {**rule_body(), "kind": " Direct"}, version="2023-03-11")
    assert made["kind"] == "Direct"
    assert made["properties"]["endpoints"] == {"logsIngestion": BASE}
    assert "endpoints" not in world.get(RULE, version="2022-06-01")["properties"]
    assert "endpoints" in world.get(RULE, version="2024-03-11")["properties"]
    plain = RULE.replace("dcr1", "dcr2")
    world.put(plain, rule_body())
    # They are made with the rule and never added later.
    assert "endpoints" not in world.put(plain, {**rule_body(), "kind": "Direct"})["properties"]


def test_a_rule_of_workspace_transforms_is_checked_and_kept_and_takes_nothing(world: World) -> None:
    world.basics()
    flow = {
        "streams": ["Microsoft-Table-Event"],
        "destinations": ["la"],
        "transformKql": "source | where true",
    }
    body = {
        **rule_body(streamDeclarations=None, dataSources={}, dataFlows=[flow]),
        "kind": "WorkspaceTransforms",
    }
    made = world.put(RULE, body)
    assert (made["kind"], made["properties"]["dataFlows"]) == ("WorkspaceTransforms", [flow])
    checked, _ = world.validated[-1]
    assert [(one.table, one.transform) for one in checked.flows] == [("Event", "source | where true")]
    assert heads(world)[made["properties"]["immutableId"]].streams == ()
    world.faults.append(Problem("InvalidTransformQuery", "No.", "properties.dataFlows[0]"))
    assert world.call("PUT", RULE, body).status_code == 400


def test_structural_problems_are_all_named_at_once(world: World) -> None:
    world.basics()
    body = rule_body(
        streamDeclarations={"myTable": {"columns": [{"name": "a", "type": "string"}]}},
        dataFlows=[{"streams": ["Custom-Gone"], "destinations": ["nowhere"], "outputStream": "My_CL"}],
    )
    answer = world.call("PUT", RULE, body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["message"]) == ("InvalidPayload", "Data collection rule is invalid")
    found = {(detail["code"], detail["target"]) for detail in error["details"]}
    assert found == {
        ("InvalidStream", "properties.streamDeclarations.myTable"),
        ("InvalidStream", "properties.dataFlows[0].streams[0]"),
        ("InvalidDataFlow", "properties.dataFlows[0].destinations[0]"),
    }
    assert world.call("GET", RULE).status_code == 404
    assert world.validated == []


def test_what_the_validation_finds_is_answered_in_details(world: World) -> None:
    world.basics()
    world.faults.append(Problem("InvalidTransformQuery", "no such column", "properties.dataFlows[0]"))
    answer = world.call("PUT", RULE, rule_body())
    assert answer.status_code == 400
    assert answer.json()["error"]["details"] == [
        {"code": "InvalidTransformQuery", "message": "no such column", "target": "properties.dataFlows[0]"}
    ]
    rule, catalog = world.validated[0]
    assert catalog.by_resource_id[rule.flows[0].workspaces[0]].tables["My_CL"].name == "My_CL"
    assert heads(world) == {}


def test_a_faulty_change_leaves_the_rule_as_it_was(world: World) -> None:
    world.basics()
    immutable_id = world.put(RULE, rule_body())["properties"]["immutableId"]
    bad = rule_body(dataFlows=[{"streams": ["Custom-Gone"], "destinations": ["la"]}])
    assert world.call("PUT", RULE, bad).status_code == 400
    assert heads(world)[immutable_id].version == 1
    assert world.get(RULE)["properties"]["dataFlows"][0]["streams"] == ["Custom-My"]


def test_an_unknown_workspace_is_an_unknown_output_table(world: World) -> None:
    world.put(GROUP, {"location": "eastus"})
    details = world.call("PUT", RULE, rule_body()).json()["error"]["details"]
    assert details[0]["code"] == "InvalidOutputTable"
    assert details[0]["message"].startswith(
        "Table for output stream 'Custom-My_CL' is not available for destination 'la'."
    )
    assert details[0]["target"] == "properties.dataFlows[0]"


def test_a_rule_and_its_workspace_are_in_one_location(world: World) -> None:
    world.basics()
    details = world.call("PUT", RULE, {**rule_body(), "location": "westus"}).json()["error"]["details"]
    assert details[0]["code"] == "InvalidDestination"


def test_the_endpoint_of_a_rule_must_exist(world: World) -> None:
    world.basics()
    answer = world.call("PUT", RULE, rule_body(dataCollectionEndpointId=ENDPOINT))
    assert answer.json()["error"]["details"][0]["target"] == "properties.dataCollectionEndpointId"
    world.put(ENDPOINT, {"location": "eastus"})
    world.put(RULE, rule_body(dataCollectionEndpointId=ENDPOINT.upper()))
    elsewhere = f"{ENDPOINT}-west"
    world.put(elsewhere, {"location": "westus"})
    refused = world.call("PUT", RULE, rule_body(dataCollectionEndpointId=elsewhere)).json()["error"]
    assert "is in location 'westus', the data collection rule in 'eastus'" in refused["details"][0]["message"]


def test_validate_only_checks_and_stores_nothing(world: World) -> None:
    world.basics()
    answer = world.call("PUT", f"{RULE}?validateOnly=true", rule_body())
    assert answer.status_code == 200
    customer_id = world.get(WORKSPACE)["properties"]["customerId"]
    assert answer.json()["properties"]["destinations"]["logAnalytics"][0]["workspaceId"] == customer_id
    assert world.call("GET", RULE).status_code == 404
    made = world.put(RULE, rule_body())
    before = world.database.change()
    direct = world.call("PUT", f"{RULE}?validateOnly=true", {**rule_body(), "kind": " direct"}).json()
    assert (direct["kind"], "endpoints" in direct["properties"]) == ("Direct", False)
    assert direct["properties"]["immutableId"] == made["properties"]["immutableId"]
    assert (world.database.change(), world.get(RULE)) == (before, made)
    world.faults.append(Problem("InvalidTransformQuery", "bad", "properties.dataFlows[0]"))
    assert world.call("PUT", f"{RULE}?validateOnly=true", rule_body()).status_code == 400


def test_a_rule_for_a_standard_table_gives_it_a_place_in_the_store(world: World) -> None:
    world.basics()
    flow = {
        "streams": ["Custom-My"],
        "destinations": ["la"],
        "transformKql": "source | project TimeGenerated = Time",
        "outputStream": "Microsoft-CommonSecurityLog",
    }
    customer_id = world.get(WORKSPACE)["properties"]["customerId"]

    def workspace() -> Any:
        with world.database.read() as connection:
            return load_catalog(connection, 0).workspaces[customer_id]

    before = workspace().tables["CommonSecurityLog"]
    assert set(workspace().tables.stored) == {"My_CL"}
    world.put(RULE, rule_body(dataFlows=[flow]))
    after = workspace()
    assert set(after.tables.stored) == {"My_CL", "CommonSecurityLog"}
    assert after.tables["CommonSecurityLog"] == before
    assert before.incarnation == standard.incarnation(customer_id, "CommonSecurityLog")


def test_a_standard_table_without_direct_ingestion_is_no_output_table(world: World) -> None:
    world.basics()
    flow = {"streams": ["Custom-My"], "destinations": ["la"], "outputStream": "Microsoft-Heartbeat"}
    detail = world.call("PUT", RULE, rule_body(dataFlows=[flow])).json()["error"]["details"][0]
    assert detail["code"] == "InvalidOutputTable"
    assert "does not take direct ingestion" in detail["message"]
    # An agent's own stream goes to its own table.
    world.put(RULE, rule_body(dataFlows=[{"streams": ["Microsoft-Heartbeat"], "destinations": ["la"]}]))


def test_patch_of_a_rule_takes_tags_and_identity_only(world: World) -> None:
    world.basics()
    world.put(RULE, rule_body())
    assert world.call("PATCH", RULE, {"tags": {"x": "y"}}).json()["tags"] == {"x": "y"}
    refused = world.call("PATCH", RULE, {"properties": {}})
    assert (refused.status_code, refused.json()["error"]["target"]) == (400, "properties")


def test_pointing_a_rule_at_a_workspace_takes_a_right_there(world: World) -> None:
    world.basics()
    other = f"/subscriptions/{GROUP.split('/')[2]}/resourceGroups/rg2"
    world.put(other, {"location": "eastus"})
    token = world.other_app(("Contributor", other))
    rule = RULE.replace("/rg1/", "/rg2/")
    refused = world.call("PUT", rule, rule_body(), token=token)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "LinkedAuthorizationFailed")
    allowed = world.other_app(("Contributor", other), ("Log Analytics Contributor", WORKSPACE))
    world.put(rule, rule_body(), token=allowed)


def test_associations_come_and_go_and_hold_a_rule(world: World) -> None:
    world.basics()
    world.put(RULE, rule_body())
    machine = f"{GROUP}/providers/Microsoft.Compute/virtualMachines/vm1"
    path = f"{machine}/providers/Microsoft.Insights/dataCollectionRuleAssociations/link"
    assert world.call("PUT", path, {"properties": {"dataCollectionRuleId": RULE}}).status_code == 201
    assert world.call("PUT", path, {"properties": {"dataCollectionRuleId": RULE}}).status_code == 200
    listed = world.get(f"{RULE}/associations")["value"]
    assert [item["name"] for item in listed] == ["link"]
    assert world.get(path.rpartition("/")[0])["value"] == listed
    assert world.call("PUT", path, {"properties": {}}).status_code == 400
    assert world.call("DELETE", RULE).status_code == 409
    assert world.call("DELETE", f"{RULE}?deleteAssociations=true").status_code == 200
    assert world.call("GET", path).status_code == 404
    assert world.call("DELETE", path).status_code == 204


def test_validation_happens_again_when_the_store_moved_meanwhile(world: World) -> None:
    world.basics()
    validate = world.deps.validate

    def slow(rule: Any, catalog: Any) -> tuple[Problem, ...]:
        if not world.validated:
            # Somebody else's write comes between the check and the write of this rule.
            with world.database.write():
                pass
        return validate(rule, catalog)

    object.__setattr__(world.deps, "validate", slow)
    world.put(RULE, rule_body())
    assert len(world.validated) == 2
    world.put(RULE, rule_body())
    assert len(world.validated) == 3


def test_two_workspaces_keep_tables_of_one_name_apart(world: World) -> None:
    world.basics()
    second = WORKSPACE.replace("work1", "work2")
    world.put(second, {"location": "eastus"})
    world.put(f"{second}/tables/My_CL", table_body())
    with world.database.read() as connection:
        catalog = load_catalog(connection, 3)
    tables = [workspace.tables["My_CL"] for workspace in catalog.workspaces.values()]
    assert catalog.change == 3
    assert len({(table.workspace, table.incarnation) for table in tables}) == 2
    assert set(catalog.by_resource_id) == {WORKSPACE.lower(), second.lower()}
