"""The audit log of a whole server: what is in it, over restarts and kills, and that changes of it show."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.server.kit import ARM_SCOPE, INGEST_SCOPE, QUERY_SCOPE, Api, api_of, eventually
from tests.servers import ServerProcess, running_server

pytestmark = pytest.mark.server


def rows(api: Api, where: str) -> list[dict[str, Any]]:
    text = f"HeadraceAudit | where {where} | order by TimeGenerated asc"
    answer = api.http.post(
        f"{api.env['HEADRACE_QUERY_URL']}/workspaces/{api.env['HEADRACE_WORKSPACE_ID']}/query",
        json={"query": text},
        headers=api.bearer(QUERY_SCOPE),
    )
    assert answer.status_code == 200, answer.text
    table = answer.json()["tables"][0]
    names = [column["name"] for column in table["columns"]]
    return [dict(zip(names, row, strict=True)) for row in table["rows"]]


def some(api: Api, where: str, count: int = 1) -> list[dict[str, Any]]:
    return eventually(lambda: rows(api, where), lambda found: len(found) >= count)


def audit(server: ServerProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "headrace", "audit", *arguments]
    return subprocess.run(command, env=server.env, capture_output=True, text=True, check=False)


@pytest.fixture
def api(server: ServerProcess) -> Iterator[Api]:
    found = Api(server.env)
    yield found
    found.close()


def test_changes_and_refusals_are_told_with_who_what_and_where(api: Api) -> None:
    name = f"audited-{uuid.uuid4().hex[:8]}"
    path = f"{api.subscription}/resourceGroups/{name}"
    api.put(path, {"location": api.env["HEADRACE_LOCATION"]}, "2021-04-01")
    api.delete(path, "2021-04-01")
    made, gone = some(api, f"Scope endswith '{name}'", 2)
    assert made["OperationName"] == "Microsoft.Resources/subscriptions/resourceGroups/write"
    assert gone["OperationName"] == "Microsoft.Resources/subscriptions/resourceGroups/delete"
    for row in (made, gone):
        assert (row["Category"], row["Result"]) == ("Management", "Allowed")
        assert row["PrincipalId"] == api.env["HEADRACE_PRINCIPAL_ID"]
        assert row["ClientId"] == api.env["AZURE_CLIENT_ID"]
        assert row["CallerIpAddress"] == "127.0.0.1"
        assert row["CorrelationId"]
        assert row["_ResourceId"] == path.lower()
    refused = api.http.get(f"{api.base}{path}", params={"api-version": "2021-04-01"})
    assert refused.status_code == 401
    (row,) = some(api, f"Scope endswith '{name}' and Result == 'Denied'")
    assert (row["StatusCode"], row["ResultCode"]) == (401, "AuthenticationFailedMissingToken")
    assert row["PrincipalId"] == ""


def test_each_resource_that_a_deployment_makes_is_told(api: Api) -> None:
    name = f"audited-{uuid.uuid4().hex[:8]}"
    endpoint = {
        "type": "Microsoft.Insights/dataCollectionEndpoints",
        "apiVersion": "2023-03-11",
        "name": name,
        "location": api.env["HEADRACE_LOCATION"],
        "properties": {},
    }
    properties = {"mode": "Incremental", "template": {"resources": [endpoint]}}
    deployment = f"{api.group}/providers/Microsoft.Resources/deployments/{name}-all"
    api.put(deployment, {"properties": properties}, "2022-09-01")
    (row,) = some(api, f"Scope endswith '/{name}'")
    assert row["OperationName"] == "Microsoft.Insights/dataCollectionEndpoints/write"
    assert (row["Result"], row["Details"]) == ("Allowed", f"by {deployment}")
    assert (row["PrincipalId"], row["CallerIpAddress"]) == (api.env["HEADRACE_PRINCIPAL_ID"], "127.0.0.1")


def test_tokens_and_failed_sign_ins_are_told_and_no_secret_with_them(api: Api) -> None:
    wrong = "not-the-secret-but-kept-quiet"
    assert api.ask_token(ARM_SCOPE, client_secret=wrong).status_code == 401
    unknown = str(uuid.uuid4())
    assert api.ask_token(ARM_SCOPE, client_id=unknown).status_code == 400
    assert api.ask_token(INGEST_SCOPE).status_code == 200
    client = api.env["AZURE_CLIENT_ID"]
    (row, *_) = some(api, f"ResultCode == 'AADSTS7000215' and ClientId == '{client}'")
    assert (row["Category"], row["Result"]) == ("SignIn", "Denied")
    assert row["CallerIpAddress"] == "127.0.0.1"
    assert some(api, f"ClientId == '{unknown}'")[0]["Result"] == "Failed"
    given = some(api, "Category == 'SignIn' and Result == 'Allowed' and Details has 'monitor.azure.com'")
    assert given[-1]["PrincipalId"] == api.env["HEADRACE_PRINCIPAL_ID"]
    for secret in (wrong, api.env["AZURE_CLIENT_SECRET"], api.token(ARM_SCOPE).split(".")[2]):
        assert not rows(api, f"* contains '{secret}'")


def test_refused_senders_and_readers_are_told(api: Api) -> None:
    made = api.http.post(
        f"{api.base}/headrace/apps", json={"name": "nobody"}, headers=api.bearer(ARM_SCOPE)
    ).json()
    fields = {"client_id": made["clientId"], "client_secret": made["clientSecret"]}

    def bearer(scope: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {api.ask_token(scope, **fields).json()['access_token']}"}

    rule = api.env["HEADRACE_DCR_IMMUTABLE_ID"]
    url = f"{api.env['HEADRACE_INGEST_URL']}/dataCollectionRules/{rule}/streams/{api.env['HEADRACE_DCR_STREAM']}"
    sent = api.http.post(url, params={"api-version": "2023-01-01"}, json=[{}], headers=bearer(INGEST_SCOPE))
    assert sent.status_code == 403
    workspace = api.env["HEADRACE_WORKSPACE_ID"]
    asked = api.http.post(
        f"{api.env['HEADRACE_QUERY_URL']}/workspaces/{workspace}/query",
        json={"query": "print 1"},
        headers=bearer(QUERY_SCOPE),
    )
    assert asked.status_code == 403
    principal = made["principalId"]
    found = some(api, f"PrincipalId == '{principal}' and Result == 'Denied'", 2)
    assert {row["Category"]: row["Scope"] for row in found} == {"Ingestion": rule, "Query": workspace}
    assert {row["ClientId"] for row in found} == {made["clientId"]}


def test_nobody_writes_or_deletes_the_log_by_other_ways(api: Api) -> None:
    table = f"{api.workspace}/tables/HeadraceAudit"
    some(api, "Sequence == 0")
    assert api.arm("DELETE", table, version="2022-10-01").status_code == 400
    body: dict[str, Any] = {
        "location": api.env["HEADRACE_LOCATION"],
        "properties": {
            "streamDeclarations": {"Custom-In": {"columns": [{"name": "Details", "type": "string"}]}},
            "destinations": {"logAnalytics": [{"workspaceResourceId": api.workspace, "name": "w"}]},
            "dataFlows": [
                {
                    "streams": ["Custom-In"],
                    "destinations": ["w"],
                    "outputStream": "Microsoft-HeadraceAudit",
                    "transformKql": "source | extend TimeGenerated = now()",
                }
            ],
        },
    }
    refused = api.arm("PUT", api.rule_id("forger"), body)
    assert refused.status_code == 400, refused.text


def test_the_activity_log_reaches_back_before_the_start(tmp_path: Path) -> None:
    arguments = ("--data-dir", str(tmp_path / "data"), "--port", "0", "--quiet")
    with running_server(tmp_path, *arguments) as server, api_of(server) as api:
        group = f"{api.subscription}/resourceGroups/remembered"
        made = api.arm("PUT", group, {"location": "here"}, version="2024-11-01")
        some(api, f"CorrelationId == '{made.headers['x-ms-request-id']}'")
        (engine,) = server.children("engine")
        engine.kill()

        def change() -> int:
            return api.arm("PATCH", group, {"tags": {"a": "b"}}, version="2024-11-01").status_code

        eventually(change, lambda status: status == 200)
        url = f"{api.base}{api.subscription}/providers/Microsoft.Insights/eventtypes/management/values"

        def events(until: str) -> list[dict[str, Any]]:
            wanted = f"eventTimestamp ge '2020-01-01T00:00:00Z'{until} and resourceGroupName eq 'remembered'"
            query = {"api-version": "2015-04-01", "$filter": wanted}
            found: list[dict[str, Any]] = api.http.get(
                url, params=query, headers=api.bearer(ARM_SCOPE)
            ).json()["value"]
            return found

        after, before = events("")
        for event in (after, before):
            assert event["operationName"]["value"] == "Microsoft.Resources/subscriptions/resourceGroups/write"
        assert before["correlationId"] == made.headers["x-ms-request-id"]
        assert before["caller"] == api.env["HEADRACE_PRINCIPAL_ID"]
        assert events(f" and eventTimestamp lt '{before['eventTimestamp']}'") == []
        assert events(f" and eventTimestamp le '{before['eventTimestamp']}'") == [before]


def test_the_chain_holds_over_a_kill_and_a_restart_and_shows_what_was_changed(tmp_path: Path) -> None:
    variables = {"HEADRACE_TABLES_COMMIT_SECONDS": "0.5", "HEADRACE_JOURNAL_SEGMENT_BYTES": "1048576"}
    arguments = ("--data-dir", str(tmp_path / "data"), "--port", "0", "--quiet")
    with running_server(tmp_path, *arguments, variables=variables) as server:
        api = Api(server.env)
        chain = some(api, "Sequence == 0")[0]["ChainId"]
        (engine,) = server.children("engine")
        engine.kill()

        def status() -> int:
            try:
                return api.ask_token(ARM_SCOPE).status_code
            except httpx.TransportError:
                return 0

        eventually(status, lambda seen: seen == 200)
        some(api, "OperationName == 'ChainBegins'", 2)
        again = some(api, "OperationName == 'ChainBegins' and Details has 'before: '", 2)[1]
        assert again["ChainId"] != chain
        done = audit(server, "verify", "--output", "json")
        assert done.returncode == 0, done.stderr
        api.close()
    with running_server(tmp_path, *arguments, variables=variables) as server:
        api = Api(server.env)
        some(api, "OperationName == 'ChainBegins'", 3)
        done = audit(server, "list", "--last", "5", "--output", "json")
        assert done.returncode == 0 and "ChainBegins" in done.stdout, done.stderr
        # Taking a file of rows away is what a forger with the disk in hands does first.
        (head,) = {path.stem for path in (tmp_path / "data" / "audit").glob("*.head")} & {again["ChainId"]}
        path = tmp_path / "data" / "audit" / f"{head}.head"
        content = path.read_text()
        path.write_text(content.replace('"sequence":', '"sequence":9'))
        forged = audit(server, "verify")
        assert forged.returncode == 1
        assert "signature is wrong" in forged.stderr
        api.close()
