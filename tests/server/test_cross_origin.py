"""Browsers' calls from web pages of other origins: nowhere by default, and from those that the settings name."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.server.kit import ARM_SCOPE, INGEST_SCOPE, QUERY_SCOPE, Api
from tests.servers import running_server

pytestmark = [pytest.mark.server]

PAGE = "https://app.example"
SURFACES = ("ingestion", "management", "queries", "tokens")


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("origins")
    variables = {"HEADRACE_SERVER_ALLOWED_ORIGINS": f"https://other.example:8443, {PAGE}"}
    with running_server(folder, "--ephemeral", "--port", "0", "--quiet", variables=variables) as server:
        api = Api(server.env)
        yield api
        api.close()


def call(api: Api, surface: str, origin: str) -> httpx.Response:
    env, headers = api.env, {"Origin": origin}
    if surface == "ingestion":
        path = f"/dataCollectionRules/{env['HEADRACE_DCR_IMMUTABLE_ID']}/streams/{env['HEADRACE_DCR_STREAM']}"
        headers |= api.bearer(INGEST_SCOPE)
        return api.http.post(
            f"{api.base}{path}?api-version=2023-01-01", json=[{"Message": "x"}], headers=headers
        )
    if surface == "management":
        return api.arm("GET", api.workspace, version="2022-10-01", headers=headers | api.bearer(ARM_SCOPE))
    if surface == "queries":
        url = f"{env['HEADRACE_QUERY_URL']}/workspaces/{env['HEADRACE_WORKSPACE_ID']}/query"
        return api.http.post(url, json={"query": "print 1"}, headers=headers | api.bearer(QUERY_SCOPE))
    form = {"grant_type": "client_credentials"}
    return api.http.post(f"{api.base}/{env['AZURE_TENANT_ID']}/oauth2/v2.0/token", data=form, headers=headers)


@pytest.mark.parametrize("surface", SURFACES)
def test_a_page_of_an_allowed_origin_calls_every_surface(opened: Api, surface: str) -> None:
    answer = call(opened, surface, PAGE)
    assert answer.status_code in (200, 204, 400)
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "Origin" in answer.headers["vary"]
    assert "x-ms-request-id" in answer.headers["access-control-expose-headers"]
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("surface", SURFACES)
def test_other_origins_are_told_nothing(opened: Api, surface: str) -> None:
    assert "access-control-allow-origin" not in call(opened, surface, "https://app.example.evil").headers


def test_browsers_ask_first(opened: Api) -> None:
    asked = {
        "Origin": PAGE,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-encoding, x-ms-client-request-id",
    }
    for path in ("/dataCollectionRules/x/streams/y", "/v1/workspaces/x/query", opened.workspace):
        answer = opened.http.options(opened.base + path, headers=asked)
        assert answer.status_code == 200, answer.text
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert "x-ms-client-request-id" in answer.headers["access-control-allow-headers"]
        assert "PATCH" in answer.headers["access-control-allow-methods"]
    refused = opened.http.options(f"{opened.base}/v1/x", headers=asked | {"Origin": "https://evil.example"})
    assert refused.status_code == 400 and "access-control-allow-origin" not in refused.headers


def test_without_the_setting_no_page_may_call(api: Api) -> None:
    for surface in SURFACES:
        assert not [name for name in call(api, surface, PAGE).headers if name.startswith("access-control-")]
