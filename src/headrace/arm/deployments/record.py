"""Deployments and their operations as ARM shows them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from headrace.arm.deployments.model import Operation, Outcome, Prepared
from headrace.arm.ids import DEPLOYMENT_TYPE
from headrace.arm.templates.document import shown_parameters
from headrace.arm.templates.plan import Plan, Planned
from headrace.clock import iso
from headrace.wire.problems import error_object

_WORDS = {200: "OK", 201: "Created", 202: "Accepted", 204: "NoContent", 400: "BadRequest", 401: "Unauthorized",
          403: "Forbidden", 404: "NotFound", 409: "Conflict", 412: "PreconditionFailed"}  # fmt: skip


def duration(seconds: float) -> str:
    """`PT1.25S`."""
    return f"PT{max(seconds, 0.0):.3f}S"


def planned_properties(prepared: Prepared) -> dict[str, Any]:
    """What is known of a deployment before it runs."""
    work = prepared.work
    items = [item for item in prepared.plan if item.wanted and not item.existing]
    own = work.outer is None
    return {
        "templateHash": template_hash(work.template),
        "parameters": shown_parameters(prepared.template, prepared.scope) if own else {},
        "mode": work.mode,
        "timestamp": iso(work.place.now),
        "correlationId": work.place.deployment.get("correlationId"),
        "providers": _providers(items),
        "dependencies": [entry for item in items if (entry := _dependencies(item, prepared.plan))],
    }


def deployment_properties(outcome: Outcome) -> dict[str, Any]:
    """A deployment's `properties` once it ended."""
    done = [one.item for one in outcome.operations if one.problem is None]
    properties = {
        **planned_properties(outcome.prepared),
        "provisioningState": outcome.state,
        "duration": duration(outcome.took),
        "outputs": outcome.outputs,
        "outputResources": [{"id": item.id} for item in done],
    }
    if outcome.problem is not None:
        properties["error"] = error_object(outcome.problem)
    return properties


def operation_document(deployment: str, operation: Operation, timestamp: str) -> dict[str, Any]:
    """An entry of `deployments/{name}/operations`."""
    name = hashlib.sha256(operation.item.key.encode()).hexdigest()[:16].upper()
    properties: dict[str, Any] = {
        "provisioningOperation": "Create",
        "provisioningState": "Succeeded" if operation.problem is None else "Failed",
        "timestamp": timestamp,
        "duration": duration(operation.took),
        "statusCode": _WORDS.get(operation.status, str(operation.status)),
        "targetResource": _resource(operation.item),
    }
    if operation.problem is not None:
        properties["statusMessage"] = {"error": error_object(operation.problem)}
    return {
        "id": f"{deployment}/operations/{name}",
        "operationId": name,
        "type": f"{DEPLOYMENT_TYPE}/operations",
        "properties": properties,
    }


def template_hash(template: Mapping[str, Any]) -> str:
    """A number that follows from the template, whatever the order of its keys."""
    packed = msgspec.json.encode(template, order="sorted")
    return str(int.from_bytes(hashlib.sha256(packed).digest()[:8], "big"))


def _resource(item: Planned) -> dict[str, Any]:
    return {"id": item.id, "resourceType": item.type, "resourceName": item.name}


def _dependencies(item: Planned, plan: Plan) -> dict[str, Any] | None:
    others = [_resource(other) for other in plan if other.key in item.depends and not other.existing]
    return {"dependsOn": others, **_resource(item)} if others else None


def _providers(items: list[Planned]) -> list[dict[str, Any]]:
    found: dict[str, list[str]] = {}
    for item in items:
        namespace, _, inner = item.type.partition("/")
        types = found.setdefault(namespace, [])
        if inner not in types:
            types.append(inner)
    return [
        {
            "namespace": namespace,
            "resourceTypes": [{"resourceType": inner, "locations": [None]} for inner in types],
        }
        for namespace, types in found.items()
    ]
