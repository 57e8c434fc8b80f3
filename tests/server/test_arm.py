"""The control plane over raw HTTP: versions, casing, odd addresses, etags, round trips, paging, refusals."""

from __future__ import annotations

import json
import uuid
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.server.kit import ARM_SCOPE, INGEST_SCOPE, INSIGHTS, QUERY_SCOPE, TABLES, Api, rule_body
from tests.server.tokens import Forger

pytestmark = [pytest.mark.server]

ID = {"Id": "string"}
WORKSPACES = "2023-09-01"


def check_error(answer: httpx.Response, status: int, code: str, *words: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/json")
    error: dict[str, Any] = answer.json()["error"]
    assert error["code"] == code, error
    for word in words:
        assert word.lower() in error["message"].lower(), error["message"]
    for inner in ("Traceback", "sqlite", "sqlalchemy", ".py", "msgspec"):
        assert inner not in answer.text
    assert answer.headers["x-ms-request-id"]
    return error


def get(api: Api, target: str, **headers: str) -> httpx.Response:
    """A GET of exactly this target, not touched by the client."""
    return api.http.get(f"{api.base}{target}", headers=api.bearer(ARM_SCOPE) | headers)


# api-version


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "HEAD"])
def test_a_missing_version(api: Api, method: str) -> None:
    url = f"{api.base}{api.workspace}"
    body = {"location": "x", "properties": {}} if method in ("PUT", "PATCH") else None
    answer = api.http.request(method, url, json=body, headers=api.bearer(ARM_SCOPE))
    assert answer.status_code == 400
    if method != "HEAD":
        check_error(answer, 400, "MissingApiVersionParameter", "api-version")


@pytest.mark.parametrize("version", ["1", "latest", "2023-1-1", "2023-99-01", "2023-01-01-", "2023-01-01;--"])
def test_malformed_versions(api: Api, version: str) -> None:
    check_error(api.arm("GET", api.workspace, version=version), 400, "InvalidApiVersionParameter")


@pytest.mark.parametrize(
    "version", ["2015-11-01-preview", "2020-08-01", "2025-07-01", "2099-12-31", "2023-01-01-PREVIEW"]
)
def test_any_well_formed_version(api: Api, version: str) -> None:
    assert api.arm("GET", api.workspace, version=version).status_code == 200


def test_encoded_query_keys(api: Api) -> None:
    assert get(api, f"{api.workspace}?api%2Dversion={WORKSPACES}").status_code == 200
    assert get(api, f"{api.workspace}?API-Version={WORKSPACES}").status_code == 200
    check_error(get(api, f"{api.workspace}?api-version=%ff"), 400, "InvalidRequestUri")


# Addresses


def test_casing_and_double_slashes(api: Api) -> None:
    canonical = api.arm("GET", api.workspace, version=WORKSPACES).json()
    assert canonical["id"] == api.workspace
    for path in (
        api.workspace.lower(),
        api.workspace.upper(),
        api.workspace.replace("/resourceGroups/", "/resourcegroups/"),
        api.workspace.replace("/workspaces/", "//workspaces//"),
        f"/{api.workspace}",
        f"{api.workspace}/",
    ):
        answer = get(api, f"{path}?api-version={WORKSPACES}")
        assert answer.status_code == 200, (path, answer.text)
        assert answer.json() == canonical, path


def test_a_rule_put_in_other_casing_is_the_same_rule(api: Api) -> None:
    api.make_table("Cased_CL", ID)
    rule = api.make_rule("Cased", ID, "Cased_CL")
    body = rule_body(api, ID, "Cased_CL", "source | extend TimeGenerated = now()", api.workspace.lower())
    odd = rule.path.lower().replace("/providers/microsoft.insights/", "/providers/MICROSOFT.INSIGHTS//")
    answer = api.arm("PUT", odd, body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["properties"]["immutableId"] == rule.immutable_id
    assert answer.json()["id"] == rule.path
    assert answer.json()["type"] == "Microsoft.Insights/dataCollectionRules"


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("{group}/providers/Microsoft.Insights/dataCollectionRules/none", 404, "ResourceNotFound"),
        ("{group}/providers/Microsoft.Insights/dataCollectionEndpoints/none", 404, "ResourceNotFound"),
        ("{workspace}/tables/None_CL", 404, "ResourceNotFound"),
        ("{group}/providers/Microsoft.OperationalInsights/workspaces/none/tables/A_CL", 404, "ParentResourceNotFound"),
        ("{subscription}/resourceGroups/none", 404, "ResourceGroupNotFound"),
        ("{subscription}/resourceGroups/none/providers/Microsoft.Insights/dataCollectionRules/a", 404,
         "ResourceGroupNotFound"),
        ("{group}/providers/Microsoft.Nothing/things/a", 404, "InvalidResourceNamespace"),
        ("{group}/providers/Microsoft.Insights/things/a", 404, "InvalidResourceType"),
    ],
)  # fmt: skip
def test_what_is_not_there(api: Api, path: str, status: int, code: str) -> None:
    whole = path.format(group=api.group, workspace=api.workspace, subscription=api.subscription)
    check_error(api.arm("GET", whole), status, code)


