"""Template deployments on a real store."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.unit.arm.conftest import GROUP, RULE, SUBSCRIPTION, WORKSPACE, World, rule_body

from headrace.arm.kinds import base, deployments
from headrace.clock import SECOND
from headrace.errors import Problem

ROOT = f"/subscriptions/{SUBSCRIPTION}"
DEPLOYMENT = f"{GROUP}/providers/Microsoft.Resources/deployments/dep1"
PUBLISHER = "3913510d-42f4-4e42-8a64-420c390055eb"
INSIGHTS = "Microsoft.Insights"


def template(*resources: Any, **more: Any) -> dict[str, Any]:
    schema = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"
    return {"$schema": schema, "contentVersion": "1.0.0.0", "resources": list(resources), **more}


def body(document: Any, mode: str = "Incremental", **parameters: Any) -> dict[str, Any]:
    supplied = {name: {"value": value} for name, value in parameters.items()}
    return {"properties": {"mode": mode, "template": document, "parameters": supplied}}


def nested(name: str = "module", **properties: Any) -> dict[str, Any]:
    kind = "Microsoft.Resources/deployments"
    return {"type": kind, "apiVersion": "2022-09-01", "name": name, "properties": properties}


TABLE = {
    "type": "Microsoft.OperationalInsights/workspaces/tables",
    "apiVersion": "2022-10-01",
    "name": "[concat('work1/', parameters('table'))]",
    "properties": {
        "schema": {
            "name": "[parameters('table')]",
            "columns": [{"name": "TimeGenerated", "type": "datetime"}, {"name": "Message", "type": "string"}],
        }
    },
}
ENDPOINT = {
    "type": f"{INSIGHTS}/dataCollectionEndpoints",
    "apiVersion": "2021-04-01",
    "name": "dce1",
    "location": "[resourceGroup().location]",
    "properties": {"networkAcls": {"publicNetworkAccess": "Enabled"}},
}
GRANT = {
    "type": "Microsoft.Authorization/roleAssignments",
    "apiVersion": "2022-04-01",
    "name": "[guid('a')]",
    "properties": {
        "roleDefinitionId": f"[subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '{PUBLISHER}')]",
        "principalId": "[guid('b')]",
        "principalType": "ServicePrincipal",
    },
}
ENDPOINT_ID = "[resourceId('Microsoft.Insights/dataCollectionEndpoints', 'dce1')]"
RULE_ID = "[resourceId('Microsoft.Insights/dataCollectionRules', 'dcr1')]"
TUTORIAL = template(
    {
        "type": "Microsoft.Authorization/roleAssignments",
        "apiVersion": "2022-04-01",
        "scope": "Microsoft.Insights/dataCollectionRules/dcr1",
        "name": "[guid(resourceGroup().id, parameters('principal'))]",
        "dependsOn": [RULE_ID],
        "properties": {
            "roleDefinitionId": f"[subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '{PUBLISHER}')]",
            "principalId": "[parameters('principal')]",
            "principalType": "ServicePrincipal",
        },
    },
    {
        "type": f"{INSIGHTS}/dataCollectionRules",
        "apiVersion": "2023-03-11",
        "name": "dcr1",
        "location": "eastus",
        "kind": "Direct",
        "tags": {"endpoint": "[reference(" + ENDPOINT_ID[1:-1] + ", '2021-04-01').immutableId]"},
        "dependsOn": ["[resourceId('Microsoft.OperationalInsights/workspaces/tables', 'work1', parameters('table'))]"],
        "properties": {
            "dataCollectionEndpointId": ENDPOINT_ID,
            "streamDeclarations": {"Custom-My": {"columns": [{"name": "Time", "type": "datetime"}]}},
            "destinations": {"logAnalytics": [{"workspaceResourceId": WORKSPACE, "name": "la"}]},
            "dataFlows": [
                {
                    "streams": ["Custom-My"],
                    "destinations": ["la"],
                    "transformKql": "source | project TimeGenerated = Time",
                    "outputStream": "[concat('Custom-', parameters('table'))]",
                }
            ],
        },
    },
    ENDPOINT,
    TABLE,
    parameters={
        "table": {"type": "string", "defaultValue": "My_CL"},
        "principal": {"type": "string"},
        "secret": {"type": "securestring", "defaultValue": "hush"},
    },
    outputs={
        "immutableId": {"type": "string", "value": f"[reference({RULE_ID[1:-1]}).immutableId]"},
        "secret": {"type": "securestring", "value": "[parameters('secret')]"},
        "left": {"type": "string", "condition": False, "value": "[reference('nothing')]"},
    },
)  # fmt: skip


def start(world: World) -> None:
    world.put(GROUP, {"location": "eastus"})
    world.put(WORKSPACE, {"location": "eastus", "properties": {}})


def failed(answer: Any) -> dict[str, Any]:
    error: dict[str, Any] = answer.json()["error"]
    return error


def test_the_tutorials_template_is_deployed_in_order(world: World) -> None:
    start(world)
    answer = world.call("PUT", DEPLOYMENT, body(TUTORIAL, principal=world.first.principal_id))
    assert answer.status_code == 201, answer.text
    assert "azure-asyncoperation" not in answer.headers
    properties = answer.json()["properties"]
    assert properties["provisioningState"] == "Succeeded"
    rule = world.get(RULE)
    assert properties["outputs"] == {
        "immutableId": {"type": "String", "value": rule["properties"]["immutableId"]},
        "secret": {"type": "Securestring"},
    }
    assert rule["tags"]["endpoint"].startswith("dce-")
    assert "hush" not in answer.text
    assert properties["parameters"]["secret"] == {"type": "Securestring"}
    made = [
        item["id"].rpartition("/providers/")[2].partition("/")[2] for item in properties["outputResources"]
    ]
    assert made[:3] == [
        "dataCollectionEndpoints/dce1",
        "workspaces/work1/tables/My_CL",
        "dataCollectionRules/dcr1",
    ]
    assert made[3].startswith("roleAssignments/")
    roles = world.get(f"{RULE}/providers/Microsoft.Authorization/roleAssignments?$filter=atScope()")["value"]
    assert [item["properties"]["scope"] for item in roles if item["properties"]["scope"] == RULE] == [RULE]

    again = world.call("PUT", DEPLOYMENT, body(TUTORIAL, principal=world.first.principal_id))
    assert again.status_code == 200, again.text
    assert world.get(RULE)["properties"]["immutableId"] == rule["properties"]["immutableId"]
    assert [item["name"] for item in world.get(DEPLOYMENT.rpartition("/")[0])["value"]] == ["dep1"]
    old_form = f"{GROUP}/deployments/dep1/operations"
    operations = world.get(old_form)["value"]
    assert [item["properties"]["provisioningState"] for item in operations] == ["Succeeded"] * 4
    one = world.get(f"{DEPLOYMENT}/operations/{operations[0]['operationId']}")
    assert one["properties"]["targetResource"]["resourceName"] == "dce1"
    assert world.call("POST", f"{DEPLOYMENT}/exportTemplate").json()["template"] == TUTORIAL
    assert failed(world.call("POST", f"{DEPLOYMENT}/cancel"))["code"] == "DeploymentCancelConflict"
    assert world.call("HEAD", DEPLOYMENT).status_code == 204
    assert world.call("DELETE", DEPLOYMENT).status_code == 204
    assert failed(world.call("GET", DEPLOYMENT))["code"] == "DeploymentNotFound"
    assert world.call("GET", RULE).status_code == 200


def test_what_if_tells_and_changes_nothing(world: World) -> None:
    start(world)
    what_if = f"{DEPLOYMENT}/whatIf"

    def changes(document: Any, mode: str = "Incremental", **parameters: Any) -> dict[str, str]:
        answer = world.call("POST", what_if, body(document, mode, **parameters))
        assert answer.status_code == 200, answer.text
        found = answer.json()["properties"]["changes"]
        return {item["resourceId"].rpartition("/")[2]: item["changeType"] for item in found}

    principal = world.first.principal_id
    first = changes(TUTORIAL, principal=principal)
    assert {first[name] for name in ("dce1", "My_CL", "dcr1")} == {"Create"}
    assert first["work1"] == "Ignore"
    assert world.call("GET", RULE).status_code == 404
    before = world.database.change()
    assert (
        world.call("POST", f"{DEPLOYMENT}/validate", body(TUTORIAL, principal=principal)).status_code == 200
    )
    assert world.database.change() == before
    world.put(DEPLOYMENT, body(TUTORIAL, principal=principal))
    assert set(changes(TUTORIAL, principal=principal).values()) == {"NoChange", "Ignore"}

    other = json.loads(json.dumps(TUTORIAL))
    other["resources"][1]["tags"] = {"new": "tag"}
    other["resources"][1]["properties"]["dataFlows"][0]["transformKql"] = (
        "source | extend TimeGenerated = Time"
    )
    answer = world.call("POST", what_if, body(other, principal=principal)).json()
    change = next(c for c in answer["properties"]["changes"] if c["changeType"] == "Modify")
    assert change["resourceId"] == RULE
    paths = {item["path"]: item["propertyChangeType"] for item in change["delta"]}
    assert paths == {"properties.dataFlows": "Array", "tags.endpoint": "Delete", "tags.new": "Create"}
    flows = next(item for item in change["delta"] if item["path"] == "properties.dataFlows")
    assert flows["children"][0]["children"][0]["after"] == "source | extend TimeGenerated = Time"
    assert changes(template(ENDPOINT), "Complete") == {
        "dce1": "NoChange",
        "dcr1": "Delete",
        "work1": "Delete",
    }


def test_a_failure_says_which_resource_and_why_and_the_rest_stays(world: World) -> None:
    start(world)
    world.faults.append(problem())
    answer = world.call("PUT", DEPLOYMENT, body(TUTORIAL, principal=world.first.principal_id))
    assert answer.status_code == 201
    assert answer.json()["properties"]["provisioningState"] == "Failed"
    status = world.get(answer.headers["azure-asyncoperation"])
    assert status["status"] == "Failed"
    error = status["error"]
    assert error["code"] == "DeploymentFailed"
    assert error["details"][0]["code"] == "InvalidPayload"
    assert error["details"][0]["target"] == RULE
    assert error["details"][0]["details"][0]["code"] == "InvalidTransformQuery"
    assert world.call("GET", f"{WORKSPACE}/tables/My_CL").status_code == 200
    assert world.call("GET", RULE).status_code == 404
    operations = world.get(f"{DEPLOYMENT}/operations")["value"]
    states = [item["properties"]["provisioningState"] for item in operations]
    assert states == ["Succeeded", "Succeeded", "Failed"]
    checked = world.call("POST", f"{DEPLOYMENT}/validate", body(TUTORIAL, principal=world.first.principal_id))
    assert checked.status_code == 400
    assert failed(checked)["code"] == "InvalidTemplateDeployment"
    assert failed(checked)["details"][0]["details"][0]["code"] == "InvalidTransformQuery"


def test_a_failure_names_the_resource_and_the_field(world: World) -> None:
    start(world)
    document = template({**ENDPOINT, "properties": {"networkAcls": {"publicNetworkAccess": "Perhaps"}}})
    error = world.call("PUT", DEPLOYMENT, body(document)).json()["properties"]["error"]["details"][0]
    there = f"{GROUP}/providers/Microsoft.Insights/dataCollectionEndpoints/dce1"
    assert (error["code"], error["target"]) == ("InvalidPayload", there)
    assert error["details"][0]["target"] == "properties.networkAcls.publicNetworkAccess"


def problem() -> Any:
    return Problem("InvalidTransformQuery", "There is no column.", "properties.dataFlows[0]")


def test_every_resource_takes_its_own_right(world: World) -> None:
    start(world)
    token = world.other_app(("Log Analytics Contributor", GROUP))
    answer = world.call("PUT", DEPLOYMENT, body(TUTORIAL, principal=world.first.principal_id), token=token)
    assert answer.status_code == 201
    details = answer.json()["properties"]["error"]["details"]
    assert [item["code"] for item in details] == ["AuthorizationFailed"]
    assert "roleAssignments/write" in details[0]["message"]
    reader = world.other_app(("Reader", GROUP))
    for method, path in (
        ("PUT", DEPLOYMENT),
        ("POST", f"{DEPLOYMENT}/validate"),
        ("POST", f"{DEPLOYMENT}/whatIf"),
    ):
        assert world.call(method, path, body(template(ENDPOINT)), token=reader).status_code == 403


def test_complete_mode_takes_away_what_the_template_has_not(world: World) -> None:
    world.basics()
    world.put(RULE, rule_body())
    answer = world.call("PUT", DEPLOYMENT, body(template(ENDPOINT), "Complete"))
    assert answer.json()["properties"]["provisioningState"] == "Succeeded", answer.text
    assert [item["name"] for item in world.get(f"{GROUP}/resources")["value"]] == ["dce1"]


def test_complete_mode_reads_every_page_of_what_is_there(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(world)
    monkeypatch.setattr(base, "PAGE", 2)
    for place in range(5):
        world.put(f"{GROUP}/providers/{INSIGHTS}/dataCollectionEndpoints/old{place}", {"location": "eastus"})
    what_if = world.call("POST", f"{DEPLOYMENT}/whatIf", body(template(ENDPOINT), "Complete")).json()
    assert sum(item["changeType"] == "Delete" for item in what_if["properties"]["changes"]) == 6
    world.put(DEPLOYMENT, body(template(ENDPOINT), "Complete"))
    assert [item["name"] for item in world.get(f"{GROUP}/resources")["value"]] == ["dce1"]


def test_complete_mode_keeps_what_nested_deployments_have(world: World) -> None:
    start(world)
    world.put(f"{GROUP}/providers/{INSIGHTS}/dataCollectionEndpoints/old", {"location": "eastus"})
    inner = template({**ENDPOINT, "name": "inside"}, nested("innermost", template=template(ENDPOINT)))
    document = body(template(nested(template=inner)), "Complete")
    what_if = world.call("POST", f"{DEPLOYMENT}/whatIf", document).json()["properties"]["changes"]
    assert {item["resourceId"] for item in what_if if item["changeType"] == "Delete"} == {
        WORKSPACE,
        f"{GROUP}/providers/{INSIGHTS}/dataCollectionEndpoints/old",
    }
    made = world.put(DEPLOYMENT, document)["properties"]
    assert made["provisioningState"] == "Succeeded", made
    names = {item["name"] for item in world.get(f"{GROUP}/resources")["value"]}
    assert names == {"inside", "dce1"}


def test_a_failure_is_told_in_a_group_of_any_letters(world: World) -> None:
    group = f"{ROOT}/resourceGroups/gruppe-\u00df\u4e2d"
    world.put(group, {"location": "eastus"})
    path = f"{group}/providers/Microsoft.Resources/deployments/dep1"
    answer = world.call("PUT", path, body(template({**ENDPOINT, "location": "west us!"})))
    assert answer.json()["properties"]["provisioningState"] == "Failed"
    status = world.get(answer.headers["Azure-AsyncOperation"])
    assert status["error"]["code"] == "DeploymentFailed"


def test_what_is_secret_inside_an_output_is_not_shown(world: World) -> None:
    start(world)
    inside = {"name": {"type": "string"}, "key": {"type": "securestring"}}
    output = {"type": "object", "properties": inside, "value": {"name": "a", "key": "[parameters('key')]"}}
    parameters = {"key": {"type": "securestring"}}
    made = world.put(DEPLOYMENT, body(template(parameters=parameters, outputs={"o": output}), key="hush"))
    assert made["properties"]["outputs"]["o"]["value"] == {"name": "a", "key": None}
    assert "hush" not in str(made)


@pytest.mark.parametrize("inner", [True, False])
def test_nested_deployments(world: World, inner: bool) -> None:
    start(world)
    nested = template(
        {**ENDPOINT, "name": "[parameters('name')]"},
        parameters={"name": {"type": "string"}},
        outputs={"id": {"type": "string", "value": "[reference(parameters('name')).immutableId]"}},
    )
    module = {
        "type": "Microsoft.Resources/deployments",
        "apiVersion": "2022-09-01",
        "name": "module",
        "properties": {
            "mode": "Incremental",
            "expressionEvaluationOptions": {"scope": "inner" if inner else "outer"},
            "parameters": {"name": {"value": "[concat(parameters('name'), '-in')]"}} if inner else None,
            "template": nested,
        },
    }
    outer = template(
        module,
        parameters={"name": {"type": "string"}},
        outputs={"id": {"type": "string", "value": "[reference('module').outputs.id.value]"}},
    )
    made = world.put(DEPLOYMENT, body(outer, name="out"))["properties"]
    assert made["provisioningState"] == "Succeeded", made
    name = "out-in" if inner else "out"
    endpoint = world.get(f"{GROUP}/providers/Microsoft.Insights/dataCollectionEndpoints/{name}")
    assert made["outputs"]["id"]["value"] == endpoint["properties"]["immutableId"]
    listed = world.get(f"{GROUP}/providers/Microsoft.Resources/deployments")["value"]
    assert {item["name"] for item in listed} == {"dep1", "module"}


@pytest.mark.parametrize(
    "change",
    [
        {"scope": "Microsoft.X"},
        {"name": "bad name"},
        {"type": "Microsoft.Resources//deployments", "name": "/module"},
        {
            "type": "Microsoft.Resources/resourceGroups",
            "name": "rg1/providers/Microsoft.Resources/deployments/module",
        },
    ],
)
def test_nested_deployments_cannot_be_disguised(world: World, change: dict[str, Any]) -> None:
    start(world)
    kind = "Microsoft.Resources/deployments"
    module = {
        "type": kind,
        "apiVersion": "2022-09-01",
        "name": "module",
        "properties": {"template": template()},
    }
    document = body(template({**module, **change}))
    assert (
        failed(world.call("POST", f"{DEPLOYMENT}/validate", document))["code"] == "InvalidTemplateDeployment"
    )
    made = world.call("PUT", DEPLOYMENT, document).json()["properties"]
    assert made["error"]["details"][0]["code"] in ("InvalidTemplate", "InvalidRequestUri"), made
    assert [item["name"] for item in world.get(f"{GROUP}/providers/{kind}")["value"]] == ["dep1"]


def test_odd_options_of_a_nested_deployment_are_the_default(world: World) -> None:
    start(world)
    properties = {"template": template(), "expressionEvaluationOptions": "inner"}
    kind = "Microsoft.Resources/deployments"
    module = {"type": kind, "apiVersion": "2022-09-01", "name": "module", "properties": properties}
    made = world.put(DEPLOYMENT, body(template(module)))["properties"]
    assert made["provisioningState"] == "Succeeded", made


def test_a_deployment_to_a_subscription_makes_groups(world: World) -> None:
    group = {
        "type": "Microsoft.Resources/resourceGroups",
        "apiVersion": "2021-04-01",
        "name": "rg9",
        "location": "[deployment().location]",
    }
    module = {
        "type": "Microsoft.Resources/deployments",
        "apiVersion": "2022-09-01",
        "name": "inside",
        "resourceGroup": "rg9",
        "dependsOn": ["[resourceId('Microsoft.Resources/resourceGroups/', 'rg9')]"],
        "properties": {"template": template(ENDPOINT), "expressionEvaluationOptions": {"scope": "inner"}},
    }
    path = f"{ROOT}/providers/Microsoft.Resources/deployments/wide"
    sent = {"location": "eastus", **body(template(module, group))}
    checked = world.call("POST", f"{path}/validate", sent)
    assert checked.status_code == 200, checked.text
    assert world.call("GET", f"{ROOT}/resourceGroups/rg9").status_code == 404
    made = world.put(path, sent)
    assert made["properties"]["provisioningState"] == "Succeeded", made
    there = f"{ROOT}/resourceGroups/rg9/providers/Microsoft.Insights/dataCollectionEndpoints/dce1"
    assert world.get(there)["location"] == "eastus"
    complete = {"location": "eastus", **body(template(), "Complete")}
    assert failed(world.call("PUT", path, complete))["code"] == "InvalidRequestContent"


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ({}, "InvalidRequestContent"),
        ({"properties": {"templateLink": {"uri": "https://x"}}}, "InvalidTemplate"),
        ({"properties": {"template": []}}, "InvalidTemplate"),
        (body({}), "InvalidTemplate"),
        (body(template(), name="x"), "InvalidTemplate"),
        (body(template({"type": "A.B/c", "name": "x", "copy": {"count": 2}})), "InvalidTemplate"),
        (body(template(nested(templateLink={"relativePath": "next.json"}))), "InvalidTemplate"),
        (body(template(nested(template=template(), templateLink={}))), "InvalidTemplate"),
        (body(template(nested(template=template(), parametersLink={"uri": "https://x"}))), "InvalidTemplate"),
        (body(template(nested(template="[variables('x')]"))), "InvalidTemplate"),
        ({"properties": {"template": template(), "mode": "Sometimes"}}, "InvalidRequestContent"),
    ],
)
def test_what_is_no_deployment_is_refused(world: World, sent: Any, code: str) -> None:
    start(world)
    for method, path in (
        ("PUT", DEPLOYMENT),
        ("POST", f"{DEPLOYMENT}/validate"),
        ("POST", f"{DEPLOYMENT}/whatIf"),
    ):
        answer = world.call(method, path, sent)
        assert (answer.status_code, failed(answer)["code"]) == (400, code), answer.text
        assert failed(answer)["message"]
    assert world.get(f"{GROUP}/providers/Microsoft.Resources/deployments") == {"value": []}


@pytest.mark.parametrize("name", ["a?b", "a%2Fb", "a#b", "..", "a\\b", "a/b"])
def test_a_name_cannot_lead_elsewhere(world: World, name: str) -> None:
    start(world)
    answer = world.call("PUT", DEPLOYMENT, body(template({**ENDPOINT, "name": name})))
    if answer.status_code == 201:
        code = answer.json()["properties"]["error"]["details"][0]["code"]
        assert code == "InvalidRequestUri"
    else:
        assert failed(answer)["code"] == "InvalidTemplate"
    assert [item["name"] for item in world.get(f"{GROUP}/resources")["value"]] == ["work1"]


def test_what_a_deployment_does_is_told_call_by_call(world: World) -> None:
    start(world)
    document = body(template(ENDPOINT, nested(template=template({**ENDPOINT, "name": "inside"}))))
    world.call("POST", f"{DEPLOYMENT}/whatIf", document)
    assert world.noted == []
    deployer = world.other_app(("Log Analytics Contributor", GROUP))
    for token in (None, deployer):
        world.put(DEPLOYMENT, document, token=token)
    told = [(one.operation, one.status, one.scope.rpartition("/")[2], one.details) for one in world.noted]
    write, by = f"{INSIGHTS}/dataCollectionEndpoints/write", f"by {DEPLOYMENT}"
    assert told == [(write, status, name, by) for status in (201, 200) for name in ("dce1", "inside")]
    assert world.noted[0].principal == world.first.principal_id != world.noted[-1].principal
    world.noted.clear()
    world.put(DEPLOYMENT, body(template(GRANT)), token=deployer)
    (refused,) = world.noted
    assert (refused.operation, refused.status, refused.code) == (
        "Microsoft.Authorization/roleAssignments/write",
        403,
        "AuthorizationFailed",
    )


def test_a_locked_group_takes_no_deployment(world: World) -> None:
    start(world)
    lock = f"{GROUP}/providers/Microsoft.Authorization/locks/l"
    world.put(lock, {"properties": {"level": "ReadOnly"}})
    assert failed(world.call("PUT", DEPLOYMENT, body(template())))["code"] == "ScopeLocked"
    assert world.call("GET", DEPLOYMENT).status_code == 404
    world.put(lock, {"properties": {"level": "CanNotDelete"}})
    world.put(DEPLOYMENT, body(template()))


def test_a_scope_keeps_its_newest_deployments(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    start(world)
    monkeypatch.setattr(deployments, "MAX_KEPT", 2)
    listed = f"{GROUP}/providers/Microsoft.Resources/deployments"
    world.put(
        f"{ROOT}/providers/Microsoft.Resources/deployments/elsewhere",
        {"location": "eastus", **body(template())},
    )
    for name in ("one", "two", "one", "three"):
        world.clock.advance(SECOND)
        world.put(f"{listed}/{name}", body(template()))
    assert [item["name"] for item in world.get(listed)["value"]] == ["three", "one"]
    assert len(world.get(f"{ROOT}/providers/Microsoft.Resources/deployments")["value"]) == 1


def test_an_unknown_kind_fails_by_name(world: World) -> None:
    start(world)
    document = template({"type": "Microsoft.Compute/disks", "apiVersion": "2020-01-01", "name": "d"})
    made = world.call("PUT", DEPLOYMENT, body(document)).json()["properties"]
    assert made["error"]["details"][0]["code"] == "InvalidResourceNamespace"


def test_the_body_may_be_as_the_azure_cli_sends_it(world: World) -> None:
    start(world)
    text = json.dumps(template({**ENDPOINT, "tags": {"a": "one two"}}))
    spliced = text.replace("one two", "one\ntwo").replace('"resources"', '/* all */ "resources"')
    content = '{"properties": {"parameters": {}, "mode": "Incremental", template:' + spliced + "}}"
    answer = world.call("PUT", DEPLOYMENT, content=content.encode())
    assert answer.status_code == 201, answer.text
    there = f"{GROUP}/providers/Microsoft.Insights/dataCollectionEndpoints/dce1"
    assert world.get(there)["tags"] == {"a": "one\ntwo"}
    broken = world.call("PUT", DEPLOYMENT, content=b'{"properties": {template: }}')
    assert failed(broken)["code"] == "InvalidRequestContent"
    assert "line 1, column" in failed(broken)["message"]
