"""Hostile bytes at the sign-in addresses and at the verifier: always the documented shape, never a crash."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode
from uuid import UUID

import jwt
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tests.identity_kit import ADDRESSES, World, make_store, open_world

from headrace.identity.endpoint import read_form
from headrace.identity.errors import KINDS, SignInError
from headrace.identity.model import ARM, INGESTION, SURFACES, TokenError, accepts, own_path
from headrace.identity.roles import Permission, Role
from headrace.identity.scopes import ancestors, scope_key
from headrace.identity.tokens import MalformedTokenError, read_token

FEW = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
MANY = settings(FEW, max_examples=300)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    with open_world(folder, *make_store(folder)) as opened:
        yield opened


def check_shape(answer: Any) -> None:
    """That an answer is a success or an error of the documented shape."""
    document = answer.json()
    if answer.status_code == 200:
        assert document.get("token_type") == "Bearer" or document["token_endpoint"].startswith("https://")
        return
    (code,) = document["error_codes"]
    assert code in KINDS
    assert 400 <= answer.status_code < 500
    assert isinstance(document["error"], str)
    assert document["error_description"].startswith(f"AADSTS{code}: ")
    assert document["error_description"].count("\r\n") == 3
    assert document["error_description"].isprintable() or all(
        line.isprintable() for line in document["error_description"].split("\r\n")
    )
    UUID(document["trace_id"])
    UUID(document["correlation_id"])


@FEW
@given(body=st.binary(max_size=400))
def test_any_body(world: World, body: bytes) -> None:
    check_shape(world.client.post(f"/{world.tenant}/oauth2/v2.0/token", content=body))


names = st.sampled_from(
    [
        "grant_type",
        "client_id",
        "client_secret",
        "scope",
        "resource",
        "client_assertion",
        "client_assertion_type",
    ]
)
values = st.one_of(
    st.text(max_size=60),
    st.sampled_from(
        [
            "client_credentials",
            "https://monitor.azure.com/.default",
            "https://localhost:8443//.default",
            "https://[/.default",
            "https://localhost:99999999/.default",
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "a.b.c",
        ]
    ),
)


@FEW
@given(
    change=st.dictionaries(names, st.none() | values, max_size=4),
    path=st.sampled_from(["oauth2", "oauth2/v2.0"]),
)
def test_any_form(world: World, change: dict[str, str | None], path: str) -> None:
    check_shape(
        world.client.post(
            f"/{world.tenant}/{path}/token",
            content=urlencode(world.form(**change), errors="surrogatepass"),
            headers={"content-type": "application/x-www-form-urlencoded"},
        )
    )


@FEW
@given(tenant=st.text(min_size=1, max_size=40), header=st.binary(max_size=60))
def test_any_tenant_and_authorization(world: World, tenant: str, header: bytes) -> None:
    segment = quote(tenant, safe="", errors="replace")
    assume(segment not in (".", "..") and "%2F" not in segment)
    answer = world.client.post(
        f"/{segment}/oauth2/v2.0/token", data=world.form(), headers={"authorization": b"Basic " + header}
    )
    if answer.status_code != 404:
        check_shape(answer)
    check_shape(world.client.get(f"/{segment}/v2.0/.well-known/openid-configuration"))


@FEW
@given(
    header=st.dictionaries(st.sampled_from(["x5t", "x5t#S256", "kid", "jwk"]), json_values),
    claims=st.dictionaries(st.sampled_from(["iss", "sub", "aud", "exp", "nbf", "iat", "jti"]), json_values),
)
def test_any_assertion(world: World, header: dict[str, Any], claims: dict[str, Any]) -> None:
    good = {
        "iss": world.first.app_id,
        "sub": world.first.app_id,
        "aud": f"https://localhost/{world.tenant}/v2.0",
    }
    parts = [{"alg": "RS256", **header}, {**good, **claims}]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    form = world.form(
        client_secret=None,
        client_assertion=".".join([*encoded, "c2ln"]),
        client_assertion_type="urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    )
    answer = world.client.post(f"/{world.tenant}/oauth2/v2.0/token", data=form)
    check_shape(answer)
    assert answer.status_code != 200


@MANY
@given(header=st.text(max_size=200) | st.builds(lambda token: f"Bearer {token}", st.text(max_size=200)))
def test_any_authorization_header(world: World, header: str) -> None:
    with pytest.raises(TokenError) as caught:
        world.verifier.verify(header, ARM)
    assert caught.value.kind in ("missing", "invalid")


@pytest.fixture(scope="module")
def token(world: World) -> str:
    return world.token()


@MANY
@given(data=st.data())
def test_a_token_with_any_change_is_refused_or_the_same(
    world: World, token: str, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(token) - 1))
    length = data.draw(st.integers(0, 3))
    changed = token[:at] + data.draw(st.text(max_size=3)) + token[at + length :]
    try:
        caller = world.verifier.verify(f"Bearer {changed}", INGESTION)
    except TokenError as error:
        assert error.kind == "invalid"
    else:
        # The last characters of base64 hold unused bits: other letters, the same signature.
        assert changed.strip() == token or jwt.decode(changed, options={"verify_signature": False})
        assert caller == world.verifier.verify(f"Bearer {token}", INGESTION)
        assert changed.strip().rpartition(".")[0] == token.rpartition(".")[0]


@MANY
@given(parts=st.lists(json_values | st.binary(max_size=60), min_size=3, max_size=3))
def test_any_three_parts_are_read_or_malformed(parts: list[Any]) -> None:
    raw = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in parts]
    text = ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in raw)
    try:
        read = read_token(text)
    except MalformedTokenError:
        return
    assert read.header == json.loads(raw[0]) and read.claims == json.loads(raw[1])
    for claim in ("exp", "iss"):
        read.text(claim)
        read.time(claim)


@MANY
@given(body=st.binary(max_size=300))
def test_a_form_is_read_or_refused(body: bytes) -> None:
    try:
        form = read_form(body)
    except SignInError as error:
        assert error.code in (90100, 90121)
    else:
        assert all(isinstance(name, str) and isinstance(value, str) for name, value in form.items())


hosts = st.sampled_from(
    ["localhost", "127.0.0.1", "[::1]", "evil.example", "localhost.evil.example", "LOCALHOST"]
)


@MANY
@given(
    url=st.text(max_size=60)
    | st.builds("https://{}:{}{}".format, hosts, st.integers(0, 70000), st.text(max_size=8))
)
def test_only_this_servers_names_are_its_own(url: str) -> None:
    path = own_path(url, ADDRESSES)
    for surface in SURFACES:
        accepts(surface, url, ADDRESSES)
    ours = re.fullmatch(
        r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d*)?(/[^?#]*)?[?#]*", url, re.IGNORECASE
    )
    assert path is None or ours is not None


segments = st.text(alphabet="aAbB%._-", min_size=1, max_size=4)


@MANY
@given(scope=st.lists(segments, max_size=5), below=st.lists(segments, max_size=3), odd=segments)
def test_inheritance_is_by_whole_segments(scope: list[str], below: list[str], odd: str) -> None:
    upper = scope_key("/" + "/".join(scope))
    assert upper in ancestors(scope_key("/" + "/".join([*scope, *below]).upper() + "/"))
    if scope:
        assert upper not in ancestors(scope_key("/" + "/".join(scope) + odd))


@MANY
@given(pattern=st.text(alphabet="ab*/.+[(\\", max_size=8), action=st.text(alphabet="ab/.+[(\\", max_size=8))
def test_wildcards_mean_what_they_mean(pattern: str, action: str) -> None:
    def matches(pattern: str, action: str) -> bool:
        if not pattern:
            return not action
        if pattern[0] == "*":
            return any(matches(pattern[1:], action[at:]) for at in range(len(action) + 1))
        return bool(action) and pattern[0] == action[0] and matches(pattern[1:], action[1:])

    role = Role("id", "name", "", (Permission(data_actions=(pattern,)),))
    assert role.allows(action, data=True) is matches(pattern, action)
    assert not role.allows(action)
    but = Role("id", "name", "", (Permission(actions=("*",), not_actions=(pattern,)),))
    assert but.allows(action) is not matches(pattern, action)
