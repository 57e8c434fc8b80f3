"""Azure's tutorial with the real Azure CLI, where it is installed: `az` on PATH, or HEADRACE_TEST_AZ."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from azure.identity import AzureCliCredential
from azure.monitor.ingestion import LogsIngestionClient

from tests.clients.test_tutorial import COLUMNS, rule_properties
from tests.servers import ServerProcess

AZ = os.environ.get("HEADRACE_TEST_AZ") or shutil.which("az")

pytestmark = [
    pytest.mark.server,
    pytest.mark.slow,
    pytest.mark.skipif(AZ is None, reason="there is no az on PATH, and HEADRACE_TEST_AZ names none"),
]

TEMPLATE = Path(__file__).parent / "templates" / "tutorial.json"
GROUP = "az-tutorial"
LOCATION = "eastus"
_COMMAND_SECONDS = 120


@dataclass
class Cli:
    """`az`, with a configuration of its own."""

    environment: dict[str, str]
    env: dict[str, str]
    folder: Path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        assert AZ is not None
        return subprocess.run(
            [AZ, *arguments],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=_COMMAND_SECONDS,
            check=False,
        )

    def __call__(self, *arguments: str) -> Any:
        """What a command printed; it must succeed."""
        done = self.run(*arguments)
        assert done.returncode == 0, f"az {' '.join(arguments)}\n{done.stderr}"
        return json.loads(done.stdout) if done.stdout.strip() else None

    def fails(self, *arguments: str) -> str:
        """What a command complained of; it must fail."""
        done = self.run(*arguments)
        assert done.returncode != 0, done.stdout
        return done.stderr

    def file(self, name: str, document: Any) -> str:
        (self.folder / name).write_text(json.dumps(document))
        return f"@{name}"

    def rows(self, workspace: str, query: str) -> Any:
        """The rows of a query once there are some."""
        url = f"{self.env['HEADRACE_QUERY_URL']}/workspaces/{workspace}/query"
        body = json.dumps({"query": query})
        deadline = time.monotonic() + 60
        while True:
            found = self(
                "rest", "--method", "post", "--resource", "https://api.loganalytics.io", "--url", url, "--body", body
            )  # fmt: skip
            rows = found["tables"][0]["rows"]
            if rows:
                return rows
            assert time.monotonic() < deadline, "the rows did not come"

    def send(self, endpoint: str, rule: str, stream: str, rows: list[dict[str, Any]]) -> None:
        url = f"{endpoint}/dataCollectionRules/{rule}/streams/{stream}?api-version=2023-01-01"
        self(
            "rest", "--method", "post", "--resource", "https://monitor.azure.com", "--url", url,
            "--body", json.dumps(rows),
        )  # fmt: skip


@pytest.fixture(scope="module")
def az(server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """The CLI, registered, signed in, and with a resource group."""
    folder = tmp_path_factory.mktemp("az")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AZURE_", "HEADRACE_", "ARM_"))
    }
    environment = kept | {
        "AZURE_CONFIG_DIR": str(folder / "config"),
        "AZURE_CORE_INSTANCE_DISCOVERY": "false",
        "AZURE_CORE_COLLECT_TELEMETRY": "false",
        "AZURE_CORE_NO_COLOR": "true",
        "AZURE_EXTENSION_USE_DYNAMIC_INSTALL": "no",
        "REQUESTS_CA_BUNDLE": server.env["REQUESTS_CA_BUNDLE"],
    }
    cli = Cli(environment, server.env, folder)
    cli("cloud", "register", "-n", "headrace", "--endpoint-resource-manager", server.env["HEADRACE_ARM_URL"])
    cli("cloud", "set", "-n", "headrace")
    account = cli(
        "login", "--service-principal", "-u", server.env["AZURE_CLIENT_ID"], "-p", server.env["AZURE_CLIENT_SECRET"],
        "--tenant", server.env["AZURE_TENANT_ID"],
    )  # fmt: skip
    assert account[0]["id"] == server.env["AZURE_SUBSCRIPTION_ID"]
    cli("group", "create", "-n", GROUP, "-l", LOCATION)
    return cli


def test_the_tutorial_command_by_command(az: Cli) -> None:
    workspaces = ("monitor", "log-analytics", "workspace")
    az("provider", "register", "-n", "Microsoft.Insights", "--wait")
    workspace = az(*workspaces, "create", "-g", GROUP, "-n", "az-workspace", "-l", LOCATION)
    at = ("-g", GROUP, "--workspace-name", "az-workspace")
    columns = [f"{name}={kind}" for name, kind in COLUMNS.items()]
    az(*workspaces, "table", "create", *at, "-n", "MyTable_CL", "--columns", *columns)
    table = az(*workspaces, "table", "show", *at, "-n", "MyTable_CL")
    assert {column["name"] for column in table["schema"]["columns"]} == set(COLUMNS)
    changed = az(*workspaces, "table", "update", *at, "-n", "MyTable_CL", "--total-retention-time", "100")
    assert changed["totalRetentionInDays"] == 100
    keys = az(*workspaces, "get-shared-keys", "-g", GROUP, "-n", "az-workspace")
    assert keys["primarySharedKey"] != keys["secondarySharedKey"]

    endpoint = az(
        "resource", "create", "-g", GROUP, "-n", "az-endpoint", "-l", LOCATION,
        "--resource-type", "Microsoft.Insights/dataCollectionEndpoints",
        "--properties", '{"networkAcls": {"publicNetworkAccess": "Enabled"}}',
    )  # fmt: skip
    rule_id = endpoint["id"].replace("dataCollectionEndpoints/az-endpoint", "dataCollectionRules/az-rule")
    properties = rule_properties(workspace["id"], endpoint["id"], "Custom-MyTable_CL")
    document = az.file("rule.json", {"location": LOCATION, "properties": properties})
    made = az("rest", "--method", "put", "--url", f"{rule_id}?api-version=2022-06-01", "--body", document)
    immutable_id = made["properties"]["immutableId"]

    granting = ("role", "assignment", "create", "--role", "Monitoring Metrics Publisher", "--scope", rule_id)
    first = az(*granting, "--assignee", az.env["AZURE_CLIENT_ID"])
    assert first["principalId"] == az.env["HEADRACE_PRINCIPAL_ID"]
    again = az(
        *granting, "--assignee-object-id", az.env["HEADRACE_PRINCIPAL_ID"],
        "--assignee-principal-type", "ServicePrincipal",
    )  # fmt: skip
    assert again["name"] == first["name"]
    listed = az("role", "assignment", "list", "--scope", rule_id)
    assert [item["roleDefinitionName"] for item in listed] == ["Monitoring Metrics Publisher"]

    line = {"Time": "2026-01-02T03:04:05Z", "Computer": "az", "AdditionalContext": {"CounterName": "c"}}
    address = endpoint["properties"]["logsIngestion"]["endpoint"]
    az.send(address, immutable_id, "Custom-MyTableRawData", [line])
    customer = workspace["customerId"]
    assert az.rows(customer, "MyTable_CL | project Computer, CounterName") == [["az", "c"]]

    az("monitor", "diagnostic-settings", "create", "-n", "errors", "--resource", rule_id, "--workspace",
       workspace["id"], "--logs", '[{"category": "LogErrors", "enabled": true}]')  # fmt: skip
    log = az("monitor", "activity-log", "list", "-g", GROUP, "--offset", "1h")
    assert "Microsoft.Insights/dataCollectionRules/write" in {item["operationName"]["value"] for item in log}
    az("lock", "create", "-n", "keep", "-g", GROUP, "--lock-type", "CanNotDelete")
    assert "failed" in az.fails("resource", "delete", "--ids", rule_id)
    az("lock", "delete", "-n", "keep", "-g", GROUP)
    az("tag", "create", "--resource-id", rule_id, "--tags", "team=blue")
    tagged = az("resource", "list", "--tag", "team=blue")
    assert [item["name"] for item in tagged] == ["az-rule"]
    az("resource", "delete", "--ids", rule_id)
    az(*workspaces, "table", "delete", *at, "-n", "MyTable_CL", "--yes")


def test_who_is_signed_in_with_az_needs_no_secret(az: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert AZ is not None
    for name, value in az.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{Path(AZ).parent}{os.pathsep}{os.environ['PATH']}")
    with AzureCliCredential() as credential:
        sender = LogsIngestionClient(az.env["HEADRACE_INGEST_URL"], credential)
        row = {"Time": "2026-01-02T03:04:05Z", "Message": "signed in"}
        sender.upload(az.env["HEADRACE_DCR_IMMUTABLE_ID"], az.env["HEADRACE_DCR_STREAM"], [row])
        scope = f"{az.env['HEADRACE_ARM_URL']}/.default"
        assert (
            credential.get_token(scope).token
            != credential.get_token("https://management.azure.com/.default").token
        )


def test_a_deleted_workspace_is_recovered(az: Cli) -> None:
    workspaces, named = ("monitor", "log-analytics", "workspace"), ("-g", GROUP, "-n", "az-recovered")
    made = az(*workspaces, "create", *named, "-l", LOCATION, "--retention-time", "60")
    az(*workspaces, "delete", *named, "--yes")
    listed = az(*workspaces, "list-deleted-workspaces", "-g", GROUP)
    assert [item["customerId"] for item in listed] == [made["customerId"]]
    again = az(*workspaces, "recover", *named)
    assert (again["customerId"], again["retentionInDays"]) == (made["customerId"], 60)
    az(*workspaces, "delete", *named, "--yes", "--force")
    assert az(*workspaces, "list-deleted-workspaces", "-g", GROUP) == []


def test_the_tutorials_template(az: Cli) -> None:
    shutil.copy(TEMPLATE, az.folder / "template.json")
    group = ("deployment", "group")
    named = ("workspaceName=az-template", f"principalId={az.env['HEADRACE_PRINCIPAL_ID']}")
    sent = ("-g", GROUP, "--template-file", "template.json", "--parameters", *named)
    foreseen = az(*group, "what-if", *sent, "--no-pretty-print")
    assert {change["changeType"] for change in foreseen["changes"]} <= {"Create", "Ignore"}
    made = az(*group, "create", "-n", "first", *sent)["properties"]
    assert made["provisioningState"] == "Succeeded"
    outputs = {name: item.get("value") for name, item in made["outputs"].items()}
    operations = az("deployment", "operation", "group", "list", "-g", GROUP, "-n", "first")
    assert len(operations) == 5

    row = {"Time": "2026-01-02T03:04:05Z", "Computer": "templated", "AdditionalContext": "{}"}
    az.send(outputs["endpoint"], outputs["immutableId"], "Custom-MyTableRawData", [row])
    assert az.rows(outputs["customerId"], "Template_CL | project Computer") == [["templated"]]
    words = az.fails(*group, "create", "-n", "second", *sent, "transform=source | project Nowhere")
    assert "InvalidTransformQuery" in words and "Nowhere" in words
    shown = az(*group, "show", "-g", GROUP, "-n", "first", "--query", "properties.parameters.note")
    assert shown == {"type": "Securestring"}
