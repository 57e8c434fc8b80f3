"""Signing in with Azure's own credentials, and losing access again."""

from __future__ import annotations

import time
import uuid
from pathlib import Path

import pytest
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.identity import CertificateCredential, ClientSecretCredential
from azure.monitor.ingestion import LogsIngestionClient
from azure.monitor.query import LogsQueryClient

from tests.clients.conftest import Azure, headrace
from tests.server.kit import eventually
from tests.servers import ServerProcess

pytestmark = pytest.mark.server

ROW = {"Time": None, "Message": "signed in"}


def credential(env: dict[str, str], client: str, secret: str) -> ClientSecretCredential:
    return ClientSecretCredential(
        env["AZURE_TENANT_ID"],
        client,
        secret,
        authority=env["AZURE_AUTHORITY_HOST"],
        disable_instance_discovery=True,
    )


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
