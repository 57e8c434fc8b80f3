"""The description that the server serves of itself: whole, valid, and kept by every answer to generated requests."""

from __future__ import annotations

import contextlib
import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.routing import Route

from headrace.app.openapi import description
from headrace.identity.admin import admin_routes
from headrace.identity.explain_routes import explain_routes
from headrace.identity.graph import graph_routes
from headrace.identity.key_routes import key_routes
from headrace.identity.routes import identity_routes
from headrace.identity.surface import Admin
from tests.server.kit import ARM_SCOPE, INGEST_SCOPE, QUERY_SCOPE, Api
from tests.servers import ServerProcess, running_server

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
GRAPH_SCOPE = "https://graph.microsoft.com/.default"
EXAMPLES = 4
STATUSES_THAT_MEAN_LATER = (503, 504)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that generated requests may do anything to."""
    with running_server(
        tmp_path_factory.mktemp("openapi"), "--ephemeral", "--port", "0", "--quiet"
    ) as running:
        yield running


def known_values(api: Api) -> dict[str, list[str]]:
    """Real names for the parameters of paths: names made up would only ever find nothing."""
    env = api.env
    stranger = str(uuid.uuid4())
    return {
        "subscriptionId": [env["AZURE_SUBSCRIPTION_ID"], stranger],
        "resourceGroupName": [env["HEADRACE_RESOURCE_GROUP"], "generated"],
        "workspaceName": [env["HEADRACE_WORKSPACE_NAME"], "generated"],
        "workspaceId": [env["HEADRACE_WORKSPACE_ID"], stranger],
        "tableName": [env["HEADRACE_TABLE"], "Generated_CL", "Syslog"],
        "dataCollectionRuleName": ["headrace-rule", "generated"],
        "dataCollectionEndpointName": ["headrace-endpoint", "generated"],
        "ruleId": [env["HEADRACE_DCR_IMMUTABLE_ID"], "dcr-none"],
        "stream": [env["HEADRACE_DCR_STREAM"], "Custom-None"],
        "tenant": [env["AZURE_TENANT_ID"], "adfs", "common", stranger],
        # Not the app that asks: a test that locks itself out finds nothing more.
        "app": [stranger, "x"],
        "api-version": ["2023-03-11", "2022-10-01", "2021-04-01", "nonsense"],
        "providerName": ["Microsoft.Insights", "Microsoft.Nothing"],
        "contentType": ["metadata", "nothing"],
        "eventtypeName": ["management", "x"],
        "code": ["7000215", "x"],
        "authorization_endpoint": [f"{api.base}/x/oauth2/v2.0/authorize", "https://else.example"],
    }


def prepared(api: Api) -> dict[str, Any]:
    document: dict[str, Any] = api.http.get(f"{api.base}/openapi.json").json()
    known = known_values(api)
    for path in document["paths"].values():
        for method, operation in path.items():
            for parameter in operation["parameters"]:
                values = known.get(parameter["name"])
                if values and method == "delete" and parameter["in"] == "path":
                    # What the other operations look at must not go.
                    values = values[1:]
                if values:
                    parameter["schema"] = {"type": "string", "enum": values}
    return document


def scope_of(path: str) -> str:
    if path.startswith(("/dataCollectionRules", "/receipts")):
        return INGEST_SCOPE
    if re.match(r"/v\d/", path):
        return QUERY_SCOPE
    return GRAPH_SCOPE if path.startswith(("/v1.0/", "/beta/")) else ARM_SCOPE


@pytest.mark.server
def test_every_answer_is_as_described(own: ServerProcess) -> None:
    api = Api(own.env)
    with contextlib.closing(api), requests.Session() as session:
        _try_everything(own, api, session)


def _try_everything(own: ServerProcess, api: Api, session: requests.Session) -> None:
    document = prepared(api)
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=api.base)
    session.trust_env = False
    tried = 0
    statuses: dict[int, int] = {}

    def try_operation(operation: Any) -> None:
        nonlocal tried

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy() if hasattr(operation, "as_strategy") else st.nothing())
        def run(case: Any) -> None:
            nonlocal tried
            tried += 1
            bearer = {"Authorization": f"Bearer {api.token(scope_of(operation.path))}"}
            answer = case.call(session=session, headers=bearer, verify=api.env["HEADRACE_CA_FILE"])
            statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
            if answer.status_code not in STATUSES_THAT_MEAN_LATER:
                case.validate_response(answer, checks=CHECKS)
            # A new signing key may have ended the tokens.
            if answer.status_code == 401:
                api._tokens.clear()

        run()

    count = 0
    for found in schema.get_all_operations():
        operation: Any = found
        try_operation(operation.ok())
        count += 1
    assert count == sum(len(path) for path in document["paths"].values()) > 100
    # Not only refusals were looked at. How many, differs with the server's ids, which the requests are made of.
    assert sum(number for status, number in statuses.items() if status < 300) > count // 3
    assert own.process.poll() is None
    log = own.log.read_text()
    assert "Traceback" not in log


def test_every_route_is_described() -> None:
    admin: Any = object.__new__(Admin)
    routes: list[Route] = [
        *admin_routes(admin),
        *key_routes(admin),
        *explain_routes(admin),
        *identity_routes(admin),
        *graph_routes(admin),
    ]
    document = description("https://localhost")
    described = {
        (method.upper(), path) for path, operations in document["paths"].items() for method in operations
    }
    for route in routes:
        methods = {"POST"} if route.path.endswith("/token") else (route.methods or set()) - {"HEAD"}
        for method in methods:
            assert (method, route.path) in described


def test_the_description_is_valid_and_says_where_it_is() -> None:
    document = description("https://logs.example.net")
    assert document["servers"] == [{"url": "https://logs.example.net"}]
    named = set(re.findall(r"#/components/schemas/(\w+)", str(document)))
    assert named <= set(document["components"]["schemas"])
    assert list(schemathesis.openapi.from_dict(document).get_all_operations())
    for path, operations in document["paths"].items():
        for operation in operations.values():
            declared = {one["name"] for one in operation["parameters"] if one["in"] == "path"}
            assert declared == set(re.findall(r"{(\w+)}", path)), path
            assert operation["summary"] and operation["tags"]
