from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from tests.identity_kit import SUBSCRIPTION, World
from tests.unit.identity.test_identity_assertions import certificate, key, pem

from headrace.clock import DAY
from headrace.errors import ProblemError
from headrace.identity import passwords
from headrace.identity.apps import add_secret, create_app, get_app, list_apps, load_registrations
from headrace.identity.assignments import assign
from headrace.identity.bootstrap import bootstrap, ensure_tenant, is_secret_of
from headrace.identity.passwords import SecretChecker, StoredSecret
from headrace.store.database import Database

# Secrets


def test_secrets_need_no_escaping_and_differ() -> None:
    made = {passwords.new_secret() for _ in range(200)}
    assert len(made) == 200
    for secret in made:
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9~_.-]{39}", secret)


def test_only_the_right_secret_matches_its_hash() -> None:
    stored = passwords.hash_secret("right")
    assert passwords.hash_secret("right") != stored
    assert "right" not in stored
    assert passwords.matches("right", stored)
    for wrong in ("", "Right", "right ", "\ud800"):
        assert not passwords.matches(wrong, stored)


def test_the_checker_remembers_what_was_right_and_nothing_else() -> None:
    checker = SecretChecker(most_remembered=2)
    stored = [
        StoredSecret(str(number), f"s{number}"[:3], passwords.hash_secret(f"s{number}"), 0, 1)
        for number in range(3)
    ]
    one = (stored[0],)
    assert checker.quick("s0", one) is None
    assert checker.slow("s0x", one) is None
    assert checker.slow("x" * 5000, one) is None
    assert checker.quick("s0x", one) is None
    assert checker.slow("s0", tuple(stored)) == stored[0]
    assert checker.quick("s0", tuple(stored)) == stored[0]
    # The memory goes with the stored hash: once that is gone or changed, so is the memory.
    assert checker.quick("s0", tuple(stored[1:])) is None
    assert checker.quick("s0", (StoredSecret("0", "s0", passwords.hash_secret("s0"), 0, 1),)) is None
    for item in stored[1:]:
        assert checker.slow(f"s{item.key_id}", (item,)) == item
    assert checker.quick("s0", one) is None


def test_no_secret_lies_in_the_store(world: World, tmp_path: Path) -> None:
    _, _, secret = world.app()
    for content in (path.read_bytes() for path in tmp_path.glob("store.db*")):
        assert secret.encode() not in content
        assert str(world.first.secret).encode() not in content


def test_the_ids_of_an_app_are_three(world: World) -> None:
    app_id, principal_id, _ = world.app("one")
    with world.database.read() as connection:
        found = get_app(connection, app_id.upper())
        assert found is not None
        assert len({UUID(found.app_id), UUID(found.object_id), UUID(found.principal_id)}) == 3
        assert found.principal_id == principal_id
        assert {item.display_name for item in list_apps(connection)} == {"one", "headrace-sample"}
        assert get_app(connection, str(uuid4())) is None


def test_limits_of_secrets(world: World) -> None:
    now = world.clock.now()
    app_id, _, _ = world.app()

    def fails(code: str, **options: Any) -> None:
        with pytest.raises(ProblemError) as caught, world.database.write() as connection:
            add_secret(connection, options.pop("app_id", app_id), now, **options)
        assert caught.value.problems[0].code == code

    fails("InvalidRequestContent", ends=now)
    fails("InvalidRequestContent", ends=now + 200 * 365 * DAY)
    fails("ResourceNotFound", app_id=str(uuid4()))
    with world.database.write() as connection:
        connection.execute(
            text(
                "with recursive n(value) as (select 1 union all select value + 1 from n where value < 31)"
                " insert into identity_secret select 'k' || value, :app, '', 'xyz', 'h', 0, 1 from n"
            ),
            {"app": app_id},
        )
    fails("CredentialLimitReached")
    with world.database.write() as connection:
        add_secret(connection, app_id, now, replace=True)
        assert len(load_registrations(connection)[app_id].secrets) == 1
    for name in ("", "  ", "x" * 300, "a\nb"):
        with pytest.raises(ProblemError), world.database.write() as connection:
            create_app(connection, name, now)


# The first start


