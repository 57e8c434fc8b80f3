"""One error shape over every route and method, and who is let in where."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import OperationalError
from tests.unit.arm.conftest import (
    ENDPOINT,
    GROUP,
    RULE,
    SUBSCRIPTION,
    WORKSPACE,
    World,
    rule_body,
    table_body,
)

from headrace.arm.body import parse_object
from headrace.arm.ids import SENTINEL_TYPES, TABLE_TYPE
from headrace.arm.router import METHODS, all_kinds
from headrace.arm.routes import MAX_BODY, read_query
from headrace.clock import SECOND
from headrace.identity.apps import set_enabled
from headrace.store.database import Database
from headrace.wire.problems import HttpError

ASSIGNMENT = "providers/Microsoft.Authorization/roleAssignments/7b2b5b0f-7fd5-4b6e-9a55-1d7b5b2f0a11"
PUBLISHER = "3913510d-42f4-4e42-8a64-420c390055eb"


_RESOURCES = (
    "deployments",
    "deployments/x",
    "deployments/x/validate",
    "deployments/x/whatIf",
    "deployments/x/cancel",
    "deployments/x/operations",
    "deployments/x/operations/y",
    "deployments/x/operationStatuses/y",
    "tags/default",
    "tags/other",
)


def paths() -> list[str]:
    """An address of every kind: its collection and one resource that is not there."""
    found = ["/subscriptions", "/tenants", f"/subscriptions/{SUBSCRIPTION}/resourceGroups/none"]
    for kind in all_kinds():
        if kind.type in SENTINEL_TYPES[1:]:
            continue  # They differ in their names alone.
        namespace, *types = kind.type.split("/")
        if namespace == "Microsoft.Resources":
            found.append(f"/subscriptions/{SUBSCRIPTION}/{types[-1]}")
            continue
        base = f"{GROUP}/providers/{namespace}"
        parts = "".join(f"/{name}/work1" for name in types[:-1])
        found += [f"{base}{parts}/{types[-1]}", f"{base}{parts}/{types[-1]}/nothing-here"]
    return [
        *found,
        *(f"{GROUP}/providers/Microsoft.Resources/{rest}" for rest in _RESOURCES),
        *(
            f"{RULE}/providers/Microsoft.Insights/diagnosticSettings{name}"
            for name in ("", "/x", "Categories")
        ),
        f"{GROUP}/providers/No.Such/things/x",
        f"{GROUP}/providers/Microsoft.Insights/no/x",
        "/providers",
    ]


def check_shape(response: httpx.Response) -> None:
    """ARM's error body, for every status that is not a success."""
    if response.status_code < 400:
        return
    assert response.status_code < 500, response.text
    if response.request.method == "HEAD":
        assert response.content == b""
        return
    assert response.headers["content-type"].startswith("application/json")
    error = response.json()["error"]
    assert set(error) <= {"code", "message", "target", "details"}
    assert error["code"].isalnum()
    assert error["message"].strip()
    assert response.headers["x-ms-error-code"] == error["code"]
    assert "Traceback" not in response.text


def test_every_route_and_method_answers_in_one_shape(world: World) -> None:
    world.basics()
    for path in paths():
        for method in (*METHODS, "OPTIONS", "TRACE"):
            for body in (b"", b"[]", b'{"properties": []}', b'{"location": 3, "tags": [1]}'):
                response = world.call(method, path, content=body)
                check_shape(response)
                assert response.headers["x-ms-request-id"]
                if method in ("GET", "HEAD", "DELETE"):
                    break


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", GROUP, "GET, HEAD, PUT, PATCH, DELETE"),
        ("PUT", f"{GROUP}/providers/Microsoft.Insights/dataCollectionRules", "GET, HEAD"),
        ("PATCH", f"{GROUP}/{ASSIGNMENT}", "GET, HEAD, PUT, DELETE"),
        ("OPTIONS", GROUP, "GET, HEAD, PUT, PATCH, DELETE, POST"),
        ("DELETE", f"{RULE}/providers/Microsoft.Insights/metrics/x", ""),
    ],
)
def test_a_method_that_is_not_there_is_answered_with_those_that_are(
    world: World, method: str, path: str, allowed: str
) -> None:
    world.basics()
    response = world.call(method, path, {} if method in ("POST", "PUT", "PATCH") else None)
    assert (response.status_code, response.headers["allow"]) == (405, allowed)


