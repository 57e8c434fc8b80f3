"""Carries deployments out: each resource by a call of its own, with the rights of who deploys."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from headrace.arm.deployments.model import MAX_LEVELS, NAME, NAME_RULE, Operation, Outcome, Prepared, Work
from headrace.arm.deployments.record import deployment_properties
from headrace.arm.ids import DEPLOYMENT_TYPE, parse_id
from headrace.arm.model import NO_QUERY, Answer, Inner
from headrace.arm.templates.document import bind, read_template
from headrace.arm.templates.errors import TemplateError
from headrace.arm.templates.evaluate import Budget, Evaluator, Loop, Place, Scope
from headrace.arm.templates.functions import builtin_functions
from headrace.arm.templates.plan import Planned, body_of, make_plan
from headrace.arm.templates.types import SECURE, shown_type
from headrace.arm.versions import any_version
from headrace.errors import Problem
from headrace.wire.problems import HttpError

_RESOURCES = "Microsoft.Resources/resources"

Finished = Callable[[Outcome], None]
"""Told of every deployment that ended, nested ones first."""

Seen = Callable[[Planned, Any, Any], None]
"""Told of every resource that was put: the document before (None when there was none), and after."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """What whoever runs a deployment wants to know or forbid. `authorize` raises `HttpError` for a nested one."""

    authorize: Callable[[str], None]
    finished: Finished | None = None
    seen: Seen | None = None


def prepare(work: Work, budget: Budget | None = None) -> Prepared:
    """Read a deployment's template and plan its resources. Raises `TemplateError`."""
    run = Evaluator(work.place, builtin_functions(), budget=budget)
    template = read_template(work.template)
    scope = work.outer if work.outer is not None else bind(template, work.parameters, run)
    return Prepared(work, template, scope, make_plan(template, scope, run), run)


def execute(prepared: Prepared, inner: Inner, hooks: Hooks) -> Outcome:
    """Put every resource of a plan. What depends on one that failed is left out; the rest goes on.

    Raises nothing for what a resource is refused: the outcome says so.
    """
    return _Execution(prepared, inner, hooks).outcome()


