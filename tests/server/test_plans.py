"""Tables of every plan take rows by rules and are queried alike."""

from __future__ import annotations

import uuid

import pytest

from tests.server.kit import QUERY_SCOPE, TABLES, Api, Rule, eventually, rule_body

pytestmark = [pytest.mark.server]

COLUMNS = {"Id": "string", "Text": "string", "Bag": "dynamic"}
PLANS = ("Analytics", "Basic", "Auxiliary")


def make_table(api: Api, plan: str) -> str:
    """A table with the plan, and what is shown of it."""
    name = f"{plan}{uuid.uuid4().hex[:8]}_CL"
    columns = [{"name": "TimeGenerated", "type": "datetime"}]
    columns += [{"name": column, "type": kind} for column, kind in COLUMNS.items()]
    properties = {"plan": plan, "totalRetentionInDays": 365, "schema": {"name": name, "columns": columns}}
    made = api.put(f"{api.workspace}/tables/{name}", {"properties": properties}, TABLES)["properties"]
    assert (made["plan"], made["retentionInDays"], made["totalRetentionInDays"]) == (plan, 30, 365)
    return name


def make_rule(api: Api, tables: list[str]) -> Rule:
    """One rule that sends each row to all the tables."""
    path = api.rule_id(f"plans-{uuid.uuid4().hex[:8]}")
    body = rule_body(api, COLUMNS, tables[0], "source | extend TimeGenerated = now()", api.workspace)
    (flow,) = body["properties"]["dataFlows"]
    body["properties"]["dataFlows"] = [flow | {"outputStream": f"Custom-{table}"} for table in tables]
    made = api.put(path, body)
    api.grant(path)
    return Rule(api, path, made["properties"]["immutableId"], "Custom-In")


def test_tables_of_every_plan_are_queried_alike(api: Api) -> None:
    tables = [make_table(api, plan) for plan in PLANS]
    make_rule(api, tables).send([{"Id": "a", "Text": "x"}, {"Id": "b", "Text": "y"}])
    for table in tables:
        eventually(lambda name=table: api.value(f"{name} | count"), lambda seen: seen == 2)  # type: ignore[misc]
    analytics, basic, auxiliary = tables
    joined = f"{basic} | join kind=inner ({auxiliary} | where Text == 'x') on Id | project Id"
    assert api.rows(f"union {analytics}, ({joined}) | summarize count() by Id | sort by Id asc") == [
        ["a", 2],
        ["b", 1],
    ]
    base = f"{api.base}/v1/workspaces/{api.env['HEADRACE_WORKSPACE_ID']}"
    for table in tables:
        for span, rows in (("P1D", 2), ("2001-01-01/P1D", 0)):
            answer = api.http.post(
                f"{base}/search",
                params={"timespan": span},
                json={"query": f"{table} | project Id"},
                headers=api.bearer(QUERY_SCOPE),
            )
            assert answer.status_code == 200, answer.text
            assert len(answer.json()["tables"][0]["rows"]) == rows
    assert api.http.get(f"{base}/search", headers=api.bearer(QUERY_SCOPE)).status_code == 404


def test_an_auxiliary_table_takes_what_others_take(api: Api) -> None:
    table = make_table(api, "Auxiliary")
    path = api.rule_id(f"aux-{uuid.uuid4().hex[:8]}")
    columns = {"TimeGenerated": "datetime", **COLUMNS}
    made = api.put(path, rule_body(api, columns, table, "source", api.workspace))
    api.grant(path)
    rule = Rule(api, path, made["properties"]["immutableId"], "Custom-In")
    rule.send([{"Id": "a", "Text": {"in": [1]}, "Bag": {"in": [1]}, "TimeGenerated": "yesterday or so"}])
    (row,) = eventually(lambda: api.rows(f"{table} | project Id, Text, tostring(Bag.['in'][0])"), bool)
    assert row == ["a", '{"in":[1]}', "1"]
    assert api.value(f"{table} | where TimeGenerated > ago(1h) | count") == 1