def test_without_a_token_every_route_says_401(world: World) -> None:
    for path in paths():
        response = world.call("GET", path, headers={"Authorization": ""})
        assert response.status_code == 401
        assert response.json()["error"]["code"] == "AuthenticationFailedMissingToken"
        challenge = response.headers["www-authenticate"]
        assert challenge.startswith(
            f'Bearer authorization_uri="https://localhost:8443/{world.first.tenant_id}"'
        )


def test_the_wrong_audience_and_a_disabled_app_are_refused(world: World) -> None:
    wrong = world.call("GET", "/subscriptions", token=world.token(audience="https://monitor.azure.com"))
    assert wrong.json()["error"]["code"] == "InvalidAuthenticationTokenAudience"
    with world.database.write() as connection:
        set_enabled(connection, world.first.app_id, False)
    assert world.call("GET", "/subscriptions").status_code == 401


def test_nothing_is_allowed_by_default(world: World) -> None:
    world.basics()
    world.put(RULE, rule_body())
    nobody = world.other_app()
    for path in (GROUP, WORKSPACE, f"{WORKSPACE}/tables/My_CL", f"{WORKSPACE}/tables", RULE, f"{RULE}x"):
        for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE"):
            response = world.call(
                method, path, {"location": "eastus"} if method[0] == "P" else None, token=nobody
            )
            assert response.status_code == 403, (method, path)
    error = world.call("GET", RULE, token=nobody).json()["error"]
    assert error["code"] == "AuthorizationFailed"
    assert (
        "does not have authorization to perform action 'Microsoft.Insights/dataCollectionRules/read'"
        in error["message"]
    )
    assert f"over scope '{RULE}' or the scope is invalid" in error["message"]


@pytest.mark.parametrize(
    ("role", "scope", "reads", "writes"),
    [
        ("Reader", GROUP, True, False),
        ("Monitoring Contributor", GROUP, True, True),
        ("Log Analytics Contributor", WORKSPACE, False, False),
        ("Monitoring Metrics Publisher", RULE, False, False),
        ("Contributor", f"/subscriptions/{SUBSCRIPTION}", True, True),
    ],
)
def test_rights_follow_the_role_and_its_scope(
    world: World, role: str, scope: str, reads: bool, writes: bool
) -> None:
    world.basics()
    world.put(RULE, rule_body())
    token = world.other_app((role, scope))
    assert (world.call("GET", RULE, token=token).status_code == 200) is reads
    assert (world.call("PUT", RULE, rule_body(), token=token).status_code == 200) is writes
    assert (world.call("DELETE", RULE, token=token).status_code == 200) is writes


def test_a_role_taken_away_counts_for_the_next_call(world: World) -> None:
    world.basics()
    token = world.other_app(("Reader", GROUP))
    assert world.call("GET", GROUP, token=token).status_code == 200
    listed = world.get(f"{GROUP}/providers/Microsoft.Authorization/roleAssignments?$filter=atScope()")[
        "value"
    ]
    mine = next(item for item in listed if item["properties"]["scope"] == GROUP)
    assert world.call("DELETE", mine["id"]).status_code == 200
    assert world.call("GET", GROUP, token=token).status_code == 403


