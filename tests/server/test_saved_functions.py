"""Saved searches: managed over the control plane, and called as functions by queries."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.kit import Api, eventually

pytestmark = [pytest.mark.server]

SAVED = "2020-08-01"


def saved(
    api: Api, name: str, query: str, alias: str = "", parameters: str = "", workspace: str | None = None
) -> str:
    """Put a saved search; answers its path."""
    properties = {"category": "Tests", "displayName": name, "query": query, "version": 2}
    if alias:
        properties |= {"functionAlias": alias, "functionParameters": parameters}
    path = f"{workspace or api.workspace}/savedSearches/{name}"
    api.put(path, {"properties": properties}, SAVED)
    return path


def test_a_saved_search_is_made_read_listed_and_deleted(api: Api) -> None:
    workspace, _ = api.make_workspace("saved-crud")
    path = f"{workspace}/savedSearches/Errors By Hour"
    properties = {
        "category": "Tests",
        "displayName": "Errors by hour",
        "query": "T | count",
        "functionAlias": "ErrorsByHour",
        "functionParameters": "span:timespan=1h",
        "tags": [{"name": "Group", "value": "Computer"}],
        "version": 2,
    }
    assert api.arm("GET", path, version=SAVED).status_code == 404
    made = api.arm("PUT", path, {"properties": properties}, version=SAVED)
    assert made.status_code == 200, made.text
    document = made.json()
    assert document["id"] == path
    assert document["type"] == "Microsoft.OperationalInsights/workspaces/savedSearches"
    assert document["name"] == "Errors By Hour"
    assert document["properties"] == properties
    assert document["etag"] == made.headers["etag"]

    lower = api.arm("GET", path.lower(), version=SAVED)
    assert lower.json() == document
    listed = api.arm("GET", f"{workspace}/savedSearches", version=SAVED).json()["value"]
    assert listed == [document]
    shown = api.arm("GET", f"{api.group}/resources", version="2021-04-01").json()["value"]
    assert not [item for item in shown if item["id"] == path]

    stale = {"If-Match": '"00000000-0000-0000-0000-000000000000"'}
    refused = api.arm("PUT", path, {"properties": properties}, version=SAVED, headers=stale)
    assert refused.status_code == 412
    assert api.arm("DELETE", path, version=SAVED).status_code == 200
    assert api.arm("DELETE", path, version=SAVED).status_code == 204
    assert api.arm("GET", path, version=SAVED).status_code == 404


@pytest.mark.parametrize(
    ("changes", "target"),
    [
        ({"query": None}, "properties.query"),
        ({"category": 5}, "properties.category"),
        ({"displayName": " "}, "properties.displayName"),
        ({"functionAlias": "not a name"}, "properties.functionAlias"),
        ({"functionParameters": ["a"]}, "properties.functionParameters"),
        ({"version": 7}, "properties.version"),
        ({"tags": {"Group": "Computer"}}, "properties.tags"),
    ],
)
def test_what_is_no_saved_search_is_refused(api: Api, changes: dict[str, Any], target: str) -> None:
    properties = {"category": "Tests", "displayName": "x", "query": "print 1"} | changes
    path = f"{api.workspace}/savedSearches/refused"
    answer = api.arm("PUT", path, {"properties": properties}, version=SAVED)
    assert (answer.status_code, answer.json()["error"]["target"]) == (400, target)
    assert api.arm("GET", path, version=SAVED).status_code == 404


def test_an_alias_belongs_to_one_saved_search(api: Api) -> None:
    path = saved(api, "alias-one", "print 1", "OnlyOnce")
    body = {
        "properties": {"category": "c", "displayName": "d", "query": "print 2", "functionAlias": "OnlyOnce"}
    }
    second = api.arm("PUT", f"{api.workspace}/savedSearches/alias-two", body, version=SAVED)
    assert (second.status_code, second.json()["error"]["code"]) == (409, "Conflict")
    assert api.arm("PUT", path, body, version=SAVED).status_code == 200


def test_queries_call_saved_functions(api: Api) -> None:
    columns = {"Level": "string", "Code": "long"}
    api.make_table("Called_CL", columns)
    rule = api.make_rule("called", columns, "Called_CL")
    rule.send([{"Level": "Error", "Code": 5}, {"Level": "Info", "Code": 1}, {"Level": "Error", "Code": 7}])
    eventually(lambda: api.value("Called_CL | count"), lambda count: count == 3)

    recent = "Called_CL | where TimeGenerated > ago(span) and Level == level // the last ones"
    path = saved(api, "recent", recent, "Recent", 'span:timespan=1h, level:string="Error"')
    saved(api, "codes", "Recent(1h) | summarize Total = sum(Code)", "CodesTotal")
    assert api.rows("Recent | project Code | sort by Code asc") == [[5], [7]]
    assert api.rows('Recent(1h, "Info") | project Code') == [[1]]
    assert api.rows('Recent(level="Info") | project Code') == [[1]]
    assert api.rows("CodesTotal()") == [[12]]
    assert api.rows("let Recent = 5; print Recent") == [[5]]
    assert api.rows("Called_CL | where Code in ((Recent | project Code)) | count") == [[2]]

    # A changed function counts for the next query, a deleted one is gone.
    saved(api, "recent", "Called_CL | where Code < least", "Recent", "least:long")
    assert api.rows("Recent(2) | project Code") == [[1]]
    wrong = api.query("Recent(1, 2) | project Code")
    assert wrong.status_code == 400
    api.delete(path, SAVED)
    gone = api.query("Recent(2)")
    assert gone.status_code == 400
    assert "Recent" in gone.text


def test_problems_inside_a_saved_function_are_told_at_its_use(api: Api) -> None:
    saved(api, "broken", "print 1 | where Nothing == 2", "Broken")
    saved(api, "unfinished", "print 1 | where (", "Unfinished")
    saved(api, "endless", "Endless() | take 1", "Endless")
    for name, reason in (("Broken", "Nothing"), ("Unfinished", "Unfinished"), ("Endless", "deep")):
        answer = api.query(f"{name}() | count")
        assert answer.status_code == 400, answer.text
        assert reason in answer.text


def test_a_function_belongs_to_its_workspace(api: Api) -> None:
    workspace, customer = api.make_workspace("saved-other")
    saved(api, "mine", "print x = 'other'", "OfOneWorkspace", workspace=workspace)
    assert api.rows("OfOneWorkspace", customer) == [["other"]]
    assert api.query("OfOneWorkspace").status_code == 400
