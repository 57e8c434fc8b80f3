"""The managed identity's two forms, and what they refuse."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from tests.identity_kit import SUBSCRIPTION, World

from headrace.identity.apps import set_enabled
from headrace.identity.bootstrap import ensure_managed_identity, first_app
from headrace.identity.managed import NAME, ManagedIdentity, managed_routes
from headrace.identity.model import INGESTION

RULE = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/g/providers/Microsoft.Insights/dataCollectionRules/r"
MACHINE = "/metadata/identity/oauth2/token"
SERVICE = "/msi/token"
GOOD = {"api-version": "2018-02-01", "resource": "https://monitor.azure.com/"}


class Local:
    def __init__(self, world: World) -> None:
        identity = ManagedIdentity(world.endpoint, world.clock, "the-header")
        self._app = Starlette(routes=managed_routes(identity))

    def get(self, path: str, base: str = "http://127.0.0.1:50342", **options: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app=self._app)
            async with httpx.AsyncClient(transport=transport, base_url=base) as client:
                return await client.get(path, **options)

        return asyncio.run(ask())


@pytest.fixture
def local(world: World) -> Local:
    for _ in range(2):
        with world.database.write() as connection:
            ensure_managed_identity(connection, RULE, world.clock.now())
    world.view.refresh()
    return Local(world)


def test_a_machines_form(world: World, local: Local) -> None:
    answer = local.get(MACHINE, params=GOOD, headers={"Metadata": "true"})
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert all(isinstance(value, str) for value in document.values())
    assert (document["resource"], document["token_type"]) == (GOOD["resource"], "Bearer")
    assert int(document["expires_on"]) - int(document["not_before"]) == int(document["expires_in"])
    caller = world.verifier.verify(f"Bearer {document['access_token']}", INGESTION)
    assert caller.app_id == document["client_id"]
    assert world.view.current.allows(caller.object_id, "Microsoft.Insights/Telemetry/Write", RULE, data=True)
    for host in ("localhost", "LOCALHOST:50342", "[::1]:50342"):
        assert local.get(MACHINE, params=GOOD, headers={"Metadata": "true", "Host": host}).status_code == 200
    named = GOOD | {"client_id": caller.app_id}
    assert local.get(MACHINE, params=named, headers={"Metadata": "true"}).status_code == 200


@pytest.mark.parametrize(
    ("path", "change", "headers", "status", "error"),
    [
        (MACHINE, {}, {}, 400, "bad_request_102"),
        (MACHINE, {}, {"Metadata": "false"}, 400, "bad_request_102"),
        (MACHINE, {"resource": ""}, {"Metadata": "true"}, 400, "invalid_request"),
        (MACHINE, {"api-version": ""}, {"Metadata": "true"}, 400, "invalid_request"),
        (MACHINE, {"resource": "https://else.example"}, {"Metadata": "true"}, 400, "invalid_resource"),
        (MACHINE, {"client_id": "another"}, {"Metadata": "true"}, 400, "invalid_request"),
        ("/metadata/else", {}, {"Metadata": "true"}, 401, "unknown_source"),
        (SERVICE, {"api-version": "2019-08-01"}, {}, 401, "unauthorized_client"),
        (SERVICE, {"api-version": "2019-08-01"}, {"X-IDENTITY-HEADER": "wrong"}, 401, "unauthorized_client"),
        (MACHINE, {}, {"Metadata": "true", "X-Forwarded-For": "10.0.0.1"}, 400, "invalid_request"),
        (MACHINE, {}, {"Metadata": "true", "Origin": "https://evil.example"}, 400, "invalid_request"),
    ],
)
def test_what_is_refused(
    local: Local, path: str, change: dict[str, str], headers: dict[str, str], status: int, error: str
) -> None:
    answer = local.get(path, params=GOOD | change, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert answer.json()["error_description"]


@pytest.mark.parametrize("host", ["evil.example:50342", "a{b.evil.example:50342", "[::2]:50342", ""])
def test_another_name_for_this_machine_is_refused(local: Local, host: str) -> None:
    """A page in a browser can make a name of its own mean 127.0.0.1, with every character that URLs allow."""
    answer = local.get(MACHINE, params=GOOD, headers={"Metadata": "true", "Host": host})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


def test_an_app_services_form(world: World, local: Local) -> None:
    asked = GOOD | {"api-version": "2019-08-01"}
    answer = local.get(SERVICE, params=asked, headers={"X-IDENTITY-HEADER": "the-header"})
    assert answer.status_code == 200
    assert world.verifier.verify(f"Bearer {answer.json()['access_token']}", INGESTION)
    assert answer.headers["cache-control"] == "no-store"


def test_a_disabled_identity_gives_nothing(world: World, local: Local) -> None:
    with world.database.write() as connection:
        app = first_app(connection, NAME)
        assert app is not None
        set_enabled(connection, app.app_id, False)
    answer = local.get(MACHINE, params=GOOD, headers={"Metadata": "true"})
    assert (answer.status_code, answer.json()["error_description"]) == (400, "Identity not found")
