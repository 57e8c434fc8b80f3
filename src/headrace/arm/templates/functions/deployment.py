"""Functions of the deployment and of resources: names, ids, and what only exists while it runs."""

from __future__ import annotations

import re
from typing import Any

from headrace.arm.templates.errors import TemplateError
from headrace.arm.templates.evaluate import Eager, Evaluator, Function, Lazy, Scope
from headrace.arm.templates.syntax import Node
from headrace.arm.templates.values import need_int, need_text, shown

_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def _parameter(run: Evaluator, arguments: tuple[Node, ...], scope: Scope) -> Any:
    name = need_text("parameters", run.node(arguments[0], scope))
    if name.lower() not in scope.parameters:
        raise TemplateError(
            f"The template parameter '{name}' is not found. There are: {shown(sorted(scope.parameters))}."
        )
    return scope.parameters[name.lower()]


def _variable(run: Evaluator, arguments: tuple[Node, ...], scope: Scope) -> Any:
    return run.variable(need_text("variables", run.node(arguments[0], scope)), scope)


def id_below(name: str, scope: str, rest: list[str]) -> str:
    """`{scope}/providers/{type with its names}`. Raises `TemplateError` when types and names do not match."""
    namespace, *types = rest[0].rstrip("/").split("/")
    names = rest[1:]
    if not types or len(types) != len(names):
        raise TemplateError(
            f"Unable to evaluate template language function '{name}': the type '{shown(rest[0])}' has {len(types)} "
            f"segment(s) and {len(names)} name(s) are given."
        )
    pairs = "/".join(f"{kind}/{item}" for kind, item in zip(types, names, strict=True))
    return f"{scope}/providers/{namespace}/{pairs}"


def _typed(name: str, arguments: list[Any]) -> tuple[list[str], list[str]]:
    """The arguments before the resource type, and from the type on."""
    texts = [need_text(name, item) for item in arguments]
    place = next((i for i, text in enumerate(texts) if "/" in text and "." in text.partition("/")[0]), None)
    if place is None:
        raise TemplateError(
            f"Unable to evaluate template language function '{name}': no argument is a resource type like "
            "'Microsoft.Insights/dataCollectionRules'."
        )
    return texts[:place], texts[place:]


def _resource_id(run: Evaluator, arguments: list[Any]) -> str:
    before, rest = _typed("resourceId", arguments)
    subscription = str(run.place.subscription["subscriptionId"])
    group = str(run.place.group["name"]) if run.place.group is not None else None
    if len(before) > 2:
        raise TemplateError("'resourceId' takes a subscription and a group before the resource type.")
    if len(before) == 2:
        subscription, group = before
    elif before and _GUID.fullmatch(before[0]) and group is None:
        subscription = before[0]
    elif before:
        group = before[0]
    scope = f"/subscriptions/{subscription}"
    return id_below("resourceId", f"{scope}/resourceGroups/{group}" if group is not None else scope, rest)


def _subscription_resource_id(run: Evaluator, arguments: list[Any]) -> str:
    before, rest = _typed("subscriptionResourceId", arguments)
    subscription = before[0] if before else run.place.subscription["subscriptionId"]
    return id_below("subscriptionResourceId", f"/subscriptions/{subscription}", rest)


def _tenant_resource_id(_run: Evaluator, arguments: list[Any]) -> str:
    _, rest = _typed("tenantResourceId", arguments)
    return id_below("tenantResourceId", "", rest)


def _extension_resource_id(_run: Evaluator, arguments: list[Any]) -> str:
    scope, *rest = (need_text("extensionResourceId", item) for item in arguments)
    return id_below("extensionResourceId", scope.rstrip("/"), list(rest))


def _group(run: Evaluator, _arguments: list[Any]) -> Any:
    if run.place.group is None:
        raise TemplateError(
            "The template function 'resourceGroup' is not there in a deployment to a subscription."
        )
    return dict(run.place.group)


def _reference(run: Evaluator, arguments: list[Any]) -> Any:
    if run.live is None:
        raise TemplateError(
            "The template function 'reference' is not expected at this location: a resource's name, type, "
            "location, condition, scope and dependsOn are known before anything is deployed."
        )
    version = need_text("reference", arguments[1]) if len(arguments) > 1 and arguments[1] else None
    full = len(arguments) > 2 and need_text("reference", arguments[2]).lower() == "full"
    return run.live.reference(need_text("reference", arguments[0]), version, full=full)


def _references(run: Evaluator, arguments: list[Any]) -> Any:
    if run.live is None:
        raise TemplateError("The template function 'references' is not expected at this location.")
    full = len(arguments) > 1 and need_text("references", arguments[-1]).lower() == "full"
    return run.live.references(need_text("references", arguments[0]), full=full)


def _copy_index(run: Evaluator, arguments: tuple[Node, ...], scope: Scope) -> int:
    values = [run.node(argument, scope) for argument in arguments]
    name = need_text("copyIndex", values.pop(0)) if values and isinstance(values[0], str) else None
    offset = need_int("copyIndex", values.pop(0)) if values else 0
    if values:
        raise TemplateError("The template function 'copyIndex' takes the name of a loop and an offset.")
    place = scope.round if name is None else scope.loops.get(name.lower())
    if place is None:
        around = f" Around it are: {shown(sorted(scope.loops))}." if scope.loops else ""
        raise TemplateError(
            "The template function 'copyIndex' is not expected at this location: "
            + ("give it the name of the loop." if name is None else f"there is no copy loop '{shown(name)}'.")
            + around
        )
    return place + offset


def _list(run: Evaluator, arguments: list[Any]) -> Any:
    action, resource, version, *body = arguments
    if run.live is None:
        raise TemplateError(f"The template function '{action}' is not expected at this location.")
    return run.live.act(action, need_text(action, resource), need_text(action, version), *body[:1] or [None])


def refused(name: str, cure: str) -> Function:
    """A function of ARM's that is left out, by name."""

    def run(_run: Evaluator, _arguments: tuple[Node, ...], _scope: Scope) -> Any:
        raise TemplateError(f"The template function '{name}' is not supported. {cure}")

    lazy: Lazy = run
    return Function(name, 0, None, lazy=lazy)


def _place(name: str) -> Function:
    run: Eager = lambda evaluator, _arguments: dict(getattr(evaluator.place, name))  # noqa: E731
    return Function(name, 0, 0, run)


FUNCTIONS = (
    Function("parameters", 1, 1, lazy=_parameter),
    Function("variables", 1, 1, lazy=_variable),
    Function("resourceId", 2, None, _resource_id),
    Function("subscriptionResourceId", 2, None, _subscription_resource_id),
    Function("tenantResourceId", 2, None, _tenant_resource_id),
    Function("extensionResourceId", 3, None, _extension_resource_id),
    Function("resourceGroup", 0, 0, _group),
    _place("subscription"),
    _place("tenant"),
    _place("deployment"),
    _place("environment"),
    _place("deployer"),
    Function("reference", 1, 3, _reference),
    Function("list*", 3, 4, _list),
    Function("references", 1, 3, _references),
    Function("copyIndex", 0, 2, lazy=_copy_index),
    refused("managementGroup", "Deploy to a subscription or a resource group."),
    refused("managementGroupResourceId", "Deploy to a subscription or a resource group."),
    refused("providers", "Write the apiVersion as a text."),
    refused("pickZones", "There are no zones here."),
)
