from __future__ import annotations

import base64
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.identity_kit import World

from headrace.clock import MINUTE, SECOND
from headrace.identity import keys
from headrace.identity.apps import delete_app, set_enabled
from headrace.identity.challenge import arm_unauthenticated
from headrace.identity.model import ARM, GRAPH, INGESTION, QUERY, Surface, TokenError
from headrace.identity.verify import TokenVerifier
from headrace.wire.addresses import Addresses

KIB = 1024


def kind(world: World, header: str | None, surface: Surface = INGESTION) -> str:
    with pytest.raises(TokenError) as caught:
        world.verifier.verify(header, surface)
    assert caught.value.message
    return caught.value.kind


def forge(world: World, headers: dict[str, Any] | None = None, **claims: Any) -> str:
    """A token signed with the server's real key, with claims of the caller's choice."""
    with world.database.read() as connection:
        key = keys.load_signing(connection)
    assert key is not None
    good = jwt.decode(world.token(), options={"verify_signature": False}) | claims
    good = {name: value for name, value in good.items() if value is not None}
    return "Bearer " + jwt.encode(
        good, key.private, algorithm="RS256", headers={"kid": key.kid, **(headers or {})}
    )


def test_what_a_token_says_cannot_end_a_header() -> None:
    said = TokenError("audience", 'It is for "a\r\nX-Other: b\u00e9\\".')
    challenge = arm_unauthenticated(said, "https://localhost/t").headers["WWW-Authenticate"]
    assert challenge.isprintable() and challenge.isascii()
    assert challenge.count('"') == 6 and "\\" not in challenge


def test_a_token_says_who_calls(world: World) -> None:
    caller = world.verifier.verify(f"Bearer {world.token()}", INGESTION)
    first = world.first
    assert (caller.object_id, caller.app_id, caller.tenant) == (
        first.principal_id,
        first.app_id,
        world.tenant,
    )
    assert caller.audience == "https://monitor.azure.com"
    assert caller.expires == world.clock.now() // SECOND + 3599
    assert world.verifier.verify(f"bearer   {world.token()} ", INGESTION) == caller


@pytest.mark.parametrize(
    ("scope", "surfaces"),
    [
        ("https://monitor.azure.com//.default", [INGESTION]),
        ("https://monitor.azure.com/.default", [INGESTION]),
        ("https://monitor.azure.us/.default", [INGESTION]),
        ("https://management.azure.com/.default", [ARM]),
        ("https://management.core.windows.net//.default", [ARM]),
        ("https://api.loganalytics.io/.default", [QUERY]),
        ("https://api.loganalytics.io//.default", [QUERY]),
        ("https://api.loganalytics.azure.com/.default", [QUERY]),
        ("https://graph.microsoft.com/.default", [GRAPH]),
        ("https://localhost:8443/.default", [INGESTION, ARM, QUERY, GRAPH]),
        ("https://localhost:8443//.default", [INGESTION, ARM, QUERY, GRAPH]),
        ("https://LOCALHOST:1/.default", [INGESTION, ARM, QUERY, GRAPH]),
        ("https://127.0.0.1:8443/.default", [INGESTION, ARM, QUERY, GRAPH]),
        ("https://[::1]:8443/.default", [INGESTION, ARM, QUERY, GRAPH]),
        ("https://localhost:8443/v1/.default", [QUERY]),
    ],
)
def test_each_audience_opens_its_surfaces_and_no_other(
    world: World, scope: str, surfaces: list[Surface]
) -> None:
    token = world.token(scope=scope)
    assert jwt.decode(token, options={"verify_signature": False})["aud"] == scope[: -len("/.default")]
    for surface in (INGESTION, ARM, QUERY, GRAPH):
        if surface in surfaces:
            world.verifier.verify(f"Bearer {token}", surface)
        else:
            assert kind(world, f"Bearer {token}", surface) == "audience"


def test_tokens_outlive_a_restart_on_another_port(world: World) -> None:
    moved = TokenVerifier(world.view, Addresses("https://localhost:9443", ("localhost",)), world.clock)
    for scope in ("https://localhost:8443/.default", "https://monitor.azure.com/.default"):
        moved.verify(f"Bearer {world.token(scope=scope)}", INGESTION)


def test_a_public_address_is_an_audience_too(world: World) -> None:
    addresses = Addresses("https://localhost:8443", (), "https://logs.example.com/")
    verifier = TokenVerifier(world.view, addresses, world.clock)
    verifier.verify(forge(world, aud="https://logs.example.com"), INGESTION)
    with pytest.raises(TokenError, match=r"example\.org"):
        verifier.verify(forge(world, aud="https://logs.example.org"), INGESTION)


@pytest.mark.parametrize("header", [None, ""])
def test_a_missing_header(world: World, header: str | None) -> None:
    assert kind(world, header) == "missing"


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer ",
        "Basic YTpi",
        "SharedKey x:y",
        "Bearer a.b",
        "Bearer a.b.c.d",
        "Bearer ..",
        "Bearer \x00.\x00.\x00",
        "Bearer é.é.é",
        "Bearer " + "a" * 20 * KIB,
        "Bearer "
        + ".".join([base64.urlsafe_b64encode(b"[" * 9000).decode().rstrip("=")] * 1 + ["e30", "e30"]),
        "Bearer " + ".".join(["e30", "e30", "e30"]),
        "Bearer " + ".".join(["W10", "W10", "e30"]),
        "Bearer " + ".".join(["bnVsbA", "e30", "e30"]),
    ],
)
def test_what_is_no_token_is_refused(world: World, header: str) -> None:
    assert kind(world, header) == "invalid"


