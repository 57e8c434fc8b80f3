from __future__ import annotations

import base64
import re
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.identity_kit import World

from headrace.clock import DAY
from headrace.identity.apps import add_secret, set_enabled
from headrace.identity.errors import KINDS

OTHER = "00000000-1111-2222-3333-444444444444"


def check_error(answer: Any, code: int, status: int, error: str) -> dict[str, Any]:
    """That an answer has the documented shape of an error, with these values."""
    document: dict[str, Any] = answer.json()
    assert (answer.status_code, document["error"], document["error_codes"]) == (status, error, [code])
    assert (KINDS[code].status, KINDS[code].error) == (status, error) or error == "invalid_tenant"
    first, trace, correlation, timestamp = document["error_description"].split("\r\n")
    assert first.startswith(f"AADSTS{code}: ")
    assert trace == f"Trace ID: {UUID(document['trace_id'])}"
    assert correlation == f"Correlation ID: {UUID(document['correlation_id'])}"
    assert timestamp == f"Timestamp: {document['timestamp']}"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", document["timestamp"])
    assert document["error_uri"].endswith(f"/error?code={code}")
    assert answer.headers["cache-control"] == "no-store, no-cache"
    assert "no-cache" in answer.headers["pragma"]
    return document


def test_success_has_the_documented_fields_as_numbers_and_is_never_cached(world: World) -> None:
    answer = world.client.post(f"/{world.tenant}/oauth2/v2.0/token", data=world.form())
    document = answer.json()
    assert answer.status_code == 200
    assert document.keys() == {"token_type", "expires_in", "ext_expires_in", "access_token"}
    assert document["token_type"] == "Bearer"
    assert (document["expires_in"], document["ext_expires_in"]) == (3599, 3599)
    assert answer.headers["cache-control"] == "no-store, no-cache"
    assert answer.headers["pragma"] == "no-cache"


@pytest.mark.parametrize(
    ("change", "code", "status", "error"),
    [
        ({"client_secret": "wrong"}, 7000215, 401, "invalid_client"),
        ({"client_secret": "w" * 5000}, 7000215, 401, "invalid_client"),
        ({"client_secret": None}, 7000218, 401, "invalid_client"),
        ({"client_secret": ""}, 7000218, 401, "invalid_client"),
        ({"client_id": OTHER}, 700016, 400, "unauthorized_client"),
        ({"client_id": "nonsense\r\nSet-Cookie: x"}, 700016, 400, "unauthorized_client"),
        ({"client_id": None}, 900144, 400, "invalid_request"),
        ({"grant_type": None}, 900144, 400, "invalid_request"),
        ({"grant_type": "password"}, 70003, 400, "unsupported_grant_type"),
        ({"scope": None}, 900144, 400, "invalid_request"),
        ({"scope": None, "resource": "https://monitor.azure.com"}, 901002, 400, "invalid_request"),
        ({"scope": "https://monitor.azure.com"}, 70011, 400, "invalid_scope"),
        ({"scope": "/.default"}, 70011, 400, "invalid_scope"),
        ({"scope": "https://monitor.azure.com/.default openid"}, 70011, 400, "invalid_scope"),
        (
            {"scope": "https://monitor.azure.com/.default https://api.loganalytics.io/.default"},
            700022,
            400,
            "invalid_scope",
        ),
        ({"scope": "https://example.com/.default"}, 500011, 400, "invalid_resource"),
        ({"scope": "https://localhost.example.com:8443/.default"}, 500011, 400, "invalid_resource"),
        ({"scope": "https://user@localhost:8443/.default"}, 500011, 400, "invalid_resource"),
        ({"scope": "http://example.com/.default"}, 500011, 400, "invalid_resource"),
        ({"scope": "x" * 3000 + "/.default"}, 70011, 400, "invalid_scope"),
        (
            {"client_secret": None, "client_assertion": "a.b.c"},
            900144,
            400,
            "invalid_request",
        ),
        (
            {"client_secret": None, "client_assertion": "a.b.c", "client_assertion_type": "saml"},
            90100,
            400,
            "invalid_request",
        ),
    ],
)
def test_each_fault_is_answered_with_its_number(
    world: World, change: dict[str, str | None], code: int, status: int, error: str
) -> None:
    answer = world.client.post(f"/{world.tenant}/oauth2/v2.0/token", data=world.form(**change))
    check_error(answer, code, status, error)
    assert str(world.first.secret) not in answer.text