def test_another_subscription(api: Api) -> None:
    answer = api.arm("GET", f"/subscriptions/{uuid.uuid4()}/resourceGroups/a", version="2021-04-01")
    check_error(answer, 404, "SubscriptionNotFound")


@pytest.mark.parametrize("name", ["%2e%2e", "a%2Fb", "%00", "a%0d%0ab", "%ff", "a" * 300, "%25"])
def test_names_that_no_resource_has(api: Api, name: str) -> None:
    target = f"{api.group}/providers/Microsoft.Insights/dataCollectionRules/{name}?api-version={INSIGHTS}"
    answer = get(api, target)
    assert answer.status_code in (400, 404), answer.text
    assert answer.json()["error"]["code"]
    assert "x-injected" not in answer.headers


def test_a_very_long_address(api: Api) -> None:
    answer = get(api, f"{api.group}/{'a/' * 5000}?api-version={INSIGHTS}")
    assert answer.status_code in (400, 404, 414)


# Tokens


def test_tokens(api: Api) -> None:
    url = f"{api.base}{api.workspace}?api-version={WORKSPACES}"
    forger = Forger(api)
    cases = {
        "AuthenticationFailed": None,
        "ExpiredAuthenticationToken": f"Bearer {forger.expired()}",
        "InvalidAuthenticationToken": f"Bearer {forger.unsigned()}",
        "InvalidAuthenticationTokenAudience": f"Bearer {forger.signed(aud='https://vault.azure.net')}",
        "InvalidAuthenticationTokenTenant": f"Bearer {forger.signed(tid=str(uuid.uuid4()))}",
    }
    for code, header in cases.items():
        answer = api.http.get(url, headers={} if header is None else {"Authorization": header})
        assert answer.status_code == 401, (code, answer.text)
        assert answer.json()["error"]["code"].startswith(code), answer.text
        assert answer.headers["www-authenticate"].startswith("Bearer ")


def test_a_caller_without_rights_learns_nothing(api: Api) -> None:
    made = api.http.post(
        f"{api.base}/headrace/apps", json={"name": "poor"}, headers=api.bearer(ARM_SCOPE)
    ).json()
    form = {"client_id": made["clientId"], "client_secret": made["clientSecret"]}
    poor = {"Authorization": f"Bearer {api.ask_token(ARM_SCOPE, **form).json()['access_token']}"}
    for method, path in (
        ("GET", api.workspace),
        ("PUT", api.workspace),
        ("DELETE", api.workspace),
        ("GET", f"{api.workspace}/tables/None_CL"),
        ("DELETE", api.group),
        ("GET", f"{api.group}/providers/Microsoft.Authorization/roleAssignments"),
    ):
        url = f"{api.base}{path}?api-version={WORKSPACES}"
        answer = api.http.request(method, url, headers=poor, json={} if method == "PUT" else None)
        check_error(answer, 403, "AuthorizationFailed", made["principalId"], "authorization")
    apps = api.http.get(f"{api.base}/headrace/apps", headers=poor)
    assert apps.status_code == 403
    listed = api.http.get(f"{api.base}/subscriptions?api-version=2022-12-01", headers=poor)
    assert listed.json()["value"] == []
    query = f"{api.base}/v1/workspaces/{api.env['HEADRACE_WORKSPACE_ID']}/query"
    token = api.ask_token(QUERY_SCOPE, **form).json()["access_token"]
    asked = api.http.post(query, json={"query": "print 1"}, headers={"Authorization": f"Bearer {token}"})
    assert asked.status_code == 403
    assert asked.json()["error"]["code"] == "InsufficientAccessError"
    token = api.ask_token(INGEST_SCOPE, **form).json()["access_token"]
    assert token


