from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send
from tests.ingest_kit import ROW, TENANT, Tenant, World

from headrace.identity.apps import delete_app, set_enabled
from headrace.identity.assignments import delete_assignments_under
from headrace.journal.model import (
    Entry,
)
from headrace.observe import log_errors

GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
BODY = json.dumps([ROW, ROW]).encode()


def test_accepted_payload_is_in_the_journal_as_received(world: World) -> None:
    packed = gzip.compress(BODY)
    plain = world.post(BODY)
    zipped = world.post(packed, headers=world.headers(content_encoding="GZIP"))
    for answer in (plain, zipped):
        assert answer.status == 204
        assert answer.body == b""
        assert GUID.fullmatch(answer.header("x-ms-request-id") or "")
    first, second = world.records()
    assert first.entry == Entry(
        request_id=plain.header("x-ms-request-id") or "",
        client_request_id="",
        principal=world.app.principal_id,
        rule=world.rule.immutable_id,
        rule_version=7,
        stream="Custom-MyTable_CL",
        encoding="",
        body=BODY,
        length=len(BODY),
        rows=2,
    )
    assert (second.entry.encoding, second.entry.body) == ("gzip", packed)
    assert (second.entry.length, second.entry.rows) == (len(BODY), 2)
    assert [record.entry for record in world.notes.records] == [first.entry, second.entry]


@pytest.mark.parametrize(
    "path",
    [
        "/DATACOLLECTIONRULES/{upper}/STREAMS/Custom-MyTable_CL",
        "//dataCollectionRules//{id}/streams///Custom-MyTable_CL/",
        "/dataCollection%52ules/{id}/streams/Custom%2DMyTable%5FCL",
        "/datacollectionrules/{id}/streams/custom-mytable_cl",
    ],
)
def test_paths_are_taken_as_clients_write_them(world: World, path: str) -> None:
    written = path.format(id=world.rule.immutable_id, upper=world.rule.immutable_id.upper())
    assert world.post(BODY, path=written.encode()).status == 204
    entry = world.records()[0].entry
    assert (entry.stream, entry.rule) == ("Custom-MyTable_CL", world.rule.immutable_id)


def test_a_stream_is_looked_up_exactly_before_in_any_case(world: World) -> None:
    world.with_rule(streams=("Custom-ABC", "Custom-Abc", "Custom-abc"))
    for name in ("Custom-abc", "Custom-Abc", "Custom-ABC", "CUSTOM-ABC"):
        assert world.post(BODY, path=world.path(name)).status == 204
    streams = [record.entry.stream for record in world.records()]
    assert streams == ["Custom-abc", "Custom-Abc", "Custom-ABC", "Custom-ABC"]


@pytest.mark.parametrize(
    "query",
    [
        b"api-version=2023-01-01",
        b"api%2Dversion=2023-01-01",
        b"API-Version=2021-11-01-preview",
        b"x=1&api-version=2023%2D04%2D01-preview&y",
        b"api-version=2099-12-31",
    ],
)
def test_any_well_formed_version_is_taken(world: World, query: bytes) -> None:
    assert world.post(BODY, query=query).status == 204


@pytest.mark.parametrize(
    ("query", "code"),
    [
        (b"", "MissingApiVersion"),
        (b"api-version=", "MissingApiVersion"),
        (b"version=2023-01-01", "MissingApiVersion"),
        (b"api-version=latest", "InvalidApiVersion"),
        (b"api-version=2023-13-01", "InvalidApiVersion"),
        (b"api-version=" + b"9" * 5000, "InvalidApiVersion"),
        (b"api-version=%ff%fe", "InvalidApiVersion"),
    ],
)
def test_a_missing_or_malformed_version_is_400(world: World, query: bytes, code: str) -> None:
    answer = world.post(BODY, query=query)
    assert (answer.status, answer.error["code"]) == (400, code)
    assert len(answer.error["message"]) < 400


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/dataCollectionRules/dcr-1/streams/S"),
        ("PUT", "/dataCollectionRules/dcr-1/streams/S"),
        ("POST", "/dataCollectionRules/dcr-1/streams"),
        ("POST", "/dataCollectionRules/dcr-1/streams/S/more"),
        ("POST", "/dataCollectionRules/dcr-1/tables/S"),
        ("POST", "/dataCollectionRules"),
    ],
)
def test_other_operations_are_404(world: World, method: str, path: str) -> None:
    answer = world.post(BODY, method=method, path=path.encode())
    assert (answer.status, answer.error["code"]) == (404, "NotFound")
    assert "POST /dataCollectionRules/" in answer.error["message"]