def test_role_assignments_as_the_clients_make_them(world: World) -> None:
    world.basics()
    world.put(RULE, rule_body())
    role = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions/{PUBLISHER}"
    body = {"properties": {"roleDefinitionId": role, "principalId": world.first.principal_id}}
    made = world.call("PUT", f"{RULE}/{ASSIGNMENT}", body, version="2022-04-01")
    assert made.status_code == 201
    assert made.json()["properties"]["scope"] == RULE
    assert world.call("PUT", f"{RULE}/{ASSIGNMENT}", body).status_code == 200
    twice = world.call("PUT", f"{RULE}/{ASSIGNMENT[:-1]}2", body)
    assert (twice.status_code, twice.json()["error"]["code"]) == (409, "RoleAssignmentExists")
    assert world.get(f"{RULE}/{ASSIGNMENT}")["name"] == ASSIGNMENT.rpartition("/")[2]
    nowhere = world.call("PUT", f"{RULE}x/{ASSIGNMENT}", body)
    assert (nowhere.status_code, nowhere.json()["error"]["code"]) == (404, "ResourceNotFound")
    assert world.call("PUT", f"{WORKSPACE}/tables/Syslog/{ASSIGNMENT[:-1]}3", body).status_code == 201
    assert world.call("DELETE", f"{RULE}/{ASSIGNMENT}").status_code == 200
    assert world.call("DELETE", f"{RULE}/{ASSIGNMENT}").status_code == 204
    assert world.call("GET", f"{RULE}/{ASSIGNMENT}").json()["error"]["code"] == "RoleAssignmentNotFound"


def test_role_definitions_are_found_by_name(world: World) -> None:
    base = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions"
    found = world.get(f"{base}?$filter=roleName%20eq%20%27Monitoring%20Metrics%20Publisher%27")["value"]
    assert [item["id"] for item in found] == [f"{base}/{PUBLISHER}"]
    assert found[0]["properties"]["roleName"] == "Monitoring Metrics Publisher"
    assert world.get(f"{base}/{PUBLISHER}") == found[0]
    assert len(world.get(base)["value"]) > 5
    assert world.call("GET", f"{base}?$filter=name eq 'x'").json()["error"]["code"] == "UnsupportedQuery"
    assert world.call("GET", f"{base}/nothing").status_code == 404


def test_api_versions(world: World) -> None:
    missing = world.call("GET", "/subscriptions", version=None)
    assert missing.json()["error"]["code"] == "MissingApiVersionParameter"
    assert missing.json()["error"]["message"] == (
        "The api-version query parameter (?api-version=) is required for all requests."
    )
    for bad in ("latest", "2023-13-01", "2023-1-1", "2023-01-01-beta-x", "1"):
        assert world.call("GET", "/subscriptions", version=bad).status_code == 400
    for good in ("2031-01-31", "2019-11-01-preview"):
        assert world.call("GET", "/subscriptions", version=good).status_code == 200


def test_rules_and_endpoints_have_azures_versions_and_newer_ones(world: World) -> None:
    world.basics()
    world.put(RULE, rule_body())
    for good in ("2021-09-01-preview", "2024-03-11", "2025-05-11", "2025-08-01"):
        world.clock.set(1_790_000_000 * SECOND)
        assert world.call("GET", RULE, version=good, token=world.token()).status_code == 200, good
    for bad in ("2010-01-01", "2023-03-12", "2099-01-01"):
        answer = world.call("GET", RULE, version=bad)
        assert answer.status_code == 400, bad
        error = answer.json()["error"]
        assert error["code"] == "NoRegisteredProviderFound"
        assert f"API version '{bad}' for type 'dataCollectionRules'" in error["message"]
        assert "2023-03-11" in error["message"]


def test_unknown_scopes_and_kinds_have_azures_codes(world: World) -> None:
    world.put(GROUP, {"location": "eastus"})
    cases = {
        f"{GROUP}x/providers/Microsoft.Insights/dataCollectionRules/a": "ResourceGroupNotFound",
        f"/subscriptions/{SUBSCRIPTION[:-1]}6": "SubscriptionNotFound",
        RULE: "ResourceNotFound",
        f"{GROUP}/providers/No.Such/things/x": "InvalidResourceNamespace",
        f"{GROUP}/providers/Microsoft.Insights/things/x": "InvalidResourceType",
        f"{GROUP}/what/ever": "InvalidRequestUri",
    }
    found = {path: world.call("GET", path).json()["error"]["code"] for path in cases}
    assert found == cases
    message = world.call("GET", RULE).json()["error"]["message"]
    assert message == (
        "The Resource 'Microsoft.Insights/dataCollectionRules/dcr1' under resource group 'rg1' was not found."
    )