# Bodies


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"{", 400), (b"[]", 400), (b'"a"', 400), (b"\xff", 400), (b'{"a":' * 10_000, 400), (b'{"location": NaN}', 400),
     (b'{"tags": {"a": "\\ud800"}}', 400), (b'{"location": "x", "properties": []}', 400),
     (b'{"location": "x", "properties": {"a": "' + b"a" * (5 * 1024 * 1024) + b'"}}', 413), (b"", 400)],
    ids=["cut", "array", "text", "no utf-8", "deep", "nan", "surrogate", "wrong properties", "large", "none"],
)  # fmt: skip
def test_bad_bodies(api: Api, content: bytes, status: int) -> None:
    url = f"{api.base}{api.rule_id('bad-body')}?api-version={INSIGHTS}"
    headers = api.bearer(ARM_SCOPE) | {"Content-Type": "application/json"}
    answer = api.http.put(url, content=content, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["code"]
    assert "Traceback" not in answer.text
    assert api.arm("GET", api.rule_id("bad-body")).status_code == 404


WRONG: tuple[Any, ...] = (None, 7, "text", [], {}, [None], {"a": 1}, [[]], True, -1.5e300, "a" * 10_000)


def test_wrong_types_all_over_a_rule_are_refused_in_words(api: Api) -> None:
    """Every part of a good rule replaced by something of another type: 400 with a code, never 500."""
    api.make_table("Shapes_CL", ID)
    good = rule_body(api, ID, "Shapes_CL", "source | extend TimeGenerated = now()", api.workspace)
    for wrong in WRONG:
        for place in places(good):
            body = json.loads(json.dumps(good))
            put_at(body, place, wrong)
            answer = api.arm("PUT", api.rule_id("shapes"), body)
            assert answer.status_code in (200, 201, 400, 404, 409), (place, wrong, answer.text)
            if answer.status_code >= 400:
                assert answer.json()["error"]["code"], (place, wrong)
                assert answer.json()["error"]["message"]


def test_wrong_types_all_over_a_table_are_refused_in_words(api: Api) -> None:
    columns = [{"name": "TimeGenerated", "type": "datetime"}, {"name": "Id", "type": "string"}]
    good = {
        "properties": {
            "schema": {"name": "Odd2_CL", "columns": columns},
            "plan": "Analytics",
            "retentionInDays": 30,
        }
    }
    for wrong in WRONG:
        for place in places(good):
            body = json.loads(json.dumps(good))
            put_at(body, place, wrong)
            answer = api.arm("PUT", f"{api.workspace}/tables/Odd2_CL", body, version=TABLES)
            assert answer.status_code in (200, 400), (place, wrong, answer.text)
            if answer.status_code == 400:
                assert answer.json()["error"]["code"], (place, wrong)
    assert api.query("Shapes_CL | count").status_code in (200, 400)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += places(inner, (*path, key))
    return found


def put_at(document: Any, path: tuple[Any, ...], value: Any) -> None:
    for key in path[:-1]:
        document = document[key]
    document[path[-1]] = value


def test_a_rule_with_many_faults_tells_all_of_them(api: Api) -> None:
    api.make_table("Faults_CL", {"Id": "long"})
    body = rule_body(api, ID, "Faults_CL", "source | where Nothing == 1", api.workspace)
    flow = body["properties"]["dataFlows"][0]
    body["properties"]["streamDeclarations"]["Custom-Two"] = {"columns": [{"name": "Id", "type": "string"}]}
    body["properties"]["dataFlows"] += [
        flow | {"streams": ["Custom-Two"], "transformKql": "source | extend TimeGenerated = now()"},
        flow | {"outputStream": "Custom-None_CL", "transformKql": "source"},
    ]
    error = check_error(api.arm("PUT", api.rule_id("faults"), body), 400, "InvalidPayload")
    found = {(detail["code"], detail["target"]) for detail in error["details"]}
    assert ("InvalidTransformQuery", "properties.dataFlows[0]") in found
    assert ("InvalidTransformOutput", "properties.dataFlows[1]") in found
    assert ("InvalidOutputTable", "properties.dataFlows[2]") in found
    text = " ".join(detail["message"] for detail in error["details"])
    assert "Nothing" in text
    assert "1:" in text
    assert "Id [produced:'String', output:'Long']" in text


# Round trips, etags, tags


def test_unknown_properties_come_back(api: Api) -> None:
    api.make_table("Unknown_CL", ID)
    body = rule_body(api, ID, "Unknown_CL", "source | extend TimeGenerated = now()", api.workspace)
    body["tags"] = {"Owner": "a"}
    body["identity"] = {"type": "SystemAssigned"}
    body["properties"] |= {"description": "d", "novelty": {"a": [1, 2.5, None, True]}}
    body["properties"]["dataFlows"][0]["captureOverflow"] = False
    made = api.put(api.rule_id("unknown"), body)
    read = api.arm("GET", api.rule_id("unknown")).json()
    assert made == read
    assert read["tags"] == {"Owner": "a"}
    assert read["properties"]["novelty"] == {"a": [1, 2.5, None, True]}
    assert read["properties"]["dataFlows"][0]["captureOverflow"] is False
    again = api.arm("PUT", api.rule_id("unknown"), read)
    assert again.status_code == 200, again.text
    assert again.json()["properties"] == read["properties"]
    path, _ = api.make_workspace("round-trip")
    workspace = api.arm("GET", path, version=WORKSPACES).json()
    workspace["properties"]["features"] = {"novelty": 1}
    changed = api.arm("PUT", path, workspace, version=WORKSPACES)
    assert changed.status_code == 200, changed.text
    assert changed.json()["properties"]["features"]["novelty"] == 1
    assert changed.json()["properties"]["customerId"] == workspace["properties"]["customerId"]


def test_patch_and_etags(api: Api) -> None:
    api.make_table("Etag_CL", ID)
    rule = api.make_rule("etag", ID, "Etag_CL")
    first = api.arm("GET", rule.path)
    etag = first.headers["etag"]
    assert json.loads(etag) == first.json()["etag"].strip('"')
    answer = api.arm("PATCH", rule.path, {"tags": {"a": "1"}}, headers={"If-Match": etag})
    assert answer.status_code == 200, answer.text
    assert answer.json()["tags"] == {"a": "1"}
    assert answer.json()["properties"] == first.json()["properties"]
    assert answer.headers["etag"] != etag
    stale = api.arm("PATCH", rule.path, {"tags": {"a": "2"}}, headers={"If-Match": etag})
    check_error(stale, 412, "PreconditionFailed")
    body = rule_body(api, ID, "Etag_CL", "source | extend TimeGenerated = now()", api.workspace)
    exists = api.arm("PUT", rule.path, body, headers={"If-None-Match": "*"})
    check_error(exists, 412, "PreconditionFailed")
    assert api.arm("GET", rule.path).json()["tags"] == {"a": "1"}
    stale = api.arm("DELETE", rule.path, headers={"If-Match": etag})
    check_error(stale, 412, "PreconditionFailed")
    assert api.arm("DELETE", rule.path, headers={"If-Match": "*"}).status_code == 200
    assert api.arm("DELETE", rule.path).status_code == 204
    missing = api.arm("PATCH", rule.path, {"tags": {}})
    check_error(missing, 404, "ResourceNotFound")


def test_another_location_is_refused(api: Api) -> None:
    path, _ = api.make_workspace("placed")
    answer = api.arm("PUT", path, {"location": "mars", "properties": {}}, version=WORKSPACES)
    assert answer.status_code == 409
    rule = api.rule_id("far")
    api.make_table("Far_CL", ID)
    body = rule_body(api, ID, "Far_CL", "source | extend TimeGenerated = now()", api.workspace)
    far = api.arm("PUT", rule, body | {"location": "mars"})
    assert far.status_code == 400, far.text


# Groups, lists, roles


def test_groups_answer_head(api: Api) -> None:
    path = f"{api.subscription}/resourcegroups/head-group"
    assert api.arm("HEAD", path, version="2021-04-01").status_code == 404
    assert api.arm("PUT", path, {"location": "eastus"}, version="2021-04-01").status_code == 201
    answer = api.arm("HEAD", path, version="2021-04-01")
    assert (answer.status_code, answer.content) == (204, b"")
    assert api.arm("PUT", path, {"location": "eastus"}, version="2021-04-01").status_code == 200


def test_lists_come_in_pages_that_hold_each_thing_once(api: Api) -> None:
    group = f"{api.subscription}/resourceGroups/paged"
    api.put(group, {"location": "eastus"}, "2021-04-01")
    base = f"{group}/providers/Microsoft.Insights/dataCollectionEndpoints"
    names = [f"page-{number:02d}" for number in range(7)]
    for name in names:
        api.put(f"{base}/{name}", {"location": "eastus", "properties": {}})
    answer = get(api, f"{base}?api-version={INSIGHTS}&%24top=3")
    found: list[str] = []
    pages = 0
    while True:
        body = answer.json()
        found += [item["name"] for item in body["value"]]
        pages += 1
        link = body.get("nextLink")
        if link is None:
            break
        assert link.startswith(api.base)
        answer = api.http.get(link, headers=api.bearer(ARM_SCOPE))
        assert answer.status_code == 200, answer.text
    assert sorted(found) == names
    assert pages == 3
    check_error(get(api, f"{base}?api-version={INSIGHTS}&$top=0"), 400, "InvalidTopParameter")
    check_error(get(api, f"{base}?api-version={INSIGHTS}&$skiptoken=%E2%82%AC"), 400, "InvalidSkipToken")
    whole = api.arm("GET", f"{api.subscription}/providers/Microsoft.Insights/dataCollectionEndpoints").json()
    assert set(names) <= {item["name"] for item in whole["value"]}


def test_role_assignments(api: Api) -> None:
    scope = api.workspace
    roles = f"{scope}/providers/Microsoft.Authorization"
    wanted = quote("roleName eq 'Log Analytics Reader'")
    url = f"{roles}/roleDefinitions?%24filter={wanted}&api-version=2022-05-01-preview"
    (definition,) = get(api, url).json()["value"]
    assert definition["name"] == "73c42c96-874c-492b-b04d-ab87d138a893"
    properties = {
        "roleDefinitionId": definition["id"],
        "principalId": api.env["HEADRACE_PRINCIPAL_ID"],
        "principalType": "ServicePrincipal",
    }
    first = f"{roles}/roleAssignments/{uuid.uuid4()}"
    version = "2022-04-01"
    made = api.arm("PUT", first, {"properties": properties}, version=version)
    assert made.status_code == 201, made.text
    assert made.json()["properties"]["scope"].lower() == scope.lower()
    again = api.arm("PUT", first, {"properties": properties}, version=version)
    assert again.status_code in (200, 201)
    other = f"{roles}/roleAssignments/{uuid.uuid4()}"
    check_error(
        api.arm("PUT", other, {"properties": properties}, version=version), 409, "RoleAssignmentExists"
    )
    nobody = properties | {"principalId": str(uuid.uuid4())}
    del nobody["principalType"]
    check_error(api.arm("PUT", other, {"properties": nobody}, version=version), 400, "PrincipalNotFound")
    assert api.arm("DELETE", first, version=version).status_code == 200
    assert api.arm("DELETE", first, version=version).status_code == 204


def test_table_rules(api: Api) -> None:
    def put(name: str, columns: list[dict[str, str]], workspace: str = api.workspace) -> httpx.Response:
        body = {"properties": {"schema": {"name": name, "columns": columns}}}
        return api.arm("PUT", f"{workspace}/tables/{name}", body, version=TABLES)

    time = {"name": "TimeGenerated", "type": "datetime"}
    for name, columns in (
        ("NoTime_CL", [{"name": "Id", "type": "string"}]),
        ("WrongTime_CL", [{"name": "TimeGenerated", "type": "string"}]),
        ("Plain", [time]),
        ("Twice_CL", [time, {"name": "Ab", "type": "int"}, {"name": "Ab", "type": "int"}]),
        ("Reserved_CL", [time, {"name": "TenantId", "type": "string"}]),
        ("Kind_CL", [time, {"name": "Ab", "type": "blob"}]),
        ("Letters_CL", [time, {"name": "A b", "type": "int"}]),
        ("Many_CL", [time, *({"name": f"Col{number}", "type": "int"} for number in range(501))]),
        ("1_CL", [time]),
    ):
        answer = put(name, columns)
        assert answer.status_code == 400, (name, answer.text)
        assert answer.json()["error"]["message"]
        assert api.arm("GET", f"{api.workspace}/tables/{name}", version=TABLES).status_code == 404
    assert put("Retype_CL", [time, {"name": "Ab", "type": "int"}]).status_code == 200
    assert put("Retype_CL", [time, {"name": "Ab", "type": "string"}]).status_code == 400
    assert put("retype_CL", [time]).status_code == 200
    delete = api.arm("DELETE", f"{api.workspace}/tables/Syslog", version=TABLES)
    assert delete.status_code == 400
    assert (
        put(
            "Most_CL", [time, *({"name": f"Col{number}", "type": "int"} for number in range(499))]
        ).status_code
        == 200
    )