def test_unknown_rule(world: World) -> None:
    unknown = "dcr-00000000000000000000000000000bad"
    answer = world.post(BODY, path=world.path(rule=unknown))
    assert (answer.status, answer.error["code"]) == (404, "NotFound")
    assert answer.error["message"] == f"Data collection rule with immutable Id '{unknown}' not found."


def test_unknown_stream(world: World) -> None:
    answer = world.post(BODY, path=world.path("Custom-Nope"))
    assert (answer.status, answer.error["code"]) == (400, "InvalidStream")
    assert answer.error["message"] == (
        "The stream Custom-Nope was not configured in the data collection rule "
        f"with immutable Id {world.rule.immutable_id}."
    )
    assert answer.error["details"][0]["message"] == "The rule's streams are: Custom-MyTable_CL, Custom-Other."
    assert answer.header("retry-after") is None


def test_role_missing(world: World) -> None:
    other = world.tenant.app()
    token = world.tenant.token(other)
    answer = world.post(BODY, headers=world.headers(authorization=f"Bearer {token}"))
    assert (answer.status, answer.error["code"]) == (403, "OperationFailed")
    rule = world.rule
    assert answer.error["message"] == (
        "The authentication token provided does not have access to ingest data for the data collection "
        f"rule with immutable Id '{rule.immutable_id}'. PipelineAccessResult: AccessGranted: False, "
        f"IsRbacPresent: False, IsDcrDceBindingValid: , DcrArmId: {rule.resource_id}, "
        f"Message: Required authorization action was not found for tenantId {TENANT} "
        f"objectId {other.principal_id} on resourceId {rule.resource_id} "
        f"ConfigurationId: {rule.immutable_id}.."
    )


def test_a_role_with_management_actions_only_does_not_let_in(world: World) -> None:
    owner = world.tenant.app(world.rule, role="Owner")
    token = world.tenant.token(owner)
    assert world.post(BODY, headers=world.headers(authorization=f"Bearer {token}")).status == 403


def test_a_removed_role_or_app_ends_access_with_the_next_snapshot(tmp_path: Path) -> None:
    tenant = Tenant(tmp_path)
    with World(tmp_path, tenant) as world:
        assert world.post(BODY).status == 204
        with tenant.database.write() as connection:
            delete_assignments_under(connection, world.rule.resource_id)
        tenant.access.refresh()
        assert world.post(BODY).status == 403

        world.app = tenant.app(world.rule)
        world.token = tenant.token(world.app)
        assert world.post(BODY).status == 204
        with tenant.database.write() as connection:
            set_enabled(connection, world.app.app_id, False)
        tenant.access.refresh()
        assert world.post(BODY).status == 401
        with tenant.database.write() as connection:
            set_enabled(connection, world.app.app_id, True)
        tenant.access.refresh()
        assert world.post(BODY).status == 204
        with tenant.database.write() as connection:
            delete_app(connection, world.app.app_id)
        tenant.access.refresh()
        assert world.post(BODY).status == 401
        assert len(world.payloads()) == 3
    tenant.close()


@pytest.mark.parametrize(
    ("token", "code"),
    [
        (None, "AuthenticationFailed"),
        ("Bearer", "InvalidToken"),
        ("Basic dXNlcjpwYXNz", "InvalidToken"),
        ("Bearer a.b.c", "InvalidToken"),
        ("Bearer {forged}", "InvalidToken"),
        ("Bearer {unsigned}", "InvalidToken"),
        ("Bearer {expired}", "ExpiredAuthenticationToken"),
        ("Bearer {management}", "InvalidAudience"),
    ],
)
def test_tokens_that_do_not_let_in(world: World, token: str | None, code: str) -> None:
    header, claims, signature = world.token.split(".")
    filled = token and token.format(
        forged=f"{header}.{claims}.{signature[:-6]}AAAAAA",
        unsigned=f"eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{claims}.",
        expired=world.tenant.token(world.app, ago=100_000),
        management=world.tenant.token(world.app, "https://management.azure.com"),
    )
    answer = world.post(BODY, headers=world.headers(authorization=filled))
    assert (answer.status, answer.error["code"]) == (401, code)
    challenge = answer.header("www-authenticate") or ""
    assert challenge.startswith(f'Bearer authorization_uri="https://localhost:8443/{TENANT}"')
    assert "insufficient_claims" not in challenge
    assert answer.header("retry-after") is None
    assert world.records() == []


