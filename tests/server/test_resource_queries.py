"""Queries of resources, groups and subscriptions, and all queries by management's addresses."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.server.kit import ARM_SCOPE, QUERY_SCOPE, Api, eventually

pytestmark = [pytest.mark.server]

VERSION = "2018-03-01-preview"
TABLE = "Scoped_CL"


class Scoped:
    """The same table in workspaces of two groups, with rows about two machines and about nothing."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.other_group = f"{api.subscription}/resourceGroups/scoped-other"
        api.put(self.other_group, {"location": api.env["HEADRACE_LOCATION"]}, "2022-09-01")
        self.far, self.far_id = api.make_workspace("scoped-far", self.other_group)
        machines = f"{api.group}/providers/Microsoft.Compute/virtualMachines"
        self.one, self.two = f"{machines}/One", f"{machines}/Onetwo"
        stream = {"Name": "string", "About": "string"}
        transform = "source | extend TimeGenerated = now(), _ResourceId = About | project-away About"
        for workspace, name in ((api.workspace, "near"), (self.far, "far")):
            api.make_table(TABLE, {"Name": "string"}, workspace)
            rule = api.make_rule(f"scoped-{name}", stream, TABLE, transform, workspace)
            about = {"one": self.one, "part": f"{self.one}/extensions/e", "two": self.two, "none": ""}
            rule.send([{"Name": f"{name}-{part}", "About": about[part]} for part in about])
        eventually(lambda: api.rows(f"{TABLE} | count", self.far_id), lambda rows: rows == [[4]])
        eventually(lambda: api.rows(f"{TABLE} | count"), lambda rows: rows == [[4]])

    def ask(self, path: str, text: str, scope: str = QUERY_SCOPE, **body: Any) -> httpx.Response:
        return self.api.http.post(
            f"{self.api.base}{path}", json={"query": text, **body}, headers=self.api.bearer(scope)
        )

    def names(self, resource: str, **body: Any) -> set[str]:
        """What the table has for a resource: the same by both addresses."""
        text = f"{TABLE} | project Name"
        answers = [
            self.ask(f"/v1{resource}/query", text, **body),
            self.ask(
                f"{resource}/providers/Microsoft.Insights/logs?api-version={VERSION}", text, ARM_SCOPE, **body
            ),
        ]
        found = []
        for answer in answers:
            assert answer.status_code == 200, answer.text
            found.append({row[0] for row in answer.json()["tables"][0]["rows"]})
        assert found[0] == found[1]
        return found[0]


@pytest.fixture(scope="module")
def scoped(api: Api) -> Scoped:
    return Scoped(api)


def _all(*workspaces: str) -> set[str]:
    return {f"{name}-{part}" for name in workspaces for part in ("one", "part", "two", "none")}


def test_a_subscription_has_all_its_workspaces(scoped: Scoped) -> None:
    assert scoped.names(scoped.api.subscription) == _all("near", "far")


def test_a_group_has_its_workspaces_and_what_others_know_of_its_resources(scoped: Scoped) -> None:
    group = scoped.api.group
    assert scoped.names(group) == _all("near", "far") - {"far-none"}
    assert scoped.names(group.lower()) == scoped.names(group)
    assert scoped.names(scoped.other_group) == _all("far")


def test_a_resource_has_its_rows_and_those_of_what_is_below_it(scoped: Scoped) -> None:
    expected = {"near-one", "near-part", "far-one", "far-part"}
    assert scoped.names(scoped.one) == expected
    assert scoped.names(scoped.one.upper().replace("/SUBSCRIPTIONS", "/subscriptions")) == expected
    assert scoped.names(scoped.two) == {"near-two", "far-two"}
    assert scoped.names(f"{scoped.one}zzz") == set()
    counted = scoped.ask(f"/v1{scoped.one}/query", f"{TABLE} | count").json()
    assert counted["tables"][0]["rows"] == [[4]]


def test_a_workspace_named_beside_a_resource_counts_whole(scoped: Scoped) -> None:
    assert scoped.names(scoped.two, workspaces=[scoped.far_id]) == {"near-two"} | _all("far")


def test_several_resources_are_named_in_the_body(scoped: Scoped) -> None:
    """As Grafana asks for the logs of more than one resource."""
    both = [scoped.one, scoped.two]
    expected = {"near-one", "near-part", "near-two", "far-one", "far-part", "far-two"}
    assert scoped.names(scoped.one, resources=both) == expected
    assert scoped.names(scoped.one, Resources=both, timeSpan="PT1H") == expected
    assert scoped.names(scoped.one, resources=both, TimeSpan="2020-01-01/P1D") == set()


