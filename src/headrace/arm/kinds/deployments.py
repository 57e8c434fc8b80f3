"""Template deployments to a resource group or subscription. Mirrors Microsoft.Resources/deployments.

A PUT is done when it is answered; one that failed is answered like a long-running one, so that clients read why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from headrace.arm import store
from headrace.arm.body import parse_object
from headrace.arm.cloud import cloud_document
from headrace.arm.deployments.model import NAME, NAME_RULE, Mode, Outcome, Prepared, Work
from headrace.arm.deployments.record import deployment_properties, operation_document, planned_properties
from headrace.arm.deployments.run import Hooks, execute, prepare, template_problem
from headrace.arm.deployments.whatif import Rehearsal, rehearse
from headrace.arm.filters import parse_filter
from headrace.arm.ids import DEPLOYMENT_TYPE, make_key, parse_id
from headrace.arm.kinds.base import (
    Kind,
    check_tags,
    invalid,
    not_found,
    page_size,
    read_location,
    require_scope,
    save_put,
)
from headrace.arm.kinds.locks import check_locks
from headrace.arm.kinds.resourcegroups import group_document
from headrace.arm.kinds.subscriptions import subscription_document
from headrace.arm.model import Answer, Call, InnerCalls
from headrace.arm.store import Resource
from headrace.arm.templates.errors import TemplateError
from headrace.arm.templates.evaluate import Place
from headrace.arm.templates.jsonc import parse_json
from headrace.clock import iso
from headrace.errors import Problem
from headrace.identity.challenge import arm_forbidden
from headrace.ids import new_guid
from headrace.wire.problems import HttpError, http_error

MAX_KEPT = 800
"""Deployments kept of one scope: ARM's bound; the oldest go first."""
_FIELDS = frozenset({"provisioningstate"})
_WRITE = f"{DEPLOYMENT_TYPE}/write"


class Deployments(Kind):
    """Microsoft.Resources/deployments."""

    type = DEPLOYMENT_TYPE
    actions = frozenset({"validate", "whatif", "cancel", "exporttemplate"})

    def parse(self, body: bytes) -> dict[str, Any]:
        """See `Kind.parse`: JSON as people write templates."""
        try:
            return parse_object(body)
        except HttpError as strict:
            try:
                value = parse_json(body)
            except TemplateError as error:
                raise HttpError(400, template_problem(error)) from None
            if not isinstance(value, dict):
                raise strict from None
            return value

    def alone(self, call: Call) -> bool:
        """See `Kind.alone`: every resource of a deployment has a transaction of its own."""
        return call.method == "PUT" or call.action in ("validate", "whatif")

    def get(self, call: Call) -> Answer:
        """GET of a deployment."""
        return Answer(200, _shown(_find(call)))

    def list(self, call: Call) -> Answer:
        """GET of a scope's deployments, the newest first."""
        require_scope(call)
        items = store.select_page(call.connection, DEPLOYMENT_TYPE, parent_key=call.target.scope.lower())
        terms = parse_filter(call.query.get("$filter"), _FIELDS)
        wanted = [item for item in items if all(term.holds(_state(item)) for term in terms)]
        newest = sorted(wanted, key=lambda item: item.modified, reverse=True)
        return Answer(200, {"value": [_shown(item) for item in newest[: page_size(call)]]})

    def put(self, call: Call) -> Answer:
        """PUT: deploy. 201 when the name is new; the answer says how it ended."""
        check_locks(call)
        inner = _inner(call)
        prepared = _prepared(call)
        before = store.get(call.connection, call.target.key)
        ended: list[Outcome] = []
        outcome = execute(prepared, inner.lasting, Hooks(_authorizer(call), ended.append))
        operation = new_guid()
        with call.deps.database.write() as connection:
            call.connection = connection
            for one in ended:
                _keep(call, one, operation)
            item = store.get(connection, call.target.key)
        assert item is not None
        headers: dict[str, str] = {}
        if outcome.problem is not None:
            address = f"{call.base}{quote(item.id)}/operationStatuses/{operation}?api-version={call.version}"
            headers = {"Azure-AsyncOperation": address, "Retry-After": "0"}
        return Answer(201 if before is None else 200, _shown(item), headers)

    def delete(self, call: Call) -> Answer:
        """DELETE of the record; what was deployed stays."""
        require_scope(call)
        store.remove(call.connection, call.target.key)
        return Answer(204)

    def post(self, call: Call) -> Answer:
        """POST of an action."""
        if call.action == "validate":
            return self._validate(call)
        if call.action == "whatif":
            return self._what_if(call)
        item = _find(call)
        if call.action == "exporttemplate":
            return Answer(200, {"template": item.state.get("template")})
        raise http_error(
            409,
            "DeploymentCancelConflict",
            f"The deployment '{item.name}' has ended: every deployment is done when its PUT is answered.",
        )

    def _validate(self, call: Call) -> Answer:
        prepared = _prepared(call)
        rehearsal = _rehearsal(call, prepared)
        resources = [{"id": one.item.id} for one in rehearsal.outcome.operations]
        properties = {
            **planned_properties(prepared),
            "provisioningState": "Succeeded",
            "duration": "PT0S",
            "validatedResources": resources,
        }
        body = {"id": call.target.id, "name": call.target.name, "type": self.type, "properties": properties}
        return Answer(200, body)

    def _what_if(self, call: Call) -> Answer:
        changes = _rehearsal(call, _prepared(call)).changes
        settings = call.body["properties"].get("whatIfSettings")
        form = settings.get("resultFormat") if isinstance(settings, dict) else None
        if form == "ResourceIdOnly":
            changes = [{name: item[name] for name in ("resourceId", "changeType")} for item in changes]
        return Answer(200, {"status": "Succeeded", "properties": {"changes": changes}})


