"""The real Azure identity client against the sign-in addresses, without a network in between."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.core.pipeline.transport import HttpResponse, HttpTransport
from azure.identity import CertificateCredential, ClientSecretCredential
from cryptography.hazmat.primitives import serialization
from tests.identity_kit import BASE, World
from tests.unit.identity.test_identity_assertions import certificate, key, pem

from headrace.identity.apps import add_certificate
from headrace.identity.model import ARM, INGESTION, QUERY


class Response(HttpResponse):
    def __init__(self, request: Any, answer: Any) -> None:
        super().__init__(request, answer)
        self.status_code = answer.status_code
        self.headers = answer.headers
        self.reason = answer.reason_phrase
        self.content_type = answer.headers.get("content-type")

    def body(self) -> bytes:
        content: bytes = self.internal_response.content
        return content


class InProcess(HttpTransport[Any, Any]):
    """Carries the client's requests to the application and notes them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.seen: list[tuple[str, str, str]] = []

    def send(self, request: Any, **_: Any) -> Response:
        parts = urlsplit(request.url)
        self.seen.append((request.method, parts.netloc, parts.path))
        content = urlencode(request.body) if isinstance(request.body, dict) else request.body
        answer = self.world.client.request(
            request.method, request.url, content=content, headers=dict(request.headers)
        )
        return Response(request, answer)

    def open(self) -> None:
        pass

    def close(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("tenant", ["{tenant}", "adfs"])
def test_a_secret(world: World, tenant: str) -> None:
    transport = InProcess(world)
    named = tenant.format(tenant=world.tenant)
    # The tenant `adfs` needs no switch: the client then leaves instance discovery out by itself.
    options: dict[str, Any] = {} if tenant == "adfs" else {"disable_instance_discovery": True}
    credential = ClientSecretCredential(
        named, world.first.app_id, str(world.first.secret), authority=BASE, transport=transport, **options
    )
    for scope, surface in (
        ("https://monitor.azure.com//.default", INGESTION),
        ("https://monitor.azure.com/.default", INGESTION),
        (f"{BASE}/.default", ARM),
        ("https://api.loganalytics.io/.default", QUERY),
    ):
        token = credential.get_token(scope)
        assert world.verifier.verify(f"Bearer {token.token}", surface).app_id == world.first.app_id
    assert {host for _, host, _ in transport.seen} == {"localhost:8443"}
    assert sum(path.endswith("openid-configuration") for _, _, path in transport.seen) == 1


def test_a_certificate_whose_assertion_serves_several_scopes(world: World) -> None:
    private = key("app").private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    made = pem(certificate(key("app"), world))
    with world.database.write() as connection:
        add_certificate(connection, world.first.app_id, made)
    credential = CertificateCredential(
        world.tenant,
        world.first.app_id,
        certificate_data=private + made.encode(),
        authority=BASE,
        disable_instance_discovery=True,
        transport=InProcess(world),
    )
    for scope in ("https://monitor.azure.com/.default", "https://management.azure.com/.default"):
        assert credential.get_token(scope).token


def test_the_client_shows_the_description_of_a_failure(world: World) -> None:
    def message(tenant: str, client: str, secret: str) -> str:
        credential = ClientSecretCredential(
            tenant,
            client,
            secret,
            authority=BASE,
            disable_instance_discovery=True,
            transport=InProcess(world),
        )
        with pytest.raises(ClientAuthenticationError) as caught:
            credential.get_token("https://monitor.azure.com/.default")
        return str(caught.value)

    assert "AADSTS7000215: Invalid client secret" in message(world.tenant, world.first.app_id, "wrong")
    assert "AADSTS700016" in message(world.tenant, world.tenant, "wrong")
    assert "nobody" in message("nobody", world.first.app_id, "wrong")
