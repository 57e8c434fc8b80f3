"""The tables API over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.arm.conftest import COLUMNS, WORKSPACE, World, table_body

from headrace.arm.views import CatalogLoader, load_catalog
from headrace.catalog import standard
from headrace.kql.types import KustoType

TABLE = f"{WORKSPACE}/tables/My_CL"
SYSLOG = f"{WORKSPACE}/tables/Syslog"


def names(body: Any) -> list[str]:
    return [column["name"] for column in body["properties"]["schema"]["columns"]]


def test_a_custom_table_as_the_portal_would_show_it(world: World) -> None:
    world.basics()
    answer = world.call(
        "PUT",
        f"{WORKSPACE}/tables/New_CL",
        {
            "properties": {
                "schema": {
                    "name": "New_CL",
                    "description": "mine",
                    "columns": [
                        {"name": "TimeGenerated", "type": "DateTime"},
                        {"name": "Count", "type": "LONG", "description": "how many", "dataTypeHint": "ip"},
                        {"name": "Ok", "type": "bool"},
                    ],
                }
            }
        },
        version="2022-10-01",
    )
    assert answer.status_code == 200
    body = answer.json()
    assert body["id"] == f"{WORKSPACE}/tables/New_CL"
    assert body["type"] == "Microsoft.OperationalInsights/workspaces/tables"
    properties = body["properties"]
    assert properties["provisioningState"] == "Succeeded"
    assert (properties["plan"], properties["retentionInDays"], properties["totalRetentionInDays"]) == (
        "Analytics",
        30,
        30,
    )
    assert properties["retentionInDaysAsDefault"] is True
    schema = properties["schema"]
    assert (schema["tableType"], schema["tableSubType"]) == ("CustomLog", "DataCollectionRuleBased")
    assert schema["description"] == "mine"
    assert [(c["name"], c["type"]) for c in schema["columns"]] == [
        ("TimeGenerated", "dateTime"),
        ("Count", "long"),
        ("Ok", "boolean"),
    ]
    assert schema["columns"][1]["dataTypeHint"] == "ip"
    assert "TenantId" in [column["name"] for column in schema["standardColumns"]]
    # What was read can be put back as it is.
    again = world.put(f"{WORKSPACE}/tables/New_CL", body)["properties"]
    assert again["schema"] == properties["schema"]
    assert again["retentionInDaysAsDefault"] is False


def test_put_replaces_columns_and_patch_adds_them(world: World) -> None:
    world.basics()
    world.put(TABLE, table_body(("A1", "int"), ("B1", "string")))
    assert names(world.put(TABLE, table_body(("B1", "string")))) == ["TimeGenerated", "Message", "B1"]
    patched = world.call(
        "PATCH", TABLE, {"properties": {"schema": {"columns": [{"name": "C1", "type": "real"}]}}}
    )
    assert names(patched.json()) == ["TimeGenerated", "Message", "B1", "C1"]
    kept = world.put(TABLE, {"properties": {"retentionInDays": 90}})
    assert names(kept) == ["TimeGenerated", "Message", "B1", "C1"]


def test_a_column_made_again_gets_another_id_and_place_in_files(world: World) -> None:
    world.basics()
    world.put(TABLE, table_body(("A1", "int")))
    world.put(TABLE, table_body())
    world.put(TABLE, table_body(("A1", "int"), ("a1", "string")))
    with world.database.read() as connection:
        workspace = next(iter(load_catalog(connection, 0).workspaces.values()))
    table = workspace.tables["My_CL"]
    assert [schema.version for schema in table.schemas] == [1, 2, 3, 4]
    old = {column.name: column for column in table.schemas[1].columns}
    new = {column.name: column for column in table.schema.columns}
    assert (old["A1"].physical, new["A1"].physical, new["a1"].physical) == ("A1", "A1__2", "a1__3")
    assert len({column.id for column in (old["A1"], new["A1"], new["a1"])}) == 3
    assert old["Message"] == new["Message"]


def test_types_stay(world: World) -> None:
    world.basics()
    for body in (table_body(("A1", "int")), table_body()):
        world.put(TABLE, body)
    refused = world.call("PUT", TABLE, table_body(("A1", "string")))
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "InvalidParameter")
    assert "A1" in refused.json()["error"]["message"]


def test_time_generated_is_mandatory(world: World) -> None:
    world.basics()
    for columns in ([], [{"name": "Message", "type": "string"}]):
        answer = world.call(
            "PUT", f"{WORKSPACE}/tables/Other_CL", {"properties": {"schema": {"columns": columns}}}
        )
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (400, "SchemaUpdateFatalError")
        assert "MSG 1005: Table missing mandatory 'TimeGenerated' column" in error["message"]
    wrong = {"properties": {"schema": {"columns": [{"name": "TimeGenerated", "type": "string"}]}}}
    assert "Type: DateTime" in world.call("PUT", TABLE, wrong).json()["error"]["message"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("NoSuffix", "_CL"),
        ("1st_CL", "letter"),
        ("My-Table_CL", "letters"),
        ("A" * 120 + "_CL", "at most"),
    ],
)
def test_table_names_outside_the_rule_are_refused(world: World, name: str, why: str) -> None:
    world.basics()
    answer = world.call("PUT", f"{WORKSPACE}/tables/{name}", table_body())
    assert answer.status_code == 400
    assert why in answer.json()["error"]["message"]


def test_the_name_in_the_schema_is_the_one_in_the_address(world: World) -> None:
    world.basics()
    body = table_body()
    body["properties"]["schema"]["name"] = "my_CL"
    assert world.call("PUT", TABLE, body).json()["error"]["target"] == "properties.schema.name"


def test_table_names_are_case_sensitive(world: World) -> None:
    world.basics()
    assert world.call("GET", f"{WORKSPACE}/tables/my_CL").status_code == 404
    world.put(f"{WORKSPACE}/tables/my_CL", table_body(("Extra", "int")))
    assert names(world.get(TABLE)) == ["TimeGenerated", "Message"]
    assert names(world.get(f"{WORKSPACE.upper()}/TABLES/my_CL")) == ["TimeGenerated", "Message", "Extra"]


def test_retention_and_plan(world: World) -> None:
    world.basics()
    made = world.put(TABLE, table_body(retentionInDays=60, totalRetentionInDays=1095))["properties"]
    assert (made["retentionInDays"], made["totalRetentionInDays"], made["archiveRetentionInDays"]) == (
        60,
        1095,
        1035,
    )
    assert made["retentionInDaysAsDefault"] is False
    patched = world.call("PATCH", TABLE, {"properties": {"retentionInDays": -1}}).json()["properties"]
    assert (patched["retentionInDays"], patched["totalRetentionInDays"]) == (30, 1095)
    reset = world.put(TABLE, table_body())["properties"]
    assert (reset["retentionInDays"], reset["totalRetentionInDays"]) == (30, 30)
    basic = world.call("PATCH", TABLE, {"properties": {"plan": "Basic"}}).json()["properties"]
    assert basic["plan"] == "Basic"
    assert basic["lastPlanModifiedDate"].startswith("20")
    for bad in (
        {"retentionInDays": 3},
        {"retentionInDays": 1095},
        {"totalRetentionInDays": 800},
        {"plan": "Gold"},
        {"plan": "Auxiliary"},
        {"retentionInDays": "30"},
        {"retentionInDays": True},
        {"searchResults": {"query": "My_CL"}},
        {"restoredLogs": {"sourceTable": "My_CL"}},
        {"schema": {"columns": [{"name": "Where", "type": "string", "dataTypeHint": "place"}]}},
    ):
        assert world.call("PATCH", TABLE, {"properties": bad}).status_code == 400, bad
    world.call("PATCH", WORKSPACE, {"properties": {"retentionInDays": 45}})
    assert world.get(TABLE)["properties"]["retentionInDays"] == 30, "the plan's own"
    back = world.call("PATCH", TABLE, {"properties": {"plan": "Analytics"}}).json()["properties"]
    assert back["retentionInDays"] == 45


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"totalRetentionInDays": 10}, "less than the 30 days of 'retentionInDays'"),
        ({"retentionInDays": 60, "totalRetentionInDays": 45}, "less than the 60 days"),
        ({"plan": "Basic", "totalRetentionInDays": 10}, "The plan Basic fixes it"),
    ],
)
def test_the_total_retention_is_never_raised_silently(world: World, asked: dict[str, Any], says: str) -> None:
    world.basics()
    for method in ("PUT", "PATCH"):
        error = world.call(method, TABLE, table_body(**asked)).json()["error"]
        assert (error["code"], error["target"]) == ("InvalidParameter", "properties.totalRetentionInDays")
        assert says in error["message"]
    shorter = world.put(TABLE, table_body(retentionInDays=8, totalRetentionInDays=10))["properties"]
    assert (shorter["retentionInDays"], shorter["totalRetentionInDays"]) == (8, 10)


def test_the_auxiliary_plan_is_for_new_custom_tables(world: World) -> None:
    world.basics()
    made = world.put(f"{WORKSPACE}/tables/Aux_CL", table_body(plan="Auxiliary", totalRetentionInDays=365))
    shown = made["properties"]
    assert (shown["plan"], shown["retentionInDays"], shown["totalRetentionInDays"]) == ("Auxiliary", 30, 365)
    for bad in ({"plan": "Analytics"}, {"plan": "Basic"}):
        assert world.call("PATCH", f"{WORKSPACE}/tables/Aux_CL", {"properties": bad}).status_code == 400, bad
    refused = world.call("PUT", SYSLOG, {"properties": {"plan": "Auxiliary"}})
    assert refused.status_code == 400
    assert "Auxiliary" in refused.json()["error"]["message"]
    assert world.put(SYSLOG, {"properties": {"plan": "Basic"}})["properties"]["plan"] == "Basic"


def test_standard_tables_are_in_every_workspace(world: World) -> None:
    world.basics()
    listed = world.get(f"{WORKSPACE}/tables")
    assert "nextLink" not in listed
    by_name = {table["name"]: table for table in listed["value"]}
    assert len(by_name) == 937
    assert set(by_name) == {"My_CL", *standard.names()}
    syslog = world.get(SYSLOG)
    assert syslog == by_name["Syslog"]
    assert syslog["properties"]["schema"]["columns"] == []
    assert syslog["properties"]["schema"]["tableSubType"] == "Any"
    built_in = {c["name"]: c["type"] for c in syslog["properties"]["schema"]["standardColumns"]}
    assert (built_in["TimeGenerated"], built_in["SyslogMessage"], built_in["TenantId"]) == (
        "dateTime",
        "string",
        "guid",
    )


def test_a_standard_table_takes_cf_columns_and_cannot_be_deleted(world: World) -> None:
    world.basics()
    body = {"properties": {"schema": {"columns": [{"name": "Mine_CF", "type": "string"}]}}}
    made = world.put(SYSLOG, body)
    assert names(made) == ["Mine_CF"]
    assert made["properties"]["schema"]["tableSubType"] == "DataCollectionRuleBased"
    assert world.put(SYSLOG, made)["properties"]["schema"] == made["properties"]["schema"]
    refused = world.call("PATCH", SYSLOG, table_body(("Mine", "string")))
    assert refused.status_code == 400
    assert "_CF" in str(refused.json())
    assert names(world.put(SYSLOG, {"properties": {"schema": {"columns": []}}})) == []
    with world.database.read() as connection:
        workspace = next(iter(load_catalog(connection, 0).workspaces.values()))
    table = workspace.tables["Syslog"]
    assert table.incarnation == standard.incarnation(workspace.customer_id, "Syslog")
    assert [len(schema.columns) for schema in table.schemas] == [
        len(table.schema.columns),
        len(table.schema.columns) + 1,
        len(table.schema.columns),
    ]
    assert world.call("DELETE", SYSLOG).status_code == 400
    assert world.call("GET", SYSLOG).status_code == 200


def test_migrate_is_idempotent(world: World) -> None:
    world.basics()
    for _ in range(2):
        answer = world.call("POST", f"{TABLE}/migrate", version="2021-12-01-preview")
        assert (answer.status_code, answer.content) == (200, b"")
    assert world.call("POST", f"{WORKSPACE}/tables/Gone_CL/migrate").status_code == 404
    assert world.call("POST", f"{TABLE}/explode").json()["error"]["code"] == "InvalidResourceType"


def test_a_table_needs_its_workspace(world: World) -> None:
    world.basics()
    answer = world.call("PUT", f"{WORKSPACE}x/tables/My_CL", table_body())
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "ParentResourceNotFound")


def test_every_column_problem_is_named(world: World) -> None:
    world.basics()
    bad = [
        {"name": "x", "type": "string"},
        {"name": "Type", "type": "int"},
        {"name": "Fine", "type": "timespan"},
        7,
    ]
    error = world.call("PUT", TABLE, {"properties": {"schema": {"columns": [*COLUMNS, *bad]}}}).json()[
        "error"
    ]
    assert [detail["target"] for detail in error["details"]] == [
        "properties.schema.columns[2].name",
        "properties.schema.columns[3].name",
        "properties.schema.columns[4].type",
        "properties.schema.columns[5]",
    ]


def test_the_loader_makes_a_schema_once(world: World) -> None:
    world.basics()
    loader = CatalogLoader()
    with world.database.read() as connection:
        first = loader(connection, 1)
        second = loader(connection, 2)
        assert first == load_catalog(connection, 1)
    one, other = (next(iter(c.workspaces.values())).tables["My_CL"] for c in (first, second))
    assert one.schema is other.schema
    assert one.schema.columns[1].type is KustoType.STRING