def test_bootstrap_is_idempotent_and_a_lost_secret_can_be_replaced(tmp_path: Path) -> None:
    database = Database.open(tmp_path / "store.db")
    database.migrate()
    with database.write() as connection:
        tenant = ensure_tenant(connection, 5)
        first = bootstrap(connection, SUBSCRIPTION, 5)
        assert first.tenant_id == tenant == str(UUID(tenant))
        again = bootstrap(connection, SUBSCRIPTION, 6)
        assert (again.app_id, again.principal_id, again.secret) == (first.app_id, first.principal_id, None)
        assert first.secret is not None
        assert is_secret_of(connection, first.app_id, first.secret, 6)
        reset = bootstrap(connection, SUBSCRIPTION, 7, reset=True)
        assert reset.secret is not None
        assert is_secret_of(connection, first.app_id, reset.secret, 8)
        assert is_secret_of(connection, first.app_id, first.secret, 8)
        assert not is_secret_of(connection, first.app_id, reset.secret + "x", 8)
        assert not is_secret_of(connection, str(uuid4()), first.secret, 8)
    database.close()


# The admin surface


def test_an_app_is_made_used_and_deleted_over_http(world: World) -> None:
    answer = world.arm("POST", "/headrace/apps", {"name": "sender"})
    made = answer.json()
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
    assert made.keys() >= {"clientId", "clientSecret", "principalId", "tenantId", "name"}
    assert world.published == [world.database.change()]
    app_id, secret = made["clientId"], made["clientSecret"]
    assert world.token(client_id=app_id, client_secret=secret)
    shown = world.arm("GET", f"/headrace/Apps/{app_id.upper()}").json()
    assert (shown["name"], shown["enabled"], shown["tenantId"]) == ("sender", True, world.tenant)
    assert [item["hint"] for item in shown["secrets"]] == [secret[:3]]
    listed = world.arm("GET", "/headrace/apps")
    assert shown in listed.json()["value"]
    assert secret not in listed.text and "hash" not in listed.text

    second = world.arm("POST", f"/headrace/apps/{app_id}/secrets", {"name": "two", "ends": "2326-01-01"})
    assert second.status_code == 400
    second = world.arm(
        "POST", f"/headrace/apps/{app_id}/secrets", {"name": "two", "ends": "2030-01-01T00:00"}
    )
    assert (second.status_code, second.json()["ends"]) == (201, "2030-01-01T00:00:00.000000Z")
    for text_ in (secret, second.json()["clientSecret"]):
        assert world.token(client_id=app_id, client_secret=text_)
    path = f"/headrace/apps/{app_id}/secrets/{second.json()['keyId']}"
    assert world.arm("DELETE", path).status_code == 204
    assert world.arm("DELETE", path).status_code == 404
    third = world.arm("POST", f"/headrace/apps/{app_id}/secrets", {"replace": True}).json()
    token_path = f"/{world.tenant}/oauth2/v2.0/token"
    for gone in (secret, second.json()["clientSecret"]):
        assert world.client.post(token_path, data=world.form(client_id=app_id, client_secret=gone)).json()[
            "error_codes"
        ] == [7000215]
    token = world.token(
        client_id=app_id, client_secret=third["clientSecret"], scope="https://management.azure.com/.default"
    )
    assert world.arm("PATCH", f"/headrace/apps/{app_id}", {"enabled": False}).json()["enabled"] is False
    assert world.arm("GET", "/headrace/apps", token=token).status_code == 401
    assert world.arm("PATCH", f"/headrace/apps/{app_id}", {"enabled": True}).json()["enabled"] is True
    assert world.arm("GET", "/headrace/apps", token=token).status_code == 403
    assert world.arm("DELETE", f"/headrace/apps/{app_id}").status_code == 204
    assert world.arm("GET", f"/headrace/apps/{app_id}").status_code == 404
    assert world.arm("DELETE", f"/headrace/apps/{app_id}").status_code == 404


def test_an_app_may_have_a_certificate_instead_of_a_secret(world: World) -> None:
    certificate_pem = pem(certificate(key("app"), world))
    made = world.arm("POST", "/headrace/apps", {"displayName": "certified", "certificate": certificate_pem})
    assert (made.status_code, "clientSecret" in made.json()) == (201, False)
    app_id = made.json()["clientId"]
    again = world.arm("POST", f"/headrace/apps/{app_id}/certificates", {"certificate": certificate_pem})
    assert (again.status_code, again.json()["error"]["code"]) == (409, "CredentialExists")
    path = f"/headrace/apps/{app_id}/certificates/{made.json()['keyId']}"
    assert world.arm("DELETE", path).status_code == 204
    assert world.arm("GET", f"/headrace/apps/{app_id}").json()["certificates"] == []


