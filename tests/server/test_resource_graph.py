"""Azure Resource Graph's one call: what there is, asked with KQL, as Grafana's resource picker does."""

from __future__ import annotations

import uuid
from typing import Any

import httpx
import pytest

from tests.server.kit import ARM_SCOPE, QUERY_SCOPE, Api, eventually

pytestmark = [pytest.mark.server]

PATH = "/providers/Microsoft.ResourceGraph/resources"
READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
GROUP = "graphed"


class Graph:
    """A group with two workspaces, one of them tagged, and calls of the graph."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.group = f"{api.subscription}/resourceGroups/{GROUP}"
        api.put(self.group, {"location": api.env["HEADRACE_LOCATION"]}, "2022-09-01")
        self.first, self.first_id = api.make_workspace("Graphed-One", self.group)
        self.second, self.second_id = api.make_workspace("graphed-two", self.group)
        answer = api.arm("PATCH", self.second, {"tags": {"env": "test", "size": "5"}}, version="2023-09-01")
        assert answer.status_code == 200, answer.text

    def ask(
        self, text: str, token: str | None = None, version: str = "2021-03-01", **body: Any
    ) -> httpx.Response:
        headers = self.api.bearer(ARM_SCOPE) if token is None else {"Authorization": f"Bearer {token}"}
        url = f"{self.api.base}{PATH}?api-version={version}"
        return self.api.http.post(url, json={"query": text, **body}, headers=headers)

    def data(self, text: str, token: str | None = None, **body: Any) -> Any:
        answer = self.ask(text, token, **body)
        assert answer.status_code == 200, answer.text
        document = answer.json()
        assert (document["facets"], document["resultTruncated"]) == ([], "false")
        return document["data"]


@pytest.fixture(scope="module")
def graph(api: Api) -> Graph:
    made = Graph(api)
    eventually(
        lambda: len(made.data(f"resources | where resourceGroup == '{GROUP}'")), lambda count: count == 2
    )
    return made


def test_a_resource_has_the_graphs_columns(graph: Graph) -> None:
    (row,) = graph.data(f"Resources | where properties['customerId'] == '{graph.first_id}'")
    assert row["id"] == graph.first
    assert (row["name"], row["type"]) == ("Graphed-One", "microsoft.operationalinsights/workspaces")
    assert (row["resourceGroup"], row["tenantId"]) == (GROUP, graph.api.env["AZURE_TENANT_ID"])
    assert row["subscriptionId"] == graph.api.env["AZURE_SUBSCRIPTION_ID"]
    assert row["properties"]["provisioningState"] == "Succeeded"
    assert row["managedBy"] == "" and row["zones"] is None
    tags = graph.data(f"resources | where id =~ '{graph.second.upper()}' | project tags, size = tags.size")
    assert tags == [{"tags": {"env": "test", "size": "5"}, "size": "5"}]


def test_groups_and_subscriptions_are_containers(graph: Graph) -> None:
    text = f"""
        resourcecontainers
        | where type == "microsoft.resources/subscriptions" and id =~ "{graph.api.subscription}"
        | project subscriptionName = name, subscriptionId
        | join kind=leftouter (
            ResourceContainers
            | where type == "microsoft.resources/subscriptions/resourcegroups" and id =~ "{graph.group}"
            | project resourceGroupName = name, subscriptionId
        ) on subscriptionId
        | join kind=leftouter (
            resources | where id =~ "{graph.first}" | project resourceName = name, subscriptionId
        ) on subscriptionId
        | project subscriptionName, resourceGroupName, resourceName
    """
    assert graph.data(text) == [
        {"subscriptionName": "Headrace sample", "resourceGroupName": GROUP, "resourceName": "Graphed-One"}
    ]
    both = "resources | union resourcecontainers | where id contains 'graphed' | order by tolower(name) asc"
    assert [row["name"] for row in graph.data(both)] == [GROUP, "Graphed-One", "graphed-two"]


def test_rows_are_counted(graph: Graph) -> None:
    text = f"resources | where resourceGroup == '{GROUP}'"
    assert graph.data(f"{text} | count") == [{"Count": 2}]
    assert graph.data(f"{text} | summarize n = count() by type") == [
        {"type": "microsoft.operationalinsights/workspaces", "n": 2}
    ]
    (all_of_them,) = graph.data("resources | summarize n = count(), dcount(id)")
    assert all_of_them["n"] == all_of_them["dcount_id"] >= 2


def test_pages_and_tables(graph: Graph) -> None:
    text = f"resources | where resourceGroup == '{GROUP}' | order by name asc | project name, tags, n = 1, r = 1.5"
    first = graph.ask(text, options={"$top": 1}).json()
    assert (first["totalRecords"], first["count"], first["data"][0]["name"]) == (2, 1, "Graphed-One")
    rest = graph.ask(text, options={"$top": 1, "$skipToken": first["$skipToken"]}).json()
    assert (rest["count"], rest["data"][0]["name"], "$skipToken" in rest) == (1, "graphed-two", False)
    assert graph.data(text, options={"$skip": 1}) == rest["data"]
    table = graph.data(text, options={"resultFormat": "table"})
    kinds = ["string", "object", "integer", "number"]
    assert [column["type"] for column in table["columns"]] == kinds
    assert table["rows"][1] == ["graphed-two", {"env": "test", "size": "5"}, 1, 1.5]
    assert graph.ask(text, version="2019-04-01").json()["data"] == table
    refused = graph.ask(text, options={"$skipToken": "x"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "BadArgumentError")


def test_a_caller_sees_what_he_may_read(graph: Graph) -> None:
    api = graph.api
    made = api.http.post(
        f"{api.base}/headrace/apps",
        json={"name": "graph"},
        headers=api.bearer(ARM_SCOPE),
    )
    assert made.status_code in (200, 201), made.text
    app = made.json()
    form = {"client_id": app["clientId"], "client_secret": app["clientSecret"]}
    token = api.ask_token(ARM_SCOPE, **form).json()["access_token"]
    everything = "resources | union resourcecontainers | project name"
    assert graph.data(everything, token) == []
    assert graph.data("resources | summarize n = count()", token) == [{"n": 0}]
    api.grant(graph.second, app["principalId"], READER)
    found = eventually(lambda: graph.data(everything, token), bool)
    assert found == [{"name": "graphed-two"}]
    assert graph.data(everything, subscriptions=[str(uuid.uuid4())]) == []
    mine = [api.env["AZURE_SUBSCRIPTION_ID"].upper()]
    assert {"name": "graphed-two"} in graph.data(everything, subscriptions=mine)


@pytest.mark.parametrize(
    ("text", "code"), [("resources | nonsense", "KQL0008"), ("Syslog | take 1", "KQL0131"), ("", "KQL0139")]
)
def test_wrong_queries(graph: Graph, text: str, code: str) -> None:
    answer = graph.ask(text)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "BadRequest"), error
    assert [detail["code"] for detail in error["details"]] == ["InvalidQuery", code]


def test_it_takes_managements_tokens_and_versions(graph: Graph) -> None:
    api = graph.api
    refusals = [
        graph.ask("resources", version="x"),
        graph.ask("resources", api.token(QUERY_SCOPE)),
        api.http.post(f"{api.base}{PATH}?api-version=2021-03-01", json={"query": "resources"}),
    ]
    assert [(answer.status_code, answer.json()["error"]["code"]) for answer in refusals] == [
        (400, "InvalidApiVersionParameter"),
        (403, "InvalidAuthenticationTokenAudience"),
        (401, "AuthenticationFailed"),
    ]
