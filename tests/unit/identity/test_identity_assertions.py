from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from typing import Any
from uuid import uuid4

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from tests.identity_kit import BASE, World

from headrace.clock import DAY, SECOND, to_datetime
from headrace.errors import ProblemError
from headrace.identity.apps import add_certificate, remove_credential
from headrace.identity.assertions import UseCounter

TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@cache
def key(name: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def certificate(private: Any, world: World, days: int = 30) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sender")])
    now = to_datetime(world.clock.now())
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=days))
        .sign(private, hashes.SHA256())
    )


def pem(made: x509.Certificate) -> str:
    return made.public_bytes(serialization.Encoding.PEM).decode()


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@pytest.fixture
def registered(world: World) -> x509.Certificate:
    made = certificate(key("app"), world)
    with world.database.write() as connection:
        add_certificate(connection, world.first.app_id, pem(made))
    return made


def claims(world: World, **change: Any) -> dict[str, Any]:
    now = world.clock.now() / SECOND
    good = {
        "aud": f"{BASE}/{world.tenant}/oauth2/v2.0/token",
        "iss": world.first.app_id,
        "sub": world.first.app_id,
        "jti": str(uuid4()),
        "nbf": now,
        "iat": now,
        "exp": now + 600,
    }
    return {name: value for name, value in (good | change).items() if value is not None}


def thumbprint(made: x509.Certificate) -> dict[str, str]:
    return {"x5t": b64(made.fingerprint(hashes.SHA1()))}


def post(world: World, assertion: str, **form: str | None) -> Any:
    fields = world.form(client_secret=None, client_assertion=assertion, client_assertion_type=TYPE, **form)
    return world.client.post(f"/{world.tenant}/oauth2/v2.0/token", data=fields)


def refused(answer: Any) -> int:
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client"), answer.text
    (code,) = answer.json()["error_codes"]
    return int(code)


Header = Callable[[x509.Certificate], dict[str, str]]


@pytest.mark.parametrize("algorithm", ["RS256", "PS256"])
@pytest.mark.parametrize(
    "header",
    [
        thumbprint,
        lambda made: {"x5t#S256": b64(made.fingerprint(hashes.SHA256()))},
        lambda made: {"x5t": base64.urlsafe_b64encode(made.fingerprint(hashes.SHA1())).decode()},
        lambda made: {
            **thumbprint(made),
            "x5t#S256": b64(made.fingerprint(hashes.SHA256())),
            "x5c": base64.b64encode(made.public_bytes(serialization.Encoding.DER)).decode(),
        },
    ],
)
def test_a_certificate_proves_the_client(
    world: World, registered: x509.Certificate, algorithm: str, header: Header
) -> None:
    answer = post(world, jwt.encode(claims(world), key("app"), algorithm, headers=header(registered)))
    assert answer.status_code == 200, answer.text
    token = jwt.decode(answer.json()["access_token"], options={"verify_signature": False})
    assert (token["appidacr"], token["oid"]) == ("2", world.first.principal_id)


@pytest.mark.parametrize(
    "audience",
    [
        "{base}/{tenant}/oauth2/v2.0/token",
        "{base}/{tenant}/oauth2/token",
        "{base}/adfs/oauth2/token",
        "{base}/{tenant}/v2.0",
        "https://127.0.0.1:4711/{tenant}/oauth2/v2.0/token",
        "https://LOCALHOST/{tenant}/oauth2/v2.0/token",
    ],
)
def test_the_audience_is_this_servers_token_endpoint_under_any_of_its_names(
    world: World, registered: x509.Certificate, audience: str
) -> None:
    wanted = audience.format(base=BASE, tenant=world.tenant)
    for form in (wanted, [wanted], ["https://elsewhere.example.com", wanted]):
        assertion = jwt.encode(claims(world, aud=form), key("app"), "RS256", headers=thumbprint(registered))
        assert post(world, assertion).status_code == 200