class _Execution:
    """One deployment under way; answers `reference()` for its resources and all others."""

    def __init__(self, prepared: Prepared, inner: Inner, hooks: Hooks) -> None:
        self._prepared = prepared
        self._run = prepared.run
        self._run.live = self
        self._inner = inner
        self._hooks = hooks
        self._made: dict[str, Mapping[str, Any]] = {}
        self._kept = {item.key for item in prepared.plan if item.wanted}

    def outcome(self) -> Outcome:
        began = time.monotonic()
        result = Outcome(self._prepared, self._kept)
        failed: set[str] = set()
        for item in self._prepared.plan:
            if not item.wanted or item.existing:
                continue
            if item.depends & failed:
                failed.add(item.key)
                continue
            operation = self._operation(item)
            result.operations.append(operation)
            if operation.problem is not None:
                failed.add(item.key)
        problems = [one.problem for one in result.operations if one.problem is not None]
        if not problems:
            problems = self._finish(result)
        if problems:
            result.problem = failure(self._prepared.work.id, problems)
        result.took = time.monotonic() - began
        if self._hooks.finished is not None:
            self._hooks.finished(result)
        return result

    def _finish(self, result: Outcome) -> list[Problem]:
        """Outputs, and with mode Complete the removal of what the template has not."""
        try:
            if self._prepared.work.mode == "Complete":
                for path in surplus(result, self._inner):
                    self._inner("DELETE", path, any_version(_type_of(path)))
                    result.deleted.append(path)
            result.outputs = self._outputs()
        except TemplateError as error:
            return [template_problem(error)]
        except HttpError as error:
            return [error.problem]
        return []

    def _operation(self, item: Planned) -> Operation:
        operation = Operation(item)
        try:
            operation.status = self._deploy(item) if item.is_deployment else self._put(item)
        except HttpError as error:
            operation.status = error.status
            operation.problem = _about(item, error.problem)
        except TemplateError as error:
            operation.status = 400
            operation.problem = _about(item, template_problem(error))
        operation.took = time.monotonic() - operation.began
        return operation

    def _put(self, item: Planned) -> int:
        body = body_of(item, self._run)
        before = self._state(item) if self._hooks.seen is not None else None
        answer = self._inner("PUT", item.id, item.version, body)
        self._made[item.key] = answer.body if isinstance(answer.body, dict) else {}
        if self._hooks.seen is not None:
            self._hooks.seen(item, before, self._state(item))
        return answer.status

    def _state(self, item: Planned) -> Any:
        try:
            return self._inner("GET", item.id, item.version).body
        except HttpError as error:
            if error.status == 404:
                return None
            raise

    # Nested deployments

    def _deploy(self, item: Planned) -> int:
        work = self._nested(item)
        self._hooks.authorize(item.id)
        try:
            prepared = prepare(work, self._run.budget)
        except TemplateError as error:
            raise error.at(item.path) from None
        outcome = execute(prepared, self._inner, self._hooks)
        self._kept |= outcome.kept
        self._made[item.key] = {"id": item.id, "properties": deployment_properties(outcome)}
        if outcome.problem is not None:
            raise HttpError(409, outcome.problem)
        return 201

    def _nested(self, item: Planned) -> Work:
        where = f"{item.path}.properties"
        outer = self._prepared.work
        if outer.level >= MAX_LEVELS:
            raise TemplateError(f"Deployments are nested more than {MAX_LEVELS} deep.", item.path)
        properties: Mapping[str, Any] = item.document["properties"]
        target = parse_id(item.id)
        if target is None or target.type != DEPLOYMENT_TYPE or not NAME.fullmatch(target.name):
            raise TemplateError(
                f"A nested deployment stands in a group or subscription. {NAME_RULE}", f"{item.path}.name"
            )
        options = self._run.value(properties.get("expressionEvaluationOptions") or {}, item.scope, where)
        inner = isinstance(options, dict) and str(options.get("scope", "outer")).lower() == "inner"
        parameters = self._run.value(properties.get("parameters"), item.scope, f"{where}.parameters")
        return Work(
            item.id,
            item.name,
            self._place(item),
            properties["template"],
            parameters,
            "Incremental",
            None if inner else item.scope,
            outer.level + 1,
        )

    def _place(self, item: Planned) -> Place:
        """Where a nested deployment runs: its `resourceGroup` and `subscriptionId`, else where this one does."""
        outer = self._prepared.work.place
        place = replace(outer, deployment={"name": item.name, "properties": {"mode": "Incremental"}})
        if item.subscription is None and item.group is None:
            return place
        root = f"/subscriptions/{item.subscription or outer.subscription['subscriptionId']}"
        subscription = self._inner("GET", root, any_version("Microsoft.Resources/subscriptions")).body
        if item.group is None:
            return replace(place, subscription=subscription, group=None)
        group = f"{root}/resourceGroups/{item.group}"
        found = self._inner("GET", group, any_version("Microsoft.Resources/resourceGroups")).body
        return replace(place, subscription=subscription, group=found)

    # What expressions ask for

    def reference(self, resource: str, version: str | None, *, full: bool) -> Any:
        """See `Live.reference`."""
        item = self._prepared.plan.names.find(resource)
        path = item.id if item is not None else resource
        made = self._made.get(path.lower())
        if made is None:
            version = version or (item.version if item is not None else None)
            if item is None and self._prepared.plan.names.loop(resource) is not None:
                raise TemplateError(
                    f"'{resource}' is a copy loop: reference() takes one of it, '{resource}[0]' or its id; "
                    "references() takes all."
                )
            if not path.startswith("/") or version is None:
                raise TemplateError(
                    f"The resource '{path}' is not defined in the template: give reference() its id and an "
                    "apiVersion."
                )
            made = self._asked(lambda: self._inner("GET", path, version))
        if full:
            return dict(made)
        properties = made.get("properties")
        return dict(properties) if isinstance(properties, dict) else {}

    def references(self, loop: str, *, full: bool) -> list[Any]:
        """See `Live.references`."""
        items = self._prepared.plan.names.loop(loop)
        if items is None:
            raise TemplateError(
                f"The template has no resource with a copy loop of the symbolic name '{loop}'."
            )
        return [self.reference(item.id, None, full=full) for item in items if item.wanted]

    def act(self, action: str, resource: str, version: str, body: Any) -> Any:
        """See `Live.act`. `listKeys` of a workspace are its shared keys."""
        item = self._prepared.plan.names.find(resource)
        path = item.id if item is not None else resource
        name = action
        if action.lower() == "listkeys" and _type_of(path).lower().endswith("/workspaces"):
            name = "sharedKeys"
        sent = body if isinstance(body, dict) else None
        return self._asked(lambda: self._inner("POST", f"{path}/{name}", version, sent))

    @staticmethod
    def _asked(ask: Callable[[], Answer]) -> Mapping[str, Any]:
        try:
            body = ask().body
        except HttpError as error:
            raise TemplateError(error.problem.message, code=error.problem.code) from None
        return body if isinstance(body, dict) else {}

    def _outputs(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        scope: Scope = self._prepared.scope
        for name, spec in self._prepared.template.outputs.items():
            where = f"template.outputs.{name}"
            if not isinstance(spec, dict):
                raise TemplateError("An output is an object with a type and a value.", where)
            if self._run.value(spec.get("condition", True), scope, f"{where}.condition") is not True:
                continue
            types = self._prepared.template.types
            resolved = types.resolved(spec, where)
            shown = {"type": shown_type(resolved)}
            value = self._run.value(_output_value(spec, where), scope, f"{where}.value")
            secret = str(resolved.get("type")).lower() in SECURE
            found[name] = shown if secret else {**shown, "value": types.visible(spec, value)}
        return found


def _output_value(spec: Mapping[str, Any], where: str) -> Any:
    copy = spec.get("copy")
    if copy is None:
        return spec.get("value")
    if not isinstance(copy, dict) or "count" not in copy or "input" not in copy:
        raise TemplateError("The copy loop of an output has 'count' and 'input'.", f"{where}.copy")
    return Loop("", copy["count"], copy["input"])


def surplus(outcome: Outcome, inner: Inner) -> list[str]:
    """The ids of the group's resources that neither the template nor one nested in it has, what others need last."""
    group = outcome.prepared.work.place.group
    if group is None:
        return []
    found, query = [], NO_QUERY
    while True:
        listed = inner("GET", f"{group['id']}/resources", any_version(_RESOURCES), None, query).body
        found += [str(item["id"]) for item in listed["value"]]
        if "nextLink" not in listed:
            break
        query = dict(parse_qsl(urlsplit(listed["nextLink"]).query))
    return sorted((one for one in found if one.lower() not in outcome.kept), key=_removal_order)


def _about(item: Planned, problem: Problem) -> Problem:
    """A problem with the resource as its target; the field that it is about stays inside."""
    if problem.target is None:
        return replace(problem, target=item.id)
    details = problem.details or (problem,)
    return Problem(problem.code, problem.message, item.id, hint=problem.hint, details=details)


def _removal_order(path: str) -> tuple[int, str]:
    order = ("/datacollectionrules/", "/datacollectionendpoints/", "/workspaces/")
    place = next((place for place, part in enumerate(order) if part in path.lower()), len(order))
    return place, path


def _type_of(path: str) -> str:
    head, _, rest = path.rpartition("/providers/")
    if not head:
        return ""
    namespace, *parts = rest.split("/")
    return "/".join([namespace, *parts[::2]])


def template_problem(error: TemplateError) -> Problem:
    """A template's fault in ARM's words."""
    if error.code != "InvalidTemplate":
        return Problem(error.code, error.message, error.target)
    return Problem(error.code, f"Deployment template validation failed: '{error.message}'.", error.target)


def failure(deployment: str, problems: list[Problem]) -> Problem:
    """`DeploymentFailed` with what was wrong with each resource."""
    return Problem(
        "DeploymentFailed",
        "At least one resource deployment operation failed. Please list deployment operations for details.",
        deployment,
        details=tuple(problems),
    )
