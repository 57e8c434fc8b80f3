"""Signing in with Azure's own credentials, and losing access again."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.identity import CertificateCredential, ClientSecretCredential
from azure.monitor.ingestion import LogsIngestionClient
from azure.monitor.query import LogsQueryClient
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from tests.clients.conftest import Azure, eventually
from tests.servers import ServerProcess

pytestmark = pytest.mark.server

ROW = {"Time": None, "Message": "signed in"}


def headrace(server: ServerProcess, *arguments: str) -> Any:
    """A command that prints JSON, with the env file's variables."""
    done = subprocess.run(
        [sys.executable, "-m", "headrace", *arguments, "--output", "json"],
        env=server.env,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def credential(env: dict[str, str], client: str, secret: str) -> ClientSecretCredential:
    return ClientSecretCredential(
        env["AZURE_TENANT_ID"],
        client,
        secret,
        authority=env["AZURE_AUTHORITY_HOST"],
        disable_instance_discovery=True,
    )


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate: the file with its key, as the SDK takes it, and the certificate alone."""
    folder = tmp_path_factory.mktemp("certificate")
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sender")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=2))
        .sign(key, hashes.SHA256())
    )
    alone, both = folder / "certificate.pem", folder / "key-and-certificate.pem"
    alone.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    both.write_bytes(private + alone.read_bytes())
    return both, alone


def test_a_certificate_instead_of_a_secret(
    server: ServerProcess, azure: Azure, certificate: tuple[Path, Path]
) -> None:
    both, alone = certificate
    env = server.env
    app = headrace(server, "app", "create", "certified", "--certificate", str(alone))
    assert "clientSecret" not in app
    rule = azure.monitor.data_collection_rules.get(env["HEADRACE_RESOURCE_GROUP"], "headrace-rule")
    azure.grant(rule.id, app["principalId"])
    with (
        CertificateCredential(
            env["AZURE_TENANT_ID"],
            app["clientId"],
            str(both),
            authority=env["AZURE_AUTHORITY_HOST"],
            disable_instance_discovery=True,
        ) as certified,
        LogsIngestionClient(env["HEADRACE_INGEST_URL"], certified) as client,
    ):
        client.upload(env["HEADRACE_DCR_IMMUTABLE_ID"], env["HEADRACE_DCR_STREAM"], [ROW])


def test_a_wrong_secret_says_what_azure_says(server: ServerProcess, azure: Azure) -> None:
    env = server.env
    with (
        credential(env, env["AZURE_CLIENT_ID"], "wrong") as wrong,
        pytest.raises(ClientAuthenticationError) as refused,
    ):
        wrong.get_token("https://monitor.azure.com/.default")
    assert "AADSTS7000215" in refused.value.message


def test_an_unknown_app_says_what_azure_says(server: ServerProcess, azure: Azure) -> None:
    with (
        credential(server.env, str(uuid.uuid4()), "x") as unknown,
        pytest.raises(ClientAuthenticationError) as refused,
    ):
        unknown.get_token("https://monitor.azure.com/.default")
    assert "AADSTS700016" in refused.value.message


def test_a_removed_role_stops_access_within_a_second(server: ServerProcess, azure: Azure) -> None:
    env = server.env
    app = headrace(server, "app", "create", f"short-lived-{uuid.uuid4().hex[:6]}")
    rule = azure.monitor.data_collection_rules.get(env["HEADRACE_RESOURCE_GROUP"], "headrace-rule")
    with (
        credential(env, app["clientId"], app["clientSecret"]) as own,
        LogsIngestionClient(env["HEADRACE_INGEST_URL"], own) as client,
    ):

        def send() -> int:
            try:
                client.upload(env["HEADRACE_DCR_IMMUTABLE_ID"], env["HEADRACE_DCR_STREAM"], [ROW])
            except HttpResponseError as error:
                assert error.error is not None and error.error.code == "OperationFailed"
                return error.status_code or 0
            return 204

        assert send() == 403
        assignment = azure.grant(rule.id, app["principalId"])
        assert send() == 204
        azure.authorization.role_assignments.delete_by_id(assignment.id)
        time.sleep(1.0)
        assert send() == 403


def test_owner_alone_may_not_ingest_and_publisher_alone_may_not_query(
    server: ServerProcess, azure: Azure
) -> None:
    env = server.env
    app = headrace(server, "app", "create", f"owner-{uuid.uuid4().hex[:6]}")
    subscription = f"/subscriptions/{env['AZURE_SUBSCRIPTION_ID']}"
    azure.grant(subscription, app["principalId"], "8e3af657-a8ff-443c-a75c-2fe8c4bcb635")
    other = headrace(server, "app", "create", f"publisher-{uuid.uuid4().hex[:6]}")
    azure.grant(subscription, other["principalId"])
    with (
        credential(env, app["clientId"], app["clientSecret"]) as owner,
        LogsIngestionClient(env["HEADRACE_INGEST_URL"], owner) as client,
        pytest.raises(HttpResponseError) as refused,
    ):
        client.upload(env["HEADRACE_DCR_IMMUTABLE_ID"], env["HEADRACE_DCR_STREAM"], [ROW])
    assert refused.value.status_code == 403
    with (
        credential(env, other["clientId"], other["clientSecret"]) as publisher,
        LogsIngestionClient(env["HEADRACE_INGEST_URL"], publisher) as client,
        LogsQueryClient(publisher, endpoint=env["HEADRACE_QUERY_URL"]) as queries,
    ):
        client.upload(env["HEADRACE_DCR_IMMUTABLE_ID"], env["HEADRACE_DCR_STREAM"], [ROW])
        with pytest.raises(HttpResponseError) as denied:
            queries.query_workspace(env["HEADRACE_WORKSPACE_ID"], env["HEADRACE_TABLE"], timespan=None)
    assert denied.value.status_code == 403


def test_a_reset_secret_ends_the_old_one(server: ServerProcess, azure: Azure) -> None:
    app = headrace(server, "app", "create", f"rotated-{uuid.uuid4().hex[:6]}")
    scope = "https://monitor.azure.com/.default"
    with credential(server.env, app["clientId"], app["clientSecret"]) as first:
        assert first.get_token(scope).token
    reset = headrace(server, "app", "reset-secret", app["clientId"])
    with credential(server.env, app["clientId"], reset["clientSecret"]) as second:
        assert eventually(lambda: second.get_token(scope).token, bool)
    with (
        credential(server.env, app["clientId"], app["clientSecret"]) as old,
        pytest.raises(ClientAuthenticationError),
    ):
        old.get_token(scope)