def test_the_missing_parameter_is_named(world: World) -> None:
    for name in ("grant_type", "client_id", "scope"):
        answer = world.client.post(f"/{world.tenant}/oauth2/v2.0/token", data=world.form(**{name: None}))
        document = check_error(answer, 900144, 400, "invalid_request")
        assert f"'{name}'" in document["error_description"]


def test_an_empty_request_another_verb_and_an_unknown_tenant(world: World) -> None:
    path = f"/{world.tenant}/oauth2/v2.0/token"
    check_error(world.client.post(path, content=b""), 90121, 400, "invalid_request")
    answer = world.client.get(path)
    check_error(answer, 900561, 405, "invalid_request")
    assert answer.headers["allow"] == "POST"
    check_error(
        world.client.post(f"/{OTHER}/oauth2/v2.0/token", data=world.form()), 90002, 400, "invalid_request"
    )
    for shared in ("common", "organizations", "consumers"):
        answer = world.client.post(f"/{shared}/oauth2/v2.0/token", data=world.form())
        check_error(answer, 9001023, 400, "invalid_request")


def test_expired_secrets_say_so_and_others_go_on(world: World) -> None:
    now = world.clock.now()
    with world.database.write() as connection:
        short = add_secret(connection, world.first.app_id, now, ends=now + DAY)
    assert world.token(client_secret=short.text)
    world.clock.advance(DAY)
    answer = world.client.post(
        f"/{world.tenant}/oauth2/v2.0/token", data=world.form(client_secret=short.text)
    )
    check_error(answer, 7000222, 401, "invalid_client")
    assert world.token()


def test_a_replaced_secret_ends_at_once_though_it_was_used(world: World) -> None:
    assert world.token()
    with world.database.write() as connection:
        made = add_secret(connection, world.first.app_id, world.clock.now(), replace=True)
    answer = world.client.post(f"/{world.tenant}/oauth2/v2.0/token", data=world.form())
    check_error(answer, 7000215, 401, "invalid_client")
    assert world.token(client_secret=made.text)


def test_a_disabled_app_gets_no_token(world: World) -> None:
    with world.database.write() as connection:
        assert set_enabled(connection, world.first.app_id, False)
    answer = world.client.post(f"/{world.tenant}/oauth2/v2.0/token", data=world.form())
    check_error(answer, 7000112, 400, "unauthorized_client")


def test_the_secrets_id_is_not_its_value(world: World) -> None:
    app_id = world.first.app_id
    with world.database.write() as connection:
        key_id = add_secret(connection, app_id, world.clock.now()).key_id
    answer = world.client.post(f"/{world.tenant}/oauth2/v2.0/token", data=world.form(client_secret=key_id))
    assert "not the secret's ID" in check_error(answer, 7000215, 401, "invalid_client")["error_description"]


@pytest.mark.parametrize(
    "body",
    [
        # As Fluent Bit sends it: colons and slashes as they are.
        "grant_type=client_credentials&scope=https://monitor.azure.com/.default&client_id={id}&client_secret={secret}",
        "client_info=1&grant_type=client%5Fcredentials&scope=https%3A%2F%2Fmonitor.azure.com%2F%2F.default"
        "&client_id={id}&client_secret={secret}&claims=%7B%22access_token%22%3A%7B%7D%7D&x-client-SKU=x",
    ],
)
def test_bodies_as_clients_send_them(world: World, body: str) -> None:
    content = body.format(id=world.first.app_id.upper(), secret=world.first.secret)
    for content_type in (
        "application/x-www-form-urlencoded",
        "application/x-www-form-urlencoded;charset=utf-8",
    ):
        answer = world.client.post(
            f"/{world.tenant.upper()}/OAuth2/v2.0/Token?client-request-id={uuid4()}",
            content=content,
            headers={"content-type": content_type},
        )
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("body", "code", "status"),
    [
        (b"grant_type=\xff\xfe&client_id=x", 90100, 400),
        (b"%ff=%fe", 90100, 400),
        (b"a=1&" * 100, 90100, 400),
        (b"grant_type=client_credentials&grant_type=client_credentials", 90100, 400),
        (b'{"grant_type": "client_credentials"}', 900144, 400),
        (b"x" * 70_000, 90100, 413),
        (b"x" * 3_000_000, 90100, 413),
    ],
)
def test_bodies_that_no_client_sends(world: World, body: bytes, code: int, status: int) -> None:
    answer = world.client.post(f"/{world.tenant}/oauth2/v2.0/token", content=body)
    assert (answer.status_code, answer.json()["error_codes"]) == (status, [code])


