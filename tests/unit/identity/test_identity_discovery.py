from __future__ import annotations

from urllib.parse import urlsplit

import jwt
import pytest
from tests.identity_kit import BASE, World

from headrace.identity.keys import create_signing_key, delete_signing_key
from headrace.identity.model import INGESTION, TokenError


def test_the_addresses_follow_the_name_by_which_the_client_came(world: World) -> None:
    path = f"/{world.tenant}/v2.0/.well-known/openid-configuration"
    for host, base in (
        ("localhost:8443", "https://localhost:8443"),
        ("127.0.0.1:9999", "https://127.0.0.1:9999"),
        ("[::1]:1", "https://[::1]:1"),
        ("evil.example.com", BASE),
        ("localhost@evil.example.com", BASE),
    ):
        document = world.client.get(path, headers={"Host": host}).json()
        root = f"{base}/{world.tenant}"
        assert document["token_endpoint"] == f"{root}/oauth2/v2.0/token"
        assert document["authorization_endpoint"] == f"{root}/oauth2/v2.0/authorize"
        assert document["jwks_uri"] == f"{root}/discovery/v2.0/keys"
        assert document["issuer"] == f"{root}/v2.0"
        assert document["userinfo_endpoint"].startswith(root)
        assert (
            world.client.get(path.replace("/v2.0", "//v2.0") + "/", headers={"Host": host}).json() == document
        )


@pytest.mark.parametrize(
    ("path", "token_path", "issuer"),
    [
        (
            "/{tenant}/v2.0/.well-known/openid-configuration",
            "/{tenant}/oauth2/v2.0/token",
            BASE + "/{tenant}/v2.0",
        ),
        (
            "/{tenant}/.well-known/openid-configuration",
            "/{tenant}/oauth2/token",
            "https://sts.windows.net/{tenant}/",
        ),
        ("/adfs/.well-known/openid-configuration", "/adfs/oauth2/token", BASE + "/adfs"),
        ("/ADFS/v2.0/.well-known/OpenID-Configuration", "/adfs/oauth2/token", BASE + "/adfs"),
        (
            "/common/v2.0/.well-known/openid-configuration",
            "/common/oauth2/v2.0/token",
            BASE + "/{tenant}/v2.0",
        ),
    ],
)
def test_each_form_of_discovery_leads_to_its_endpoints(
    world: World, path: str, token_path: str, issuer: str
) -> None:
    document = world.client.get(path.format(tenant=world.tenant)).json()
    assert document["token_endpoint"] == BASE + token_path.format(tenant=world.tenant)
    assert document["issuer"] == issuer.format(tenant=world.tenant)
    assert world.client.get(urlsplit(document["jwks_uri"]).path).status_code == 200
    assert document["token_endpoint_auth_methods_supported"] == [
        "client_secret_post",
        "private_key_jwt",
        "client_secret_basic",
    ]
    assert document["subject_types_supported"] == ["pairwise"]


def test_an_unknown_tenant_is_named_at_discovery(world: World) -> None:
    answer = world.client.get("/nobody.example.com/v2.0/.well-known/openid-configuration")
    document = answer.json()
    assert (answer.status_code, document["error"], document["error_codes"]) == (
        400,
        "invalid_tenant",
        [90002],
    )
    assert "nobody.example.com" in document["error_description"]


def test_others_can_verify_tokens_by_the_key_set_alone(world: World) -> None:
    document = world.client.get(f"/{world.tenant}/discovery/v2.0/keys").json()
    keys = jwt.PyJWKSet.from_dict(document)
    token = world.token()
    header = jwt.get_unverified_header(token)
    assert header == {"typ": "JWT", "alg": "RS256", "kid": header["kid"], "x5t": header["kid"]}
    claims = jwt.decode(
        token,
        keys[header["kid"]].key,
        algorithms=["RS256"],
        audience="https://monitor.azure.com",
        issuer=f"https://sts.windows.net/{world.tenant}/",
    )
    first = world.first
    assert (claims["oid"], claims["sub"], claims["appid"]) == (
        first.principal_id,
        first.principal_id,
        first.app_id,
    )
    assert (claims["tid"], claims["ver"], claims["appidacr"], claims["idtyp"]) == (
        world.tenant,
        "1.0",
        "1",
        "app",
    )
    assert claims["idp"] == claims["iss"]
    assert claims["nbf"] == claims["iat"] and claims["exp"] - claims["iat"] == 3899
    assert claims.keys() >= {"aio", "uti", "rh"}
    assert jwt.decode(world.token(), options={"verify_signature": False})["uti"] != claims["uti"]


def test_keys_are_exchanged_with_an_overlap(world: World) -> None:
    before = world.token()
    with world.database.write() as connection:
        new = create_signing_key(connection, world.clock.now())
    world.view.refresh()
    keys = world.client.get(f"/{world.tenant}/discovery/keys").json()["keys"]
    old = jwt.get_unverified_header(before)["kid"]
    assert {key["kid"] for key in keys} == {old, new}
    after = world.token()
    assert jwt.get_unverified_header(after)["kid"] == new
    for token in (before, after):
        world.verifier.verify(f"Bearer {token}", INGESTION)
    with world.database.write() as connection:
        assert not delete_signing_key(connection, new)
        assert delete_signing_key(connection, old)
    world.view.refresh()
    with pytest.raises(TokenError) as caught:
        world.verifier.verify(f"Bearer {before}", INGESTION)
    assert caught.value.kind == "invalid"
    world.verifier.verify(f"Bearer {after}", INGESTION)


def test_instance_discovery_knows_this_server_only(world: World) -> None:
    path = "/common/discovery/instance"
    endpoint = f"{BASE}/{world.tenant}/oauth2/v2.0/authorize"
    document = world.client.get(
        path, params={"api-version": "1.1", "authorization_endpoint": endpoint}
    ).json()
    assert document == {
        "tenant_discovery_endpoint": f"{BASE}/{world.tenant}/v2.0/.well-known/openid-configuration",
        "api-version": "1.1",
        "metadata": [
            {
                "preferred_network": "localhost:8443",
                "preferred_cache": "localhost:8443",
                "aliases": ["localhost:8443"],
            }
        ],
    }
    answer = world.client.get(path, params={"authorization_endpoint": "https://login.example.com/common/x"})
    assert (answer.status_code, answer.json()["error_codes"]) == (400, [50049])
    assert answer.json()["error"] == "invalid_instance"
    assert world.client.get(path).json()["error_codes"] == [900144]