def test_metadata_of_more_than_a_workspace(scoped: Scoped) -> None:
    def described(resource: str, **query: str) -> Any:
        api = scoped.api
        answer = api.http.get(
            f"{api.base}/v1{resource}/metadata", params=query, headers=api.bearer(QUERY_SCOPE)
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    far = described(scoped.far)
    group = described(scoped.other_group, select="tables, workspaces")
    assert set(group) == {"tables", "workspaces"}
    assert {one["name"] for one in group["tables"]} >= {one["name"] for one in far["tables"]}
    (workspace,) = far["workspaces"]
    assert workspace["resourceId"] == scoped.far.lower()
    everywhere = described(scoped.api.subscription)
    assert scoped.far.lower() in [one["resourceId"] for one in everywhere["workspaces"]]
    (table,) = [one for one in everywhere["tables"] if one["name"] == TABLE]
    assert len(table["related"]["workspaces"]) == 2 and table["hasData"]
    (unused,) = [one for one in far["tables"] if one["name"] == "AACAudit"]
    assert not unused["hasData"]
    assert {one["name"] for one in described(scoped.one)["tables"]} >= {TABLE}


def test_a_workspace_by_its_addresses(scoped: Scoped) -> None:
    assert scoped.names(scoped.far) == _all("far")
    for path in ("/query", "/api/query"):
        address = f"{scoped.far}{path}?api-version=2017-01-01-preview"
        assert scoped.ask(address, f"{TABLE} | count", ARM_SCOPE).json()["tables"][0]["rows"] == [[4]]
        got = scoped.api.http.get(
            f"{scoped.api.base}{address}&query={TABLE}%20%7C%20count", headers=scoped.api.bearer(ARM_SCOPE)
        )
        assert got.json()["tables"][0]["rows"] == [[4]]


def test_what_there_is_not_is_404(scoped: Scoped) -> None:
    nowhere = {
        "/subscriptions/00000000-0000-0000-0000-000000000001": "ResourceNotFoundError",
        f"{scoped.api.subscription}/resourceGroups/nowhere": "ResourceNotFoundError",
        f"{scoped.far}zzz": "WorkspaceNotFoundError",
        "/apps/one": "WorkspaceNotFoundError",
    }
    for resource, code in nowhere.items():
        answer = scoped.ask(f"/v1{resource}/query", "print 1")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, code)


def test_managements_address_takes_managements_tokens_and_versions(scoped: Scoped) -> None:
    path = f"{scoped.far}/query"
    version = "?api-version=2017-01-01-preview"
    refusals = [
        scoped.ask(path, "print 1", ARM_SCOPE),
        scoped.ask(f"{path}?api-version=x", "print 1", ARM_SCOPE),
        scoped.ask(f"{path}{version}", "print 1", QUERY_SCOPE),
        scoped.api.http.post(f"{scoped.api.base}{path}{version}", json={"query": "print 1"}),
    ]
    assert [(answer.status_code, answer.json()["error"]["code"]) for answer in refusals] == [
        (400, "MissingApiVersionParameter"),
        (400, "InvalidApiVersionParameter"),
        (403, "InvalidAuthenticationTokenAudience"),
        (401, "AuthenticationFailed"),
    ]


def test_a_wrong_query_has_kustos_codes_inside(scoped: Scoped) -> None:
    inner = {
        "Nowhere_CL | take 1": ("SemanticError", "SEM0100", "Nowhere_CL"),
        f"{TABLE} | where Nothing == 1": ("SemanticError", "SEM0100", "Nothing"),
        "print nothing(1)": ("SemanticError", "SEM0260", "nothing"),
        f"{TABLE} | whree x": ("SyntaxError", "SYN0002", "whree"),
    }
    for text, (outer, code, token) in inner.items():
        error = scoped.ask(f"/v1{scoped.far}/query", text).json()["error"]["innererror"]
        found = error["innererror"]
        assert (error["code"], found["code"], found["token"], found["line"]) == (outer, code, token, 1)


def test_a_chart_has_every_property_by_the_name_that_clients_look_for(scoped: Scoped) -> None:
    answer = scoped.api.http.post(
        f"{scoped.api.base}/v1{scoped.far}/query",
        json={"query": "print x='a', y=1 | render barchart with (title='T', xtitle='X', ymin=0)"},
        headers=scoped.api.bearer(QUERY_SCOPE) | {"Prefer": "include-render=true"},
    )
    render = answer.json()["render"]
    assert (render["visualization"], render["title"], render["xTitle"], render["ymin"]) == (
        "barchart",
        "T",
        "X",
        0,
    )
    assert render["anomalyColumns"] is None and "xtitle" not in render
