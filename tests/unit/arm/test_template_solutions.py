"""Templates in the form of Microsoft Sentinel's solutions: content that brings a connector's own template along."""

from __future__ import annotations

from typing import Any

from tests.unit.arm.conftest import GROUP, WORKSPACE, World
from tests.unit.arm.test_arm_deployments import DEPLOYMENT, INSIGHTS, body, start, template

IN_WORKSPACE = "Microsoft.OperationalInsights/workspaces/providers"
SENTINEL = f"{WORKSPACE}/providers/Microsoft.SecurityInsights"
NAMED = "[concat(parameters('workspace'),'/Microsoft.SecurityInsights/',{0})]"
PACKAGE = (
    "[extensionResourceId(resourceId('Microsoft.OperationalInsights/workspaces', parameters('workspace')), "
    "'Microsoft.SecurityInsights/contentPackages', variables('_solutionId'))]"
)


def resource(content: str, name: str, **more: Any) -> dict[str, Any]:
    version = "2023-04-01-preview"
    return {"type": f"{IN_WORKSPACE}/{content}", "apiVersion": version, "name": NAMED.format(name), **more}


def connector() -> dict[str, Any]:
    """What the content template deploys once somebody connects: a table, an endpoint and a rule."""
    columns = [{"name": "TimeGenerated", "type": "datetime"}, {"name": "Message", "type": "string"}]
    workspace = "[[resourceId('Microsoft.OperationalInsights/Workspaces', parameters('workspace'))]"
    table: dict[str, Any] = {
        "type": "Microsoft.OperationalInsights/workspaces/tables",
        "apiVersion": "2022-10-01",
        "name": "[[concat(parameters('workspace'), '/Solution_CL')]",
        "location": "[parameters('workspace-location')]",
        "kind": None,
        "properties": {"schema": {"name": "Solution_CL", "columns": columns}},
    }
    endpoint: dict[str, Any] = {
        "type": f"{INSIGHTS}/dataCollectionEndpoints",
        "apiVersion": "2022-06-01",
        "name": "[[parameters('workspace')]",
        "location": "[parameters('workspace-location')]",
        "kind": None,
        "properties": {},
    }
    rule: dict[str, Any] = {
        "type": f"{INSIGHTS}/dataCollectionRules",
        "apiVersion": "2022-06-01",
        "name": "solution-rule",
        "location": "[parameters('workspace-location')]",
        "kind": None,
        "properties": {
            "dataCollectionEndpointId": "[variables('endpointId')]",
            "streamDeclarations": {"Custom-Solution_CL": {"columns": columns}},
            "destinations": {"logAnalytics": [{"name": "la", "workspaceResourceId": workspace}]},
            "dataFlows": [{"streams": ["Custom-Solution_CL"], "destinations": ["la"], "transformKql": "source",
                           "outputStream": "Custom-Solution_CL"}],
        },
        "dependsOn": ["[variables('endpointId')]"],
    }  # fmt: skip
    parameters = {"workspace": {"type": "string", "defaultValue": "[parameters('workspace')]"}}
    return template(rule, endpoint, table, parameters=parameters, variables={})


def solution() -> dict[str, Any]:
    content = resource(
        "contentTemplates",
        "variables('contentName'), variables('version')",
        location="[parameters('workspace-location')]",
        dependsOn=[PACKAGE],
        properties={"contentKind": "DataConnector", "mainTemplate": connector()},
    )
    definition = resource(
        "dataConnectorDefinitions",
        "variables('connectorId')",
        kind="Customizable",
        properties={"connectorUiConfig": {"title": "Solution", "graphQueries": []}},
    )
    metadata = resource(
        "metadata", "concat('DataConnector-', variables('connectorId'))", properties={"kind": "x"}
    )
    package = resource(
        "contentPackages", "variables('_solutionId')", location="[parameters('workspace-location')]",
        properties={"version": "[variables('version')]", "displayName": "Solution"},
    )  # fmt: skip
    return template(
        content,
        definition,
        metadata,
        package,
        parameters={
            "location": {"type": "string", "minLength": 1, "defaultValue": "[resourceGroup().location]"},
            "workspace-location": {"type": "string", "defaultValue": ""},
            "workspace": {"type": "string", "defaultValue": ""},
            "subscription": {"type": "string", "defaultValue": "[last(split(subscription().id, '/'))]"},
        },
        variables={
            "_solutionId": "maker.solution",
            "version": "3.0.0",
            "connectorId": "SolutionDefinition",
            "contentName": "[concat(parameters('workspace'),'-dc-',uniquestring(variables('connectorId')))]",
            "endpointId": "[concat('/subscriptions/', parameters('subscription'), '/resourceGroups/', "
            "resourceGroup().name, '/providers/Microsoft.Insights/dataCollectionEndpoints/', parameters('workspace'))]",
        },
    )


def test_a_solution_is_kept_and_its_connectors_template_deploys(world: World) -> None:
    start(world)
    sent = body(solution(), workspace="work1", **{"workspace-location": "eastus"})
    made = world.put(DEPLOYMENT, sent)["properties"]
    assert made["provisioningState"] == "Succeeded", made
    assert made["outputResources"][-1]["id"].startswith(f"{SENTINEL}/contentTemplates/work1-dc-")
    assert world.get(f"{SENTINEL}/contentPackages/maker.solution")["properties"]["version"] == "3.0.0"
    (content,) = world.get(f"{SENTINEL}/contentTemplates")["value"]
    inside = content["properties"]["mainTemplate"]
    assert inside["parameters"]["workspace"]["defaultValue"] == "work1"

    connected = world.put(DEPLOYMENT.replace("dep1", "connect"), body(inside))["properties"]
    assert connected["provisioningState"] == "Succeeded", connected
    # The rule comes after its table, though the template does not say so.
    assert connected["outputResources"][-1]["id"].endswith("/dataCollectionRules/solution-rule")
    rule = world.get(f"{GROUP}/providers/{INSIGHTS}/dataCollectionRules/solution-rule")["properties"]
    assert rule["destinations"]["logAnalytics"][0]["workspaceResourceId"].lower() == WORKSPACE.lower()
    assert world.get(f"{WORKSPACE}/tables/Solution_CL")["properties"]["provisioningState"] == "Succeeded"
