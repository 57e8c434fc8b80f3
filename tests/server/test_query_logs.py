"""`LAQueryLogs`: a workspace's queries are noted where its diagnostic setting says, and nowhere without one."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.server.kit import QUERY_SCOPE, Api, eventually

pytestmark = pytest.mark.server

VERSION = "2021-05-01-preview"


def switch(api: Api, workspace: str, destination: str, *, enabled: bool = True) -> None:
    setting = f"{workspace}/providers/Microsoft.Insights/diagnosticSettings/queries"
    logs = [{"category": "Audit", "enabled": enabled}]
    api.put(setting, {"properties": {"workspaceId": destination, "logs": logs}}, VERSION)


def noted(api: Api, workspace: str, columns: str, count: int) -> list[list[Any]]:
    """The rows that there are once there are so many."""
    text = f"LAQueryLogs | sort by TimeGenerated asc | project {columns}"
    return eventually(lambda: api.rows(text, workspace), lambda rows: len(rows) >= count)


def kusto(api: Api, database: str, text: str) -> httpx.Response:
    return api.http.post(
        f"{api.base}/v2/rest/query",
        json={"db": database, "csl": text},
        headers=api.bearer(QUERY_SCOPE) | {"x-ms-app": "Explorer"},
    )


def test_queries_are_noted_with_who_asked_what_and_how_it_went(api: Api) -> None:
    asked, customer = api.make_workspace("asked")
    log, log_customer = api.make_workspace("asked-log")
    assert api.query("print before = 1", customer).status_code == 200
    switch(api, asked, log)
    good = api.http.post(
        f"{api.base}/v1/workspaces/{customer}/query",
        json={"query": "range n from 1 to 3 step 1", "timespan": "2026-01-01T00:00:00Z/2026-01-02T00:00:00Z"},
        headers=api.bearer(QUERY_SCOPE) | {"user-agent": "Tester/1.0"},
    )
    bad = api.query("Nowhere | take 1", customer)
    assert (good.status_code, bad.status_code) == (200, 400)
    assert (
        api.http.post(f"{api.base}/v1/workspaces/{customer}/query", json={"query": "print 1"}).status_code
        == 401
    )
    batch = {"requests": [{"id": "1", "workspace": customer, "body": {"query": "print in_batch = 1"}}]}
    answer = api.http.post(f"{api.base}/v1/$batch", json=batch, headers=api.bearer(QUERY_SCOPE))
    inner = answer.json()["responses"][0]["headers"]["x-ms-request-id"]
    assert kusto(api, "asked", "print by_kusto = 1").status_code == 200
    columns = (
        "QueryText, ResponseCode, ResponseRowCount, CorrelationId, AADObjectId, AADClientId, RequestClientApp, "
        "RequestTarget, QueryTimeRangeStart, StatsWorkspaceCount, _ResourceId, ResponseDurationMs, RequestContext"
    )
    rows = noted(api, log_customer, columns, 4)
    assert [row[:3] for row in rows] == [
        ["range n from 1 to 3 step 1", 200, 3],
        ["Nowhere | take 1", 400, 0],
        ["print in_batch = 1", 200, 1],
        ["print by_kusto = 1", 200, 1],
    ]
    ids = [row[3] for row in rows]
    assert ids[:3] == [good.headers["x-ms-request-id"], bad.headers["x-ms-request-id"], inner]
    me = [api.env["HEADRACE_PRINCIPAL_ID"], api.env["AZURE_CLIENT_ID"]]
    assert [row[4:6] for row in rows] == [me] * 4
    assert [rows[0][6], rows[3][6]] == ["Tester", "Explorer"]
    assert [row[7] for row in rows] == [f"/v1/workspaces/{customer}/query"] * 2 + [
        "/v1/$batch",
        "/v2/rest/query",
    ]
    assert rows[0][8] == "2026-01-01T00:00:00Z"
    assert {(row[9], row[10]) for row in rows} == {(1, asked.lower())}
    assert all(row[11] > 0 for row in rows)
    assert asked.lower() in rows[0][12]


def test_a_query_over_workspaces_is_noted_for_each_that_wants_it_until_it_is_switched_off(api: Api) -> None:
    first, first_customer = api.make_workspace("several-1")
    second, second_customer = api.make_workspace("several-2")
    _, third_customer = api.make_workspace("several-3")
    for path in (first, second):
        switch(api, path, first)
    body = {"query": "print several = 1", "workspaces": [second_customer, third_customer]}
    url = f"{api.base}/v1/workspaces/{first_customer}/query"
    assert api.http.post(url, json=body, headers=api.bearer(QUERY_SCOPE)).status_code == 200
    # Whoever looks is noted, too.
    text = "LAQueryLogs | where QueryText == 'print several = 1' | project _ResourceId, StatsWorkspaceCount"
    rows = eventually(lambda: api.rows(text, first_customer), lambda rows: len(rows) == 2)
    assert sorted(rows) == [[first.lower(), 3], [second.lower(), 3]]
    for path in (first, second):
        switch(api, path, first, enabled=False)
    assert api.query("print unnoted = 1", second_customer).status_code == 200
    switch(api, second, first)
    assert api.query("print noted = 1", second_customer).status_code == 200
    text = "LAQueryLogs | where QueryText matches regex '^print .*noted = 1$' | project QueryText"
    assert eventually(lambda: api.rows(text, first_customer), bool) == [["print noted = 1"]]