class DeploymentOperations(Kind):
    """`deployments/{name}/operations`: what became of each resource."""

    type = f"{DEPLOYMENT_TYPE}/operations"

    def list(self, call: Call) -> Answer:
        """GET of all operations."""
        return Answer(200, {"value": list(_owner(call).state.get("operations") or [])})

    def get(self, call: Call) -> Answer:
        """GET of one operation."""
        for operation in _owner(call).state.get("operations") or []:
            if operation["operationId"].lower() == call.target.name.lower():
                return Answer(200, operation)
        raise not_found(call)


class DeploymentStatuses(Kind):
    """`deployments/{name}/operationStatuses/{id}`: where clients wait for the end."""

    type = f"{DEPLOYMENT_TYPE}/operationStatuses"

    def get(self, call: Call) -> Answer:
        """GET of the state that a deployment ended in."""
        item = _owner(call)
        if item.state.get("operation") != call.target.name:
            raise not_found(call)
        body: dict[str, Any] = {"status": item.properties.get("provisioningState")}
        if item.properties.get("error") is not None:
            body["error"] = item.properties["error"]
        return Answer(200, body)


# Finding and keeping


def _inner(call: Call) -> InnerCalls:
    assert call.inner is not None
    return call.inner


def _find(call: Call) -> Resource:
    require_scope(call)
    return _required(store.get(call.connection, call.target.key), call.target.name)


def _owner(call: Call) -> Resource:
    require_scope(call)
    found = store.get(call.connection, make_key(call.target.parent_id, DEPLOYMENT_TYPE))
    return _required(found, call.target.parent_id.rpartition("/")[2])


def _required(item: Resource | None, name: str) -> Resource:
    if item is None:
        raise http_error(404, "DeploymentNotFound", f"Deployment '{name}' could not be found.")
    return item


def _shown(item: Resource) -> dict[str, Any]:
    document = {"id": item.id, "name": item.name, "type": item.type}
    return {**document, **{name: value for name, value in item.document.items() if value is not None}}


def _keep(call: Call, outcome: Outcome, operation: str) -> None:
    """Save what came of a deployment under its own id."""
    work = outcome.prepared.work
    target = parse_id(work.id)
    assert target is not None
    document = {
        "location": work.location or None,
        "tags": dict(work.tags) if work.tags else None,
        "properties": deployment_properties(outcome),
    }
    timestamp = iso(call.now)
    state = {
        "operation": operation,
        "operations": [operation_document(work.id, one, timestamp) for one in outcome.operations],
        "template": work.template,
    }
    existing = store.get(call.connection, target.key)
    save_put(replace(call, target=target), existing, document, state=state)
    store.keep_newest(call.connection, DEPLOYMENT_TYPE, target.scope.lower(), MAX_KEPT)