def test_both_spellings_of_the_audience(world: World) -> None:
    for audience in ("https://monitor.azure.com", "https://monitor.azure.com/", "https://localhost:8443"):
        token = world.tenant.token(world.app, audience)
        assert world.post(BODY, headers=world.headers(authorization=f"Bearer {token}")).status == 204


def test_checks_go_size_token_rule_role_stream_type_body(tmp_path: Path, tenant: Tenant) -> None:
    """Everything is wrong at first; each step mends what was told."""
    with World(tmp_path, tenant, ingest={"max_wire_bytes": 1024}) as world:
        unknown = world.path("Custom-Nope", "dcr-0")
        no_role = tenant.token(tenant.app())
        wrong = {"content_type": "text/plain", "content_encoding": "br"}
        bad = b"[{]"
        steps = [
            (
                413,
                world.post(
                    b"x" * 2000,
                    path=unknown,
                    headers=world.headers(authorization=None, content_length="2000"),
                ),
            ),
            (401, world.post(bad, path=unknown, headers=world.headers(authorization=None, **wrong))),
            (
                404,
                world.post(
                    bad, path=unknown, headers=world.headers(authorization=f"Bearer {no_role}", **wrong)
                ),
            ),
            (
                403,
                world.post(
                    bad,
                    path=world.path("Custom-Nope"),
                    headers=world.headers(authorization=f"Bearer {no_role}", **wrong),
                ),
            ),
            (400, world.post(bad, path=world.path("Custom-Nope"), headers=world.headers(**wrong))),
            (415, world.post(bad, headers=world.headers(**wrong))),
            (400, world.post(bad)),
        ]
        assert [answer.status for _, answer in steps] == [status for status, _ in steps]
        codes = [answer.error["code"] for _, answer in steps]
        assert codes == [
            "ContentLengthLimitExceeded",
            "AuthenticationFailed",
            "NotFound",
            "OperationFailed",
            "InvalidStream",
            "UnsupportedContentType",
            "MalformedJson",
        ]
        refused = [(note.status, note.code, note.rule, note.stream) for note in world.notes.refusals]
        rule = world.rule.immutable_id
        assert refused[2:] == [
            (404, "NotFound", "", ""),
            (403, "OperationFailed", rule, ""),
            (400, "InvalidStream", rule, ""),
            (415, "UnsupportedContentType", rule, "Custom-MyTable_CL"),
            (400, "MalformedJson", rule, "Custom-MyTable_CL"),
        ]
        assert all("Retry-After".lower() not in dict(answer.headers) for _, answer in steps)


@pytest.mark.parametrize(
    "given",
    [
        "application/json; charset=utf-8",
        "Application/JSON;charset=UTF-8",
        'application/json; charset="utf-8"',
        "application/json;odata.metadata=minimal",
        "application/json;",
    ],
)
def test_content_types_that_mean_json(world: World, given: str) -> None:
    assert world.post(BODY, headers=world.headers(content_type=given)).status == 204


@pytest.mark.parametrize(
    "given", [None, "", "text/json", "application/jsonl", "application/json; charset=utf-16", "x" * 3000]
)
def test_other_content_types_are_415(world: World, given: str | None) -> None:
    answer = world.post(BODY, headers=world.headers(content_type=given))
    assert (answer.status, answer.error["code"]) == (415, "UnsupportedContentType")
    assert "Send application/json" in answer.error["message"]


@pytest.mark.parametrize("given", ["br", "deflate", "zstd", "gzip, gzip", "gzip,"])
def test_other_encodings_are_415(world: World, given: str) -> None:
    answer = world.post(BODY, headers=world.headers(content_encoding=given))
    assert (answer.status, answer.error["code"]) == (415, "UnsupportedContentEncoding")


@pytest.mark.parametrize("given", ["", "identity", "Identity"])
def test_no_encoding(world: World, given: str) -> None:
    assert world.post(BODY, headers=world.headers(content_encoding=given)).status == 204
    assert world.records()[0].entry.encoding == ""


