"""Keys of outside issuers, tokens of trusted ones, and federated credentials; against a real issuer on loopback."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.identity_kit import ADDRESSES, World
from tests.oidc_issuer import Issuer, running_issuer

from headrace.clock import HOUR, ManualClock
from headrace.identity.issuers import MOST_BYTES, IssuerKeys, IssuerUnreachableError, Source, read_keys
from headrace.identity.model import ARM, INGESTION, QUERY, Caller, Surface, TokenError
from headrace.identity.outside import OutsideIssuers, TrustedIssuer
from headrace.identity.verify import TokenVerifier

MONITOR = "https://monitor.azure.com"


@pytest.fixture(scope="module")
def shared() -> Iterator[Issuer]:
    with running_issuer() as running:
        yield running


@pytest.fixture
def issuer(shared: Issuer) -> Iterator[Issuer]:
    yield shared
    shared.status = 200
    shared.answers.clear()
    shared.asked.clear()
    for kid in [kid for kid in shared.keys if kid != "first"]:
        del shared.keys[kid]


def eventually(good: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not good():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def trust(world: World) -> Iterator[Callable[..., TokenVerifier]]:
    """A verifier that trusts the issuer, once its keys are there."""
    started: list[IssuerKeys] = []

    def make(trusted: TrustedIssuer, *others: TrustedIssuer, **options: Any) -> TokenVerifier:
        # A busy machine may miss the first fetch; the next one is not to be waited for half a minute.
        keys = IssuerKeys(world.clock, sources=[Source(trusted.issuer)], **{"repeat_seconds": 2.0} | options)
        keys.start()
        started.append(keys)
        eventually(lambda: keys.find(trusted.issuer, "first") is not None)
        outside = OutsideIssuers([trusted, *others], keys, ADDRESSES)
        return TokenVerifier(world.view, ADDRESSES, world.clock, outside=outside)

    yield make
    for keys in started:
        keys.close()


def verify(verifier: TokenVerifier, token: str, surface: Surface = INGESTION) -> Caller:
    return verifier.verify(f"Bearer {token}", surface)


def fault(verifier: TokenVerifier, token: str, surface: Surface = INGESTION) -> str:
    with pytest.raises(TokenError) as caught:
        verify(verifier, token, surface)
    return caught.value.kind


# Trusted issuers


def test_a_trusted_issuers_token_is_taken_and_mapped(
    world: World, issuer: Issuer, trust: Callable[..., TokenVerifier]
) -> None:
    verifier = trust(TrustedIssuer(issuer.url))
    oid, group = str(uuid4()), str(uuid4())
    token = issuer.token(oid=oid.upper(), appid="App-1", aud=MONITOR, groups=[group, 7, "not a guid"])
    caller = verify(verifier, token)
    assert (caller.object_id, caller.app_id, caller.issuer) == (oid, "app-1", issuer.url)
    assert caller.groups[0] == group and len(caller.groups) == 2
    assert verify(verifier, token) == caller
    assert fault(verifier, token, ARM) == "audience"
    # The server's own tokens go on.
    assert verify(verifier, world.token()).issuer is None


def test_subjects_get_ids_of_their_own_unless_they_are_mapped(
    issuer: Issuer, trust: Callable[..., TokenVerifier]
) -> None:
    known = str(uuid4())
    verifier = trust(
        TrustedIssuer(issuer.url, ("api://logs",), "sub", {"repo:a": known}, groups_claim="roles")
    )
    assert verify(verifier, issuer.token(sub="repo:a", aud="api://logs")).object_id == known
    first = verify(verifier, issuer.token(sub="repo:b", aud=["x", "api://logs"], roles=["dev"]))
    again = verify(verifier, issuer.token(sub="repo:b", aud="api://logs", roles=["dev"]), QUERY)
    assert first.object_id == again.object_id != known
    assert first.groups == again.groups and first.groups[0] != "dev"
    # Another issuer's subject of the same name is somebody else, and so is a GUID as a subject.
    assert TrustedIssuer("https://else", principal_claim="sub").object_id("repo:b") != first.object_id
    assert TrustedIssuer(issuer.url, principal_claim="sub").object_id(known) != known


def test_no_issuer_can_name_anothers_object_ids(issuer: Issuer, trust: Callable[..., TokenVerifier]) -> None:
    oid, mapped = str(uuid4()), str(uuid4())
    other = TrustedIssuer("https://else", raw_ids=False)
    derived = other.object_id(oid)
    verifier = trust(
        TrustedIssuer(issuer.url), TrustedIssuer("https://third", (), "sub", {"repo:a": mapped}), other
    )
    assert verify(verifier, issuer.token(oid=oid, aud=MONITOR)).object_id == oid != derived
    # The ids that other issuers' principals have, by rule or by the configuration, cannot be named.
    for claimed in (derived, mapped, mapped.upper()):
        caller = verify(verifier, issuer.token(oid=claimed, aud=MONITOR, groups=[claimed]))
        assert caller.object_id != claimed.lower()
        assert caller.groups == (caller.object_id,)
    only_derived = trust(TrustedIssuer(issuer.url, raw_ids=False))
    assert verify(only_derived, issuer.token(oid=oid, aud=MONITOR)).object_id not in (oid, derived)


def test_what_is_not_taken(world: World, issuer: Issuer, trust: Callable[..., TokenVerifier]) -> None:
    verifier = trust(TrustedIssuer(issuer.url, ("api://logs",)))
    oid = str(uuid4())
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    good: dict[str, Any] = {"oid": oid, "aud": "api://logs"}
    assert verify(verifier, issuer.token(**good)).object_id == oid
    assert fault(verifier, issuer.token(**good | {"aud": MONITOR})) == "audience"
    assert fault(verifier, issuer.token(**good | {"aud": None})) == "audience"
    assert fault(verifier, issuer.token(**good | {"oid": None})) == "invalid"
    assert fault(verifier, issuer.token(**good | {"oid": "x" * 600})) == "invalid"
    assert fault(verifier, issuer.token(**good | {"exp": None})) == "invalid"
    assert fault(verifier, issuer.token(**good | {"exp": 1})) == "expired"
    assert fault(verifier, issuer.token(**good | {"nbf": int(time.time()) + 400})) == "expired"
    assert fault(verifier, issuer.token(private=stranger, **good)) == "invalid"
    assert fault(verifier, issuer.token(headers={"kid": None}, **good)) == "invalid"
    assert fault(verifier, issuer.token(headers={"crit": ["x"]}, **good)) == "invalid"
    assert fault(verifier, issuer.token(scp="user_impersonation", **good)) == "delegated"
    assert fault(verifier, issuer.token(**good | {"iss": "https://else"})) == "invalid"
    unsigned = jwt.encode({**good, "iss": issuer.url, "exp": 9e9}, "", "none", headers={"kid": "first"})
    assert fault(verifier, unsigned) == "invalid"
    secret = str(issuer.key_set()["keys"][0]["n"])
    forged = jwt.encode({**good, "iss": issuer.url}, secret, "HS256", headers={"kid": "first"})
    assert fault(verifier, forged) == "invalid"


def test_users_may_ask_and_never_send(issuer: Issuer, trust: Callable[..., TokenVerifier]) -> None:
    verifier = trust(TrustedIssuer(issuer.url, ("api://logs",), users=True))
    token = issuer.token(oid=str(uuid4()), aud="api://logs", scp="read")
    assert verify(verifier, token, QUERY).issuer == issuer.url
    assert fault(verifier, token, INGESTION) == "delegated"


def test_an_issuer_cannot_speak_for_this_servers_apps(
    world: World, issuer: Issuer, trust: Callable[..., TokenVerifier]
) -> None:
    own = world.first.principal_id
    verifier = trust(TrustedIssuer(issuer.url))
    assert fault(verifier, issuer.token(oid=own, aud=MONITOR)) == "principal"
    caller = verify(verifier, issuer.token(oid=str(uuid4()), aud=MONITOR, groups=[own]))
    assert caller.groups == ()
    # Who runs the server may say so.
    mapped = trust(TrustedIssuer(issuer.url, principals={"me": own}, principal_claim="sub"))
    assert verify(mapped, issuer.token(sub="me", aud=MONITOR)).object_id == own


def test_new_keys_are_fetched_beside_the_requests_and_not_for_each(
    issuer: Issuer, trust: Callable[..., TokenVerifier]
) -> None:
    verifier = trust(TrustedIssuer(issuer.url), repeat_seconds=0.5)
    before = issuer.asked["/keys"]
    issuer.add_key("second", "EC")
    token = issuer.token("second", oid=str(uuid4()), aud=MONITOR)
    seen = set()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            assert verify(verifier, token).issuer == issuer.url
            break
        except TokenError as error:
            seen.add(error.kind)
            time.sleep(0.01)
    assert seen <= {"pending", "invalid"} and "pending" in seen
    # An unknown key is looked for once in a while, however often it is asked for.
    asked = issuer.asked["/keys"]
    assert asked == before + 1
    for _ in range(50):
        assert fault(verifier, issuer.token(headers={"kid": "unknown"}, oid="x", aud=MONITOR)) in seen
    assert issuer.asked["/keys"] <= asked + 1


def test_keys_outlive_the_issuers_absence_for_a_while(
    issuer: Issuer, tmp_path: Path, world: World, trust: Callable[..., TokenVerifier]
) -> None:
    trusted = TrustedIssuer(issuer.url)
    trust(trusted, folder=tmp_path)
    issuer.status = 503
    clock = ManualClock(world.clock.now())
    keys = IssuerKeys(clock, sources=[Source(issuer.url)], folder=tmp_path, keep_seconds=3600)
    verifier = TokenVerifier(
        world.view, ADDRESSES, world.clock, outside=OutsideIssuers([trusted], keys, ADDRESSES)
    )
    token = issuer.token(oid=str(uuid4()), aud=MONITOR)
    assert verify(verifier, token).issuer == issuer.url
    clock.advance(HOUR + 1)
    assert fault(verifier, token) == "invalid"


# Keys


def refused(issuer: Issuer, clock: ManualClock, **source: Any) -> str:
    keys = IssuerKeys(clock, sources=[Source(issuer.url, **source)])
    with pytest.raises(IssuerUnreachableError) as caught:
        keys.require(issuer.url, "first")
    # Just now it did not go: it is not tried again for everyone who asks.
    before = dict(issuer.asked)
    with pytest.raises(IssuerUnreachableError):
        keys.require(issuer.url, "first")
    assert issuer.asked == before
    return str(caught.value)


def test_what_an_issuer_may_not_answer(issuer: Issuer, tmp_path: Path) -> None:
    clock = ManualClock()
    configuration, key_set = "/.well-known/openid-configuration", "/keys"
    issuer.answers = {configuration: b'{"issuer": "https://else", "jwks_uri": "https://else/keys"}'}
    assert "not of this issuer" in refused(issuer, clock)
    issuer.answers = {
        configuration: json.dumps({"issuer": issuer.url, "jwks_uri": "file:///etc/passwd"}).encode()
    }
    assert "https://" in refused(issuer, clock)
    issuer.answers = {configuration: b"[1"}
    assert "JSON" in refused(issuer, clock)
    issuer.answers = {key_set: b"x" * (MOST_BYTES + 1)}
    assert "too much" in refused(issuer, clock)
    issuer.answers = {key_set: b'{"keys": []}'}
    assert "no key" in refused(issuer, clock)
    issuer.answers = {key_set: b'{"keys": {}}'}
    assert "no JSON web key set" in refused(issuer, clock)
    issuer.answers = {}
    issuer.status = 302
    assert "302" in refused(issuer, clock)
    assert "No such file" in refused(issuer, clock, keys_file=tmp_path / "none")
    missing = IssuerKeys(clock, sources=[Source("https://127.0.0.1:1")], ca=tmp_path / "none")
    with pytest.raises(IssuerUnreachableError, match="FileNotFoundError"):
        missing.require("https://127.0.0.1:1", "first")


def test_a_key_set_from_a_file(issuer: Issuer, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps(issuer.key_set()))
    keys = IssuerKeys(ManualClock(), sources=[Source("https://cluster.example", keys_file=path)])
    assert keys.require("https://cluster.example", "first") is not None
    assert issuer.asked == {}


def test_only_public_signing_keys_of_known_kinds_count(issuer: Issuer) -> None:
    good = issuer.key_set()["keys"][0]
    small = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    weak = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(small.public_key()))
    private = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(issuer.keys["first"]))
    listed = [
        good | {"kid": "good"},
        good | {"kid": "encrypts", "use": "enc"},
        good | {"kid": 7},
        weak | {"kid": "weak"},
        private | {"kid": "private"},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "secret"},
        {"kty": "RSA", "n": "AQAB", "e": [], "kid": "broken"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "off the curve"},
        good | {"kid": "one", "alg": "PS256"},
        "nonsense",
    ]
    found = read_keys({"keys": listed})
    assert set(found) == {"good", "one"}
    assert found["one"].algorithms == {"PS256"}
    assert "HS256" not in found["good"].algorithms


# Federated credentials

TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
EXCHANGE = "api://AzureADTokenExchange"


def test_a_federated_token_is_exchanged(world: World, issuer: Issuer) -> None:
    app, principal, _ = world.app("job")
    path = f"/headrace/apps/{app}/federatedCredentials"
    made = world.arm("POST", path, {"issuer": issuer.url, "subject": "job"})
    assert made.status_code == 201, made.text
    credential = made.json()
    assert credential["audiences"] == [EXCHANGE]
    assert world.arm("GET", f"/headrace/apps/{app}").json()["federatedCredentials"] == [credential]

    def ask(**change: Any) -> Any:
        assertion = issuer.token(**{"aud": EXCHANGE} | change)
        fields = {"client_id": app, "client_secret": None}
        form = world.form(client_assertion=assertion, client_assertion_type=TYPE, **fields)
        return world.client.post(f"/{world.tenant}/oauth2/v2.0/token", data=form)

    answer = ask()
    assert answer.status_code == 200, answer.text
    caller = world.verifier.verify(f"Bearer {answer.json()['access_token']}", INGESTION)
    assert (caller.object_id, caller.app_id) == (principal, app)
    asked = issuer.asked["/keys"]

    def code(**change: Any) -> int:
        return int(ask(**change).json()["error_codes"][0])

    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert code(iss="https://else.example") == 700211
    assert code(iss=issuer.url + "/") == 700211
    assert code(sub="Job") == 700213
    assert code(sub=None) == 700213
    assert code(aud="api://else") == 700212
    assert code(aud=None) == 700212
    assert code(private=stranger) == 50013
    assert code(headers={"kid": "unknown"}) == 50013
    assert code(headers={"kid": None}) == 50013
    assert code(exp=int(time.time()) - 400) == 700024
    assert code(exp=None) == 700024
    assert code(nbf=int(time.time()) + 400) == 700024
    assert issuer.asked["/keys"] == asked
    removed = world.arm("DELETE", f"{path}/{credential['keyId']}")
    assert removed.status_code == 204
    assert code() == 700211


def test_an_issuer_that_is_down_is_told(world: World, issuer: Issuer) -> None:
    app, _, _ = world.app("job")
    body = {"issuer": issuer.url, "subject": "job"}
    assert world.arm("POST", f"/headrace/apps/{app}/federatedCredentials", body).status_code == 201
    issuer.status = 500
    assertion = issuer.token(aud=EXCHANGE)
    form = world.form(
        client_id=app, client_secret=None, client_assertion=assertion, client_assertion_type=TYPE
    )
    answer = world.client.post(f"/{world.tenant}/oauth2/v2.0/token", data=form)
    assert (answer.status_code, answer.json()["error_codes"]) == (503, [50166])
    assert answer.headers["retry-after"]


def test_what_a_federated_credential_needs(world: World) -> None:
    app, _, _ = world.app("job")
    path = f"/headrace/apps/{app}/federatedCredentials"
    good = {"issuer": "https://token.example", "subject": "job", "name": "one"}

    def refused(path: str = path, **change: Any) -> tuple[int, str]:
        answer = world.arm("POST", path, good | change)
        return answer.status_code, answer.json()["error"]["code"]

    assert world.arm("POST", path, good).status_code == 201
    assert refused() == (409, "CredentialExists")
    assert refused(name="two") == (409, "CredentialExists")
    assert refused(subject="") == (400, "InvalidRequestContent")
    assert refused(issuer="http://token.example") == (400, "InvalidRequestContent")
    assert refused(issuer="ftp://token.example") == (400, "InvalidRequestContent")
    assert refused(audiences=[]) == (400, "InvalidRequestContent")
    assert refused(f"/headrace/apps/{uuid4()}/federatedCredentials") == (404, "ResourceNotFound")
    for number in range(19):
        assert (
            world.arm("POST", path, good | {"name": f"n{number}", "subject": f"s{number}"}).status_code == 201
        )
    assert refused(name="last", subject="last") == (400, "CredentialLimitReached")