def test_http_basic_proves_the_client_as_well(world: World) -> None:
    path = f"/{world.tenant}/oauth2/v2.0/token"

    def header(client: str, secret: str) -> dict[str, str]:
        return {"Authorization": "Basic " + base64.b64encode(f"{client}:{secret}".encode()).decode()}

    app_id, secret = world.first.app_id, str(world.first.secret)
    bare = world.form(client_id=None, client_secret=None)
    assert world.client.post(path, data=bare, headers=header(app_id, secret)).status_code == 200
    wrong = world.client.post(path, data=bare, headers=header(app_id, "wrong"))
    check_error(wrong, 7000215, 401, "invalid_client")
    assert wrong.headers["www-authenticate"].startswith("Basic ")
    twice = world.client.post(path, data=world.form(), headers=header(app_id, secret))
    check_error(twice, 90100, 400, "invalid_request")
    other = world.client.post(path, data=world.form(client_secret=None), headers=header(OTHER, secret))
    check_error(other, 90100, 400, "invalid_request")
    for broken in ("Basic", "Basic ???", "Basic " + base64.b64encode(b"no colon").decode(), "Basic é"):
        answer = world.client.post(path, data=bare, headers={"Authorization": broken.encode()})
        check_error(answer, 90100, 400, "invalid_request")


def test_the_v1_endpoint_takes_a_resource(world: World) -> None:
    path = f"/{world.tenant}/oauth2/token"
    fields = world.form(scope=None, resource="https://management.core.windows.net/")
    document = world.client.post(path, data=fields).json()
    assert document["resource"] == "https://management.core.windows.net/"
    assert int(document["expires_on"]) - int(document["not_before"]) == 3599 + 300
    assert (document["expires_in"], document["ext_expires_in"]) == ("3599", "3599")
    unknown = world.client.post(path, data=world.form(scope=None, resource="https://example.com"))
    check_error(unknown, 50001, 400, "invalid_resource")
    missing = world.client.post(path, data=world.form(scope=None))
    assert "'resource'" in check_error(missing, 900144, 400, "invalid_request")["error_description"]


def test_the_adfs_endpoint_takes_a_scope(world: World) -> None:
    assert world.token("/adfs/oauth2/token")
    assert world.token("/ADFS/oauth2/token", scope=None, resource="https://monitor.azure.com")


def test_the_clients_request_id_comes_back(world: World) -> None:
    path = f"/{world.tenant}/oauth2/v2.0/token"
    sent = str(uuid4())
    answer = world.client.post(path, data=world.form(scope="x"), headers={"client-request-id": sent})
    assert answer.headers["client-request-id"] == sent
    assert check_error(answer, 70011, 400, "invalid_scope")["correlation_id"] == sent
    answer = world.client.post(f"{path}?client-request-id={sent}", data=world.form())
    assert (answer.status_code, answer.headers["client-request-id"]) == (200, sent)
    answer = world.client.post(f"{path}?client-request-id=x%0d%0aSet-Cookie:y", data=world.form(scope="x"))
    assert "client-request-id" not in answer.headers
    check_error(answer, 70011, 400, "invalid_scope")


def test_many_wrong_secrets_at_once_are_bounded_and_harm_nobody(world: World) -> None:
    path = f"/{world.tenant}/oauth2/v2.0/token"
    good = str(world.first.secret)
    assert world.token()  # from here on this secret needs no hashing
    wrong = {"data": world.form(client_secret=good[:3] + "x" * 37)}
    answers = world.client.together(*[(path, wrong)] * 80, (path, {"data": world.form()}))
    assert answers[-1].status_code == 200
    codes = [answer.json()["error_codes"][0] for answer in answers[:-1]]
    assert set(codes) == {7000215, 90055}
    for answer in answers[:-1]:
        if answer.json()["error_codes"] == [90055]:
            check_error(answer, 90055, 429, "temporarily_unavailable")
            assert answer.headers["retry-after"] == "1"


def test_the_number_of_an_error_can_be_looked_up(world: World) -> None:
    assert "secret is wrong" in world.client.get("/error?code=7000215").text
    for code in ("1", "x", "-7000215", "9" * 50, "²", ""):
        assert world.client.get("/error", params={"code": code}).status_code == 404