def test_faults_of_an_assertion_are_told_apart(world: World, registered: x509.Certificate) -> None:
    now = world.clock.now() / SECOND
    good = thumbprint(registered)

    def answer(
        change: dict[str, Any], headers: dict[str, Any] = good, private: Any = None, alg: str = "RS256"
    ) -> int:
        signer = key("app") if private is None else private
        return refused(post(world, jwt.encode(claims(world, **change), signer, alg, headers=headers)))

    assert answer({}, {}) == 700027
    assert answer({}, {"x5t": b64(hashlib.sha1(b"x").digest())}) == 700027
    assert answer({}, {**good, "x5t#S256": b64(b"x" * 32)}) == 700027
    assert answer({}, good, key("stranger")) == 700027
    assert answer({}, good, key("app"), "RS512") == 700027
    assert (
        answer({}, {"x5t": b64(hashlib.sha1(b"x").digest())}, "shared secret of thirty-two bytes", "HS256")
        == 700027
    )
    assert answer({}, {**good, "crit": ["exp"]}) == 700027
    assert answer({"iss": str(uuid4())}) == 700021
    assert answer({"sub": str(uuid4())}) == 700021
    assert answer({"sub": None}) == 700021
    assert answer({"iss": "https://token.actions.example.com"}) == 700211
    assert answer({"aud": f"https://login.example.com/{world.tenant}/oauth2/v2.0/token"}) == 700023
    assert answer({"aud": f"{BASE}/other/oauth2/v2.0/token"}) == 700023
    assert answer({"aud": f"{BASE}/{world.tenant}/oauth2/v2.0/token?x=1"}) == 700023
    assert answer({"aud": None}) == 700023
    assert answer({"aud": 7}) == 700023
    assert answer({"exp": now - 301}) == 700024
    assert answer({"exp": None}) == 700024
    assert answer({"exp": True}) == 700024
    assert answer({"exp": 1e30}) == 700024
    assert answer({"nbf": now + 400, "exp": now + 500}) == 700024
    assert answer({"nbf": "soon"}) == 700024
    assert answer({"exp": now + 700}) == 700024
    assert answer({"nbf": None, "iat": None, "exp": now + 700}) == 700024
    unsigned = jwt.encode(claims(world), "", "none", headers=good)
    assert refused(post(world, unsigned)) == 700027
    for text in ("x", "a.b.c", "..", "é.é.é", "a." * 20_000):
        document = post(world, text).json()
        assert (document["error"], document["error_codes"]) == ("invalid_request", [50027])


def test_a_certificate_of_another_app_or_one_removed_proves_nothing(
    world: World, registered: x509.Certificate
) -> None:
    other, _, _ = world.app()
    stolen = claims(world, iss=other, sub=other)
    answer = post(
        world, jwt.encode(stolen, key("app"), "RS256", headers=thumbprint(registered)), client_id=other
    )
    assert refused(answer) == 700027
    with world.database.write() as connection:
        made = add_certificate(connection, other, pem(registered))
        assert remove_credential(connection, other, made.key_id)
        assert not remove_credential(connection, other, made.key_id)
    answer = post(
        world, jwt.encode(stolen, key("app"), "RS256", headers=thumbprint(registered)), client_id=other
    )
    assert refused(answer) == 700027


def test_an_expired_certificate_proves_nothing(world: World, registered: x509.Certificate) -> None:
    world.clock.advance(30 * DAY)
    answer = post(world, jwt.encode(claims(world), key("app"), "RS256", headers=thumbprint(registered)))
    assert refused(answer) == 700027
    assert "validity period" in answer.json()["error_description"]


def test_an_assertion_may_be_used_again_but_not_for_ever(world: World, registered: x509.Certificate) -> None:
    assertion = jwt.encode(claims(world), key("app"), "RS256", headers=thumbprint(registered))
    for scope in ("https://monitor.azure.com/.default", "https://management.azure.com/.default") * 50:
        assert post(world, assertion, scope=scope).status_code == 200
    assert refused(post(world, assertion)) == 700024
    fresh = jwt.encode(claims(world), key("app"), "RS256", headers=thumbprint(registered))
    assert post(world, fresh).status_code == 200


def test_the_counter_of_uses_is_bounded() -> None:
    uses = UseCounter(most_uses=1, most_remembered=100)
    for number in range(1000):
        assert uses.use(str(number).encode(), 10_000 + number, 0)
        assert len(uses._uses) <= 100
    assert not uses.use(b"999", 10_999, 0)
    late = UseCounter(most_uses=1, most_remembered=100)
    assert late.use(b"long", 99_999, 0)
    for number in range(1000):
        assert late.use(str(number).encode(), number, number)
    assert not late.use(b"long", 99_999, 1000)


def test_only_fit_certificates_are_taken(world: World) -> None:
    app_id = world.first.app_id

    def add(text: str) -> str:
        with pytest.raises(ProblemError) as caught, world.database.write() as connection:
            add_certificate(connection, app_id, text)
        return caught.value.problems[0].code

    assert add(pem(certificate(ec.generate_private_key(ec.SECP256R1()), world))) == "InvalidCertificate"
    assert add(pem(certificate(key("short", 1024), world))) == "InvalidCertificate"
    assert add("nonsense") == "InvalidCertificate"
    assert add("") == "InvalidCertificate"
    assert add("é" * 10) == "InvalidCertificate"
    assert add("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n") == "InvalidCertificate"
    assert add("x" * 50_000) == "InvalidCertificate"
    private = key("app").private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    assert add(private.decode()) == "InvalidCertificate"
    made = pem(certificate(key("app"), world))
    with world.database.write() as connection:
        add_certificate(connection, app_id, private.decode() + made)
    assert add(made) == "CredentialExists"