# Reading a request


def _state(item: Resource) -> str:
    return str(item.properties.get("provisioningState"))


def _prepared(call: Call) -> Prepared:
    """The deployment that a request asks for. Raises `HttpError` 400."""
    require_scope(call)
    if not NAME.fullmatch(call.target.name):
        raise http_error(400, "InvalidDeploymentName", NAME_RULE, target="name")
    check_tags(call.body)
    location = "" if call.target.group is not None else _location(call)
    properties = call.body.get("properties")
    if not isinstance(properties, dict):
        raise invalid("'properties' is an object with 'template' and 'mode'.", "properties")
    for name in ("templateLink", "parametersLink"):
        if properties.get(name) is not None:
            raise http_error(
                400,
                "InvalidTemplate",
                f"'{name}' is not supported: the server fetches nothing. Send the text itself.",
                target=f"properties.{name}",
            )
    work = Work(
        call.target.id,
        call.target.name,
        _place(call, properties),
        properties.get("template") or {},
        properties.get("parameters"),
        _mode(call, properties.get("mode")),
        location=location,
        tags=call.body.get("tags"),
    )
    try:
        return prepare(work)
    except TemplateError as error:
        raise HttpError(400, template_problem(error)) from None


def _location(call: Call) -> str:
    """Where a subscription's deployment is kept: it has to be given, and stays. Raises `HttpError`."""
    location = read_location(call, None)
    before = store.get(call.connection, call.target.key)
    kept = before.document.get("location") if before is not None else None
    if kept is not None and kept != location:
        raise http_error(
            409,
            "InvalidDeploymentLocation",
            f"The deployment '{call.target.name}' already exists in location '{kept}' and cannot be made in "
            f"'{location}'. Use that location, or another name.",
            target="location",
        )
    return location


def _mode(call: Call, value: Any) -> Mode:
    if value in (None, "Incremental"):
        return "Incremental"
    if value == "Complete" and call.target.group is not None:
        return "Complete"
    raise invalid("'mode' is Incremental, or Complete in a resource group.", "properties.mode")


def _place(call: Call, properties: Mapping[str, Any]) -> Place:
    target, tenant = call.target, call.caller.tenant
    subscription = store.get(call.connection, f"/subscriptions/{target.subscription}")
    group = store.get(call.connection, target.scope.lower()) if target.group is not None else None
    assert subscription is not None
    template = properties.get("template")
    version = template.get("contentVersion") if isinstance(template, dict) else None
    deployment: dict[str, Any] = {
        "name": target.name,
        "correlationId": new_guid(),
        "properties": {
            "mode": properties.get("mode") or "Incremental",
            "provisioningState": "Accepted",
            "template": {"contentVersion": version},
        },
    }
    if call.body.get("location"):
        deployment["location"] = call.body["location"]
    return Place(
        subscription_document(subscription, tenant),
        group_document(group) if group is not None else None,
        {"tenantId": tenant, "displayName": "Headrace"},
        cloud_document(call.base, tenant),
        deployment,
        {"objectId": call.caller.object_id, "tenantId": tenant},
        call.now,
    )


def _authorizer(call: Call) -> Callable[[str], None]:
    """Checks the right to make a nested deployment."""

    def authorize(deployment: str) -> None:
        caller = call.caller
        access = call.deps.access.current
        if not access.allows(caller.object_id, _WRITE, deployment, groups=caller.groups):
            raise arm_forbidden(caller, _WRITE, deployment)

    return authorize


def _rehearsal(call: Call, prepared: Prepared) -> Rehearsal:
    """A rehearsal that every resource passed. Raises `HttpError` 400 with what they are refused for."""
    with _inner(call).rehearsal() as inner:
        result = rehearse(prepared, inner, Hooks(_authorizer(call)))
    if result.outcome.problem is not None:
        raise HttpError(
            400,
            Problem(
                "InvalidTemplateDeployment",
                f"The template deployment '{call.target.name}' is not valid according to the validation "
                "procedure. See inner errors for details.",
                details=result.outcome.problem.details,
            ),
        )
    return result