@pytest.mark.parametrize(
    ("sent", "asked", "back", "kept"),
    [
        ("6b1f2f6e-6a5c-4c8e-9d8a-000000000001", "true", "6b1f2f6e-6a5c-4c8e-9d8a-000000000001", True),
        ("6B1F2F6E6A5C4C8E9D8A000000000001", "True", "6b1f2f6e-6a5c-4c8e-9d8a-000000000001", True),
        ("6b1f2f6e-6a5c-4c8e-9d8a-000000000001", None, None, True),
        ("6b1f2f6e-6a5c-4c8e-9d8a-000000000001", "false", None, True),
        ("my-own-id", "true", "my-own-id", True),
        ("with blank", "true", None, False),
        ("x" * 129, "true", None, False),
        (None, "true", None, False),
    ],
)
def test_client_request_ids(
    world: World, sent: str | None, asked: str | None, back: str | None, kept: bool
) -> None:
    headers = world.headers(x_ms_client_request_id=sent, x_ms_return_client_request_id=asked)
    answer = world.post(BODY, headers=headers)
    assert answer.header("x-ms-client-request-id") == back
    refused = world.post(b"", headers=headers)
    assert (refused.status, refused.header("x-ms-client-request-id")) == (400, back)
    stored = world.records()[0].entry.client_request_id
    assert bool(stored) is kept
    if back:
        assert stored == back


def test_every_answer_has_a_request_id_of_its_own(world: World) -> None:
    answers = [world.post(body) for body in (BODY, b"", b"{}", BODY)]
    ids = [answer.header("x-ms-request-id") or "" for answer in answers]
    assert all(GUID.fullmatch(each) for each in ids)
    assert len(set(ids)) == 4


def test_an_empty_array_is_204_and_leaves_no_record(world: World) -> None:
    assert world.post(b" [ ] ").status == 204
    assert world.records() == []


def test_compatible_mode_answers_204_and_tells_the_observer(tmp_path: Path, tenant: Tenant) -> None:
    with World(tmp_path, tenant, mode="compatible") as world:
        assert world.send(ROW).status == 204
        assert world.send([1, "two", None]).status == 204
        assert world.send([1, ROW, [ROW], ROW]).status == 204
        assert world.post(b"17").status == 400
        told = [(note.members, note.reason, note.stream) for note in world.notes.drops]
        assert told == [
            (1, "not an array", "Custom-MyTable_CL"),
            (3, "not an object", "Custom-MyTable_CL"),
            (2, "not an object", "Custom-MyTable_CL"),
        ]
        (record,) = (one for one in world.records() if one.entry.stream != log_errors.STREAM)
        assert (record.entry.rows, json.loads(record.entry.body)) == (2, [ROW, ROW])
        assert record.entry.length == len(record.entry.body)


def test_compatible_mode_keeps_an_error_row_of_what_it_left_out(tmp_path: Path, tenant: Tenant) -> None:
    with World(tmp_path, tenant, mode="compatible") as world:
        answer = world.send(ROW)
        told = [one.entry for one in world.records()]
        assert [one.stream for one in told] == [log_errors.STREAM]
        (row,) = log_errors.decode_rows(told[0].body)
        assert (row.OperationName, row.InputStreamId) == ("Ingestion", "Custom-MyTable_CL")
        assert row.CorrelationId == answer.header("x-ms-request-id")
        assert "single object" in row.Message
        assert row.resource_id == row.resource_id.lower() != ""
        for _ in range(3 * log_errors.REPEATS):
            assert world.send(ROW).status == 204
        assert len(world.records()) == log_errors.REPEATS + 1


def test_health_is_the_gateways_own(tmp_path: Path, tenant: Tenant) -> None:
    ready = [False]
    with World(tmp_path, tenant, ready=lambda: ready[0]) as world:
        assert world.post(method="GET", path=b"/healthz").status == 200
        assert world.post(method="GET", path=b"/readyz").status == 503
        ready[0] = True
        assert world.post(method="GET", path=b"/readyz").status == 200


def test_everything_else_goes_to_the_proxy(tmp_path: Path, tenant: Tenant) -> None:
    seen: list[str] = []

    async def proxy(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["path"])
        await send({"type": "http.response.start", "status": 299, "headers": []})
        await send({"type": "http.response.body", "body": b"proxied"})

    with World(tmp_path, tenant, proxy=proxy) as world:
        for path in (
            b"/",
            b"/subscriptions",
            b"/v1/workspaces/x/query",
            b"/healthz/x",
            b"/xdatacollectionrules/a",
        ):
            assert world.post(method="GET", path=path).status == 299
    assert len(seen) == 5