def test_only_an_owner_manages_apps(world: World) -> None:
    app_id, principal_id, secret = world.app()

    def token(scope: str = "https://management.azure.com/.default") -> str:
        return world.token(client_id=app_id, client_secret=secret, scope=scope)

    def answer(bearer: str) -> tuple[int, str]:
        found = world.arm("POST", f"/headrace/apps/{world.first.app_id}/secrets", {}, token=bearer)
        if found.status_code == 201:
            return 201, ""
        assert found.headers["x-ms-error-code"] == found.json()["error"]["code"]
        return found.status_code, found.json()["error"]["code"]

    assert answer(token()) == (403, "AuthorizationFailed")
    for role, expected in (("Contributor", 403), ("Owner", 201)):
        with world.database.write() as connection:
            assign(
                connection,
                scope=f"/subscriptions/{SUBSCRIPTION}",
                role=role,
                principal_id=principal_id,
                by="tester",
                now=1,
            )
        assert answer(token())[0] == expected
    assert answer(token("https://monitor.azure.com/.default")) == (401, "InvalidAuthenticationTokenAudience")
    assert answer("nonsense") == (401, "InvalidAuthenticationToken")
    bare = world.client.get("/headrace/apps")
    assert (bare.status_code, bare.json()["error"]["code"]) == (401, "AuthenticationFailedMissingToken")
    challenge = bare.headers["www-authenticate"]
    assert challenge.startswith(f'Bearer authorization_uri="https://localhost:8443/{world.tenant}", error=')
    expired = token()
    world.clock.advance(DAY)
    assert answer(expired) == (401, "ExpiredAuthenticationToken")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/headrace/apps", b"{"),
        ("POST", "/headrace/apps", b"[" * 5000),
        ("POST", "/headrace/apps", b"[]"),
        ("POST", "/headrace/apps", b"\xff"),
        ("POST", "/headrace/apps", b"{}"),
        ("POST", "/headrace/apps", b'{"name": 7}'),
        ("POST", "/headrace/apps", b'{"name": ""}'),
        ("POST", "/headrace/apps", b'{"name": "a", "ends": 7}'),
        ("POST", "/headrace/apps", b'{"name": "a", "ends": "0001-01-01T00:00:00+23:59"}'),
        ("POST", "/headrace/apps", b'{"name": "a", "ends": "2001-01-01"}'),
        ("POST", "/headrace/apps", b'{"name": "a", "certificate": "x"}'),
        ("POST", "/headrace/apps", b'{"name": "a", "certificate": 7}'),
        ("PATCH", "/headrace/apps/x", b'{"enabled": "yes"}'),
        ("POST", "/headrace/apps/x/secrets", b'{"replace": 1}'),
    ],
)
def test_bad_requests_change_nothing(world: World, method: str, path: str, body: bytes) -> None:
    token = world.token(scope="https://management.azure.com/.default")
    change = world.database.change()
    answer = world.client.request(method, path, content=body, headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] in ("InvalidRequestContent", "InvalidCertificate")
    assert answer.json()["error"]["message"]
    assert world.database.change() == change
    assert world.published == []


def test_a_body_over_the_limit_is_413(world: World) -> None:
    answer = world.arm("POST", "/headrace/apps", {"name": "x" * 70_000})
    assert answer.status_code == 413


def test_a_store_that_cannot_be_read_is_503_in_the_shape_of_each_surface(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = world.token(scope="https://management.azure.com/.default")

    def broken(*_: object) -> None:
        raise OperationalError("SELECT", {}, Exception("disk I/O error"))

    monkeypatch.setattr(Database, "read", broken)
    answer = world.arm("GET", "/headrace/apps", token=token)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "ServiceUnavailable")
    signing_in = world.client.post(f"/{world.tenant}/oauth2/v2.0/token", data=world.form())
    assert (signing_in.status_code, signing_in.json()["error_codes"]) == (503, [90033])
    for refused in (answer, signing_in):
        assert refused.headers["retry-after"] == "1"
        assert "disk I/O" not in refused.text