def test_a_subscription_that_is_not_there_is_404_for_everybody(world: World) -> None:
    world.basics()
    nowhere = f"{SUBSCRIPTION[:-1]}6"
    stranger = world.other_app()
    reader = world.other_app(("Reader", WORKSPACE))
    paths = (
        "",
        "/resourceGroups",
        "/resourceGroups/rg1",
        RULE.removeprefix(f"/subscriptions/{SUBSCRIPTION}"),
    )
    for token in (stranger, reader, world.token()):
        for path in paths:
            for method in ("GET", "DELETE") if "rg1" in path else ("GET",):
                answer = world.call(method, f"/subscriptions/{nowhere}{path}", token=token)
                assert (answer.status_code, answer.json()) == (
                    404,
                    {
                        "error": {
                            "code": "SubscriptionNotFound",
                            "message": f"The subscription '{nowhere}' could not be found.",
                        }
                    },
                )
    wrong = world.call("GET", "/subscriptions/mine/resourceGroups/rg1", token=stranger)
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "InvalidSubscriptionId")


def test_a_stranger_learns_nothing_of_what_a_subscription_holds(world: World) -> None:
    world.basics()
    stranger = world.other_app()
    for path in (GROUP, f"{GROUP}x", WORKSPACE, f"{WORKSPACE}x", f"/subscriptions/{SUBSCRIPTION}"):
        answer = world.call("GET", path, token=stranger)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "AuthorizationFailed"), path


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"{'a': 1}",
        b'{"a": NaN}',
        b'{"a": "\xff"}',
        b'{"a": "\\ud800"}',
        b'{"a": "\\ud800abcdefgh"}',
        b'{"\\udfff\\udc00": 1}',
        b'{"a": ' + b"1" * 5000 + b"}",
        b'{"a": 1} x',
        b"[]",
        b"null",
        b'{"a": ' + b"[" * 70 + b"]" * 70 + b"}",
        b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"\x00",
    ],
    ids=range(14),
)
def test_bodies_that_are_no_json_object_are_400(world: World, body: bytes) -> None:
    world.put(GROUP, {"location": "eastus"})
    response = world.call("PUT", ENDPOINT, content=body)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "InvalidRequestContent")


def test_a_body_past_the_bound_is_413_and_gzip_is_415(world: World) -> None:
    world.put(GROUP, {"location": "eastus"})
    big = b'{"location": "eastus", "properties": {"description": "' + b"x" * MAX_BODY + b'"}}'
    assert world.call("PUT", ENDPOINT, content=big).status_code == 413
    assert world.call("PUT", ENDPOINT, content=b"{}", headers={"Content-Encoding": "gzip"}).status_code == 415


def test_a_store_that_cannot_be_read_is_503(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    token = world.token()

    def broken(*_: object) -> None:
        raise OperationalError("SELECT", {}, Exception("disk I/O error"))

    monkeypatch.setattr(Database, "read", broken)
    answer = world.call("GET", GROUP, token=token)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "ServiceUnavailable")
    assert answer.headers["retry-after"] == "1" and "disk I/O" not in answer.text


