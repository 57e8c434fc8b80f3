"""Signing in without a secret of this server: managed and workload identity, and another issuer's own tokens."""

from __future__ import annotations

import json
import ssl
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import HttpResponseError
from azure.identity import ManagedIdentityCredential, WorkloadIdentityCredential
from azure.monitor.ingestion import LogsIngestionClient
from azure.monitor.query import LogsQueryClient

from tests.clients.conftest import connect, headrace
from tests.oidc_issuer import Issuer, running_issuer
from tests.server.kit import eventually
from tests.servers import ServerProcess, running_server

pytestmark = pytest.mark.server

ROW = {"Time": None, "Message": "signed in elsewhere"}
AUDIENCE = "api://headrace"


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with running_issuer() as running:
        yield running


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[ServerProcess]:
    trusted = [{"issuer": issuer.url, "audiences": [AUDIENCE]}]
    arguments = ("--ephemeral", "--port", "0", "--quiet", "--managed-identity", "0")
    variables = {"HEADRACE_IDENTITY_TRUSTED_ISSUERS": json.dumps(trusted)}
    patch = pytest.MonkeyPatch()
    with running_server(tmp_path_factory.mktemp("outside"), *arguments, variables=variables) as running:
        for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
            patch.setenv(name, running.env[name])
        yield running
    patch.undo()


class Fixed:
    """A credential that has one token."""

    def __init__(self, token: str) -> None:
        self._token = token

    def get_token(self, *_: str, **__: Any) -> AccessToken:
        return AccessToken(self._token, 2**31)


def send(server: ServerProcess, credential: Any) -> None:
    with LogsIngestionClient(server.env["HEADRACE_INGEST_URL"], credential) as client:
        client.upload(server.env["HEADRACE_DCR_IMMUTABLE_ID"], server.env["HEADRACE_DCR_STREAM"], [ROW])


@pytest.mark.parametrize("form", ["machine", "service"])
def test_a_managed_identity_sends(own: ServerProcess, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    if form == "service":
        monkeypatch.setenv("IDENTITY_ENDPOINT", own.env["IDENTITY_ENDPOINT"])
        monkeypatch.setenv("IDENTITY_HEADER", own.env["IDENTITY_HEADER"])
    else:
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", own.env["HEADRACE_MANAGED_IDENTITY_URL"])
    with ManagedIdentityCredential() as credential:
        send(own, credential)
    given = eventually(
        lambda: headrace(own, "audit", "list", "--last", "200"),
        lambda rows: any("managed" in row["Details"] for row in rows),
    )
    assert {row["CallerIpAddress"] for row in given if "managed" in row["Details"]} == {"127.0.0.1"}


def test_a_workload_identity_sends(own: ServerProcess, issuer: Issuer, tmp_path: Path) -> None:
    app = headrace(own, "app", "create", "workload")
    subject = "system:serviceaccount:default:sender"
    made = headrace(own, "app", "federate", app["clientId"], "--issuer", issuer.url, "--subject", subject)
    assert made["subject"] == subject
    listed = headrace(own, "app", "credentials", app["clientId"])
    assert [one["kind"] for one in listed] == ["secret", "federated"]
    with connect(own.env) as azure:
        rule = next(iter(azure.monitor.data_collection_rules.list_by_subscription()))
        azure.grant(str(rule.id), app["principalId"])
    token_file = tmp_path / "token"
    token_file.write_text(issuer.token(sub=subject, aud="api://AzureADTokenExchange"))
    credential = WorkloadIdentityCredential(
        tenant_id=own.env["AZURE_TENANT_ID"],
        client_id=app["clientId"],
        token_file_path=str(token_file),
        authority=own.env["AZURE_AUTHORITY_HOST"],
        disable_instance_discovery=True,
    )
    with credential:
        send(own, credential)


def test_another_issuers_token_is_taken_everywhere_and_has_the_rights_it_was_given(
    own: ServerProcess, issuer: Issuer
) -> None:
    oid, group = str(uuid.uuid4()), str(uuid.uuid4())
    sender = Fixed(issuer.token(oid=oid, aud=AUDIENCE))
    member = Fixed(issuer.token(oid=str(uuid.uuid4()), groups=[group], aud=AUDIENCE))

    def status(credential: Any) -> int:
        try:
            send(own, credential)
        except HttpResponseError as error:
            return int(error.status_code or 0)
        return 204

    assert eventually(lambda: status(sender), lambda seen: seen != 503) == 403
    assert status(Fixed(issuer.token(oid=oid, aud="api://else"))) == 401
    with connect(own.env) as azure:
        rule = str(next(iter(azure.monitor.data_collection_rules.list_by_subscription())).id)
        azure.grant(rule, oid)
        role = "3913510d-42f4-4e42-8a64-420c390055eb"
        definition = f"/providers/Microsoft.Authorization/roleDefinitions/{role}"
        properties = {"roleDefinitionId": definition, "principalId": group, "principalType": "Group"}
        azure.authorization.role_assignments.create(rule, str(uuid.uuid4()), {"properties": properties})
        reader = "73c42c96-874c-492b-b04d-ab87d138a893"
        azure.grant(f"/subscriptions/{own.env['AZURE_SUBSCRIPTION_ID']}", oid, reader)
    assert status(sender) == 204
    assert status(member) == 204
    url = f"{own.env['HEADRACE_ARM_URL']}{rule}?api-version=2023-03-11"
    with httpx.Client(verify=ssl.create_default_context(cafile=own.env["HEADRACE_CA_FILE"])) as http:
        bearer = {"Authorization": f"Bearer {sender.get_token().token}"}
        assert http.get(url, headers=bearer).status_code == 200
    with LogsQueryClient(sender, endpoint=own.env["HEADRACE_QUERY_URL"]) as client:
        answer = client.query_workspace(own.env["HEADRACE_WORKSPACE_ID"], "print 1", timespan=None)
        assert answer.tables[0].rows[0][0] == 1
    said = headrace(own, "role", "explain", "--principal", oid)
    assert said["allowed"]


def test_keys_are_rotated_under_load(own: ServerProcess) -> None:
    with connect(own.env) as azure:
        rule, stream = own.env["HEADRACE_DCR_IMMUTABLE_ID"], own.env["HEADRACE_DCR_STREAM"]
        azure.ingestion.upload(rule, stream, [ROW])
        before = headrace(own, "key", "list")
        after = headrace(own, "key", "rotate")
        assert [key["kid"] for key in after[1:]] == [key["kid"] for key in before]
        # The old token is still good, and a new one is, too.
        azure.ingestion.upload(rule, stream, [ROW])
    with connect(own.env) as azure:
        azure.ingestion.upload(rule, stream, [ROW])
