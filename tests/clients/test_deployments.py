"""Template deployments with the management SDK, and what they deployed in use."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from azure.mgmt.resource.deployments import DeploymentsMgmtClient
from azure.mgmt.resource.resources import ResourceManagementClient
from azure.monitor.ingestion import LogsIngestionClient

from headrace.arm.templates.jsonc import parse_json
from tests.clients.conftest import Azure
from tests.server.kit import eventually

pytestmark = pytest.mark.server

TEMPLATES = Path(__file__).parent / "templates"


@pytest.fixture(scope="module")
def deployments(azure: Azure) -> Iterator[Any]:
    arm = azure.env["HEADRACE_ARM_URL"]
    options: dict[str, Any] = {"base_url": arm, "credential_scopes": [f"{arm}/.default"]}
    with DeploymentsMgmtClient(azure.credential, azure.env["AZURE_SUBSCRIPTION_ID"], **options) as client:
        yield client.deployments


@pytest.fixture(scope="module")
def resources(azure: Azure) -> Iterator[Any]:
    arm = azure.env["HEADRACE_ARM_URL"]
    options: dict[str, Any] = {"base_url": arm, "credential_scopes": [f"{arm}/.default"]}
    with ResourceManagementClient(azure.credential, azure.env["AZURE_SUBSCRIPTION_ID"], **options) as client:
        yield client


def template(name: str) -> Any:
    return parse_json((TEMPLATES / name).read_bytes())


def body(document: Any, **parameters: Any) -> dict[str, Any]:
    supplied = {name: {"value": value} for name, value in parameters.items()}
    return {"properties": {"mode": "Incremental", "template": document, "parameters": supplied}}


def test_the_tutorials_template_carries_rows(azure: Azure, deployments: Any) -> None:
    sent = body(
        template("tutorial.json"),
        workspaceName="sdk-template",
        principalId=azure.env["HEADRACE_PRINCIPAL_ID"],
        location=azure.location,
    )
    assert not deployments.check_existence(azure.group, "sdk-first")
    made = deployments.begin_create_or_update(azure.group, "sdk-first", sent).result().properties
    assert made.provisioning_state == "Succeeded"
    assert deployments.check_existence(azure.group, "sdk-first")
    outputs = {name: item.get("value") for name, item in made.outputs.items()}
    assert outputs["key"] is None
    row = {"Time": datetime.now(UTC).isoformat(), "Computer": "c", "AdditionalContext": '{"a": 1}'}
    with LogsIngestionClient(outputs["endpoint"], azure.credential) as client:
        client.upload(outputs["immutableId"], "Custom-MyTableRawData", [row])
    found = eventually(lambda: azure.rows(outputs["customerId"], "Template_CL | project Computer"), bool)
    assert found == [{"Computer": "c"}]

    compiled = body(
        template("compiled.json"),
        workspaceName="sdk-template",
        principalId=azure.env["HEADRACE_PRINCIPAL_ID"],
    )
    done = deployments.begin_create_or_update(azure.group, "sdk-compiled", compiled).result().properties
    names = {item.id.rpartition("/")[2] for item in done.output_resources}
    assert "bicep-rule" in names and "bicep-endpoint" not in names
    assert done.outputs["roleScope"]["value"].endswith("/dataCollectionRules/bicep-rule")
    with LogsIngestionClient(done.outputs["endpoint"]["value"], azure.credential) as client:
        now = datetime.now(UTC).isoformat()
        client.upload(
            done.outputs["immutableId"]["value"], "Custom-Bicep_CL", [{"TimeGenerated": now, "Computer": "b"}]
        )
    found = eventually(lambda: azure.rows(outputs["customerId"], "Bicep_CL | project Computer"), bool)
    assert found == [{"Computer": "b"}]

    foreseen = deployments.begin_what_if(azure.group, "sdk-compiled", compiled).result()
    kinds = {change.resource_id.rpartition("/")[2]: change.change_type for change in foreseen.changes}
    assert kinds["bicep-rule"] == "NoChange"
    assert "Ignore" in kinds.values()
    deployments.begin_delete(azure.group, "sdk-first").result()
    assert not deployments.check_existence(azure.group, "sdk-first")


def test_a_failed_deployment_tells_the_cause(azure: Azure, deployments: Any) -> None:
    sent = body(
        template("tutorial.json"),
        workspaceName="sdk-failing",
        principalId=azure.env["HEADRACE_PRINCIPAL_ID"],
        location=azure.location,
        transform="source | project TimeGenerated = Time, Other = Nowhere",
    )
    with pytest.raises(HttpResponseError) as raised:
        deployments.begin_create_or_update(azure.group, "sdk-failing", sent).result()
    error = raised.value.error
    assert error.code == "DeploymentFailed"
    assert error.details[0].code == "InvalidPayload"
    assert error.details[0].details[0].code == "InvalidTransformQuery"
    assert "Nowhere" in error.details[0].details[0].message
    with pytest.raises(HttpResponseError) as refused:
        deployments.begin_validate(azure.group, "sdk-failing", sent).result()
    assert refused.value.error.code == "InvalidTemplateDeployment"


def test_resources_by_id(azure: Azure, resources: Any) -> None:
    path = (
        f"{azure.env['HEADRACE_RESOURCE_GROUP']}/providers/Microsoft.Insights/dataCollectionEndpoints/by-id"
    )
    path = f"/subscriptions/{azure.env['AZURE_SUBSCRIPTION_ID']}/resourceGroups/{path}"
    document = {"location": azure.location, "properties": {}}
    assert not resources.resources.check_existence_by_id(path, api_version="2023-03-11")
    made = resources.resources.begin_create_or_update_by_id(path, document, api_version="2023-03-11").result()
    assert made.properties["immutableId"].startswith("dce-")
    assert resources.resources.check_existence_by_id(path, api_version="2023-03-11")
    resources.resources.begin_update_by_id(path, {"tags": {"a": "b"}}, api_version="2023-03-11").result()
    resources.tags.begin_update_at_scope(
        path, {"operation": "Merge", "properties": {"tags": {"c": "d"}}}
    ).result()
    assert resources.resources.get_by_id(path, api_version="2023-03-11").tags == {"a": "b", "c": "d"}
    listed = resources.resources.list(filter="tagName eq 'c' and tagValue eq 'd'")
    assert [item.name for item in listed] == ["by-id"]
    assert resources.providers.register("Microsoft.Insights").registration_state == "Registered"
    resources.resources.begin_delete_by_id(path, api_version="2023-03-11").result()