def test_forgeries_are_refused(world: World) -> None:
    token = world.token()
    head, claims, signature = token.split(".")
    header = json.loads(base64.urlsafe_b64decode(head + "=="))

    def part(document: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")

    public = world.view.current.keys[header["kid"]].public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    decoded = jwt.decode(token, options={"verify_signature": False})
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    import hashlib
    import hmac

    jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(stranger.public_key()))
    confused_head = part(header | {"alg": "HS256"})
    mac = hmac.digest(public, f"{confused_head}.{claims}".encode(), hashlib.sha256)
    forgeries = {
        "alg none": f"{part(header | {'alg': 'none'})}.{claims}.",
        "alg None with signature": f"{part(header | {'alg': 'None'})}.{claims}.{signature}",
        "public key as a secret": f"{confused_head}.{claims}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}",
        "another's key, our kid": jwt.encode(decoded, stranger, "RS256", headers={"kid": header["kid"]}),
        "another's key and kid": jwt.encode(decoded, stranger, "RS256", headers={"kid": "other"}),
        "another's key in the header": jwt.encode(decoded, stranger, "RS256", headers={"jwk": jwk}),
        "no kid": jwt.encode(decoded, stranger, "RS256"),
        "claims changed": f"{head}.{part(decoded | {'oid': 'x'})}.{signature}",
        "signature cut": token[:-4],
        "signature of something else": f"{head}.{claims}.{world.token().split('.')[2]}",
        "header changed": f"{part(header | {'x': 1})}.{claims}.{signature}",
        "kid not a text": f"{part(header | {'kid': {}})}.{claims}.{signature}",
    }
    for name, forgery in forgeries.items():
        assert kind(world, f"Bearer {forgery}") == "invalid", name
    world.verifier.verify(f"Bearer {token}", INGESTION)


def test_claims_that_do_not_fit_are_refused_although_our_key_signed_them(world: World) -> None:
    now = world.clock.now() // SECOND
    assert kind(world, forge(world, tid="other")) == "tenant"
    assert kind(world, forge(world, iss="https://localhost:8443/x/v2.0")) == "tenant"
    assert kind(world, forge(world, scp="user_impersonation")) == "delegated"
    assert kind(world, forge(world, oid="00000000-0000-0000-0000-000000000000")) == "principal"
    assert kind(world, forge(world, appid=world.tenant)) == "principal"
    for name in ("oid", "appid", "tid", "aud", "iss", "exp", "nbf"):
        assert kind(world, forge(world, None, **{name: None})) == "invalid", name
    odd: dict[str, Any] = {
        "oid": 1,
        "appid": [],
        "tid": {},
        "aud": ["https://monitor.azure.com"],
        "exp": "1",
        "nbf": True,
    }
    for name, value in odd.items():
        assert kind(world, forge(world, None, **{name: value})) == "invalid", name
    assert kind(world, forge(world, exp=1e300)) == "invalid"
    assert kind(world, forge(world, headers={"crit": ["exp"]})) == "invalid"
    world.verifier.verify(forge(world, exp=now + 10.5), INGESTION)


def test_times_expiry_is_strict_and_a_start_may_lie_five_minutes_ahead(world: World) -> None:
    token = f"Bearer {world.token()}"
    world.clock.advance(3598 * SECOND)
    world.verifier.verify(token, INGESTION)
    world.clock.advance(SECOND)
    assert kind(world, token) == "expired"
    assert kind(world, token) == "expired"
    now = world.clock.now() // SECOND
    world.verifier.verify(forge(world, nbf=now + 299), INGESTION)
    assert kind(world, forge(world, nbf=now + 301)) == "expired"


def test_a_cached_token_ends_with_its_time(world: World) -> None:
    token = f"Bearer {world.token()}"
    world.verifier.verify(token, INGESTION)
    world.clock.advance(60 * MINUTE)
    assert kind(world, token) == "expired"


def test_a_disabled_or_deleted_app_is_refused_by_the_next_look_at_the_store(world: World) -> None:
    app_id, _, secret = world.app()
    token = "Bearer " + world.token(client_id=app_id, client_secret=secret)
    world.verifier.verify(token, INGESTION)
    with world.database.write() as connection:
        set_enabled(connection, app_id, False)
    world.view.refresh()
    assert kind(world, token) == "principal"
    with world.database.write() as connection:
        set_enabled(connection, app_id, True)
    world.view.refresh()
    world.verifier.verify(token, INGESTION)
    with world.database.write() as connection:
        delete_app(connection, app_id)
    world.view.refresh()
    assert kind(world, token) == "principal"


def test_the_memory_is_bounded(world: World) -> None:
    verifier = TokenVerifier(
        world.view, Addresses("https://localhost:8443", ("localhost",)), world.clock, most_remembered=3
    )
    tokens = [f"Bearer {world.token()}" for _ in range(8)]
    for token in tokens * 2:
        verifier.verify(token, INGESTION)
    assert len(verifier._remembered) == 3


def test_before_there_is_a_tenant_nobody_is_let_in(world: World, tmp_path: Any) -> None:
    from headrace.identity.access import load_access
    from headrace.store.database import Database
    from headrace.store.live import LiveView

    empty = Database.open(tmp_path / "empty.db")
    empty.migrate()
    verifier = TokenVerifier(LiveView(empty, load_access), Addresses("https://localhost:8443"), world.clock)
    with pytest.raises(TokenError):
        verifier.verify(f"Bearer {world.token()}", INGESTION)
    empty.close()