def test_tags_are_bounded(world: World) -> None:
    bad: list[Any] = [[], {"a": 1}, {"a" * 513: ""}, {"a": "b" * 257}, {str(n): "" for n in range(51)}, "x"]
    for tags in bad:
        assert world.call("PUT", GROUP, {"location": "eastus", "tags": tags}).status_code == 400, tags
    assert world.call("PUT", GROUP, {"location": "eastus", "tags": None}).status_code == 201


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = ("kind", "tags", "identity", "sku", "etag", "name")
PROPERTIES = (
    *("schema", "plan", "retentionInDays", "totalRetentionInDays", "sku", "features", "networkAcls"),
    *("dataFlows", "destinations", "streamDeclarations", "dataSources", "transformations"),
    *("roleDefinitionId", "principalId", "dataCollectionRuleId", "dataCollectionEndpointId"),
)
SCHEMAS = st.fixed_dictionaries({}, optional={"name": JSON, "columns": JSON, "standardColumns": JSON})


def spoilt(properties: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Good properties with one of them replaced, or one put beside them."""
    return st.tuples(st.sampled_from(PROPERTIES), JSON).map(
        lambda change: {**properties, change[0]: change[1]}
    )


LOOSE = JSON | st.fixed_dictionaries({}, optional=dict.fromkeys(PROPERTIES, JSON))


def bodies(properties: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Whole documents around the properties."""
    location = st.sampled_from(["eastus"] * 5 + [7, None])
    return st.fixed_dictionaries(
        {"location": location, "properties": properties}, optional=dict.fromkeys(FIELDS, JSON)
    )


TABLES = (f"{WORKSPACE}/tables/My_CL", f"{WORKSPACE}/tables/Syslog")
OTHERS = (
    *(GROUP, WORKSPACE, ENDPOINT, f"{RULE}/{ASSIGNMENT}"),
    f"{RULE}/providers/Microsoft.Insights/dataCollectionRuleAssociations/x",
)
TABLE_PROPERTIES = table_body(("Extra_CF", "int"))["properties"]
CASES = st.one_of(
    st.tuples(st.just(RULE), bodies(spoilt(rule_body()["properties"]))),
    st.tuples(
        st.sampled_from(TABLES),
        bodies(spoilt(TABLE_PROPERTIES) | st.fixed_dictionaries({"schema": SCHEMAS})),
    ),
    st.tuples(st.sampled_from(OTHERS), bodies(LOOSE)),
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=CASES, method=st.sampled_from(["PUT", "PATCH"]))
def test_no_document_breaks_the_server(world: World, case: tuple[str, dict[str, Any]], method: str) -> None:
    path, body = case
    if world.call("HEAD", WORKSPACE).status_code == 404:
        world.basics()
    response = world.call(method, path, content=json.dumps(body).encode())
    check_shape(response)
    # Whatever was accepted can be read and listed.
    if response.status_code < 300:
        assert world.call("GET", path).status_code == 200
        assert world.call("GET", path.rpartition("/")[0]).status_code in (200, 405)


@given(st.binary(max_size=64))
def test_queries_are_read_or_refused(raw: bytes) -> None:
    try:
        query = read_query(raw)
    except HttpError as error:
        assert error.status == 400
    else:
        assert all(name == name.lower() for name in query)


@given(st.binary(max_size=200))
def test_bodies_are_read_or_refused(raw: bytes) -> None:
    try:
        assert isinstance(parse_object(raw), dict)
    except HttpError as error:
        assert error.status == 400


def test_the_table_kind_is_named_as_azure_names_it() -> None:
    assert TABLE_TYPE in {kind.type for kind in all_kinds()}


def test_ids_that_a_client_gives_come_back(world: World) -> None:
    sent = {
        "x-ms-correlation-request-id": "0f8fad5b-d9cb-469f-a165-70867728950e",
        "x-ms-client-request-id": "mine",
    }
    for path in ("/subscriptions", f"{GROUP}x"):
        found = world.call("GET", path, headers=sent).headers
        assert {name: found[name] for name in sent} == sent
        assert found["x-ms-request-id"] not in sent.values()
    plain = world.call("GET", "/subscriptions", headers={"x-ms-correlation-request-id": "not fit"}).headers
    assert plain["x-ms-correlation-request-id"] == plain["x-ms-request-id"]
    assert "x-ms-client-request-id" not in plain
