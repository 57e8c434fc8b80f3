"""The control plane's part of the OpenAPI description: what follows from the kinds of resources."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from headrace.arm.ids import GROUP_TYPE, RESOURCES, SENTINEL_TYPES, SUBSCRIPTION_TYPE, WORKSPACE_TYPE
from headrace.arm.kinds.base import Kind, has
from headrace.arm.router import all_kinds
from headrace.wire.openapi import ANY, TEXT, Operation, Schema, many, obj, ref

SCHEMAS: dict[str, Schema] = {
    "Resource": obj(id=TEXT, name=TEXT, type=TEXT, location=TEXT, tags={"type": "object"}, properties=ANY),
    "ResourceList": obj({"value": many({"type": "object"})}, nextLink=TEXT),
    "ResourceBody": obj(location=TEXT, tags={"type": "object"}, properties={"type": "object"}),
}
_SUBSCRIPTION = "/subscriptions/{subscriptionId}"
_GROUP = f"{_SUBSCRIPTION}/resourceGroups/{{resourceGroupName}}"
_IN_GROUPS = ("Microsoft.Insights/dataCollectionRules", "Microsoft.Insights/dataCollectionEndpoints")
_VERSION = ("api-version",)
_DONE: dict[int, Schema | None] = {200: ref("Resource"), 201: ref("Resource"), 202: ANY}


def operations() -> list[Operation]:
    """Every method of every kind, at the scope where it is usually called; one of Sentinel's kinds stands for all."""
    return [one for kind in all_kinds() if kind.type not in SENTINEL_TYPES[1:] for one in _operations(kind)]


def _operations(kind: Kind) -> Iterator[Operation]:
    collection, names = _place(kind.type)
    item = f"{collection}/{{{names}}}"

    shown = "Microsoft.SecurityInsights/{contentType}" if kind.type in SENTINEL_TYPES else kind.type

    def made(method: str, path: str, what: str, **more: object) -> Operation:
        values = {"answers": {200: ref("Resource")}, "query": _VERSION, "needed": _VERSION} | more
        return Operation(method, path, f"{what} {shown}", kind.type.partition("/")[0], **values)  # type: ignore[arg-type]

    if has(kind, "list"):
        listed = many({"type": "object"}) if kind.bare_list else ref("ResourceList")
        yield made("GET", collection, "List", answers={200: listed}, query=(*_VERSION, "$filter"))
    if has(kind, "ask"):
        yield made("POST", collection, "Ask", answers={200: ANY}, body={"type": "object"})
    if has(kind, "get"):
        yield made("GET", item, "Show")
    if has(kind, "put"):
        yield made("PUT", item, "Make or replace", answers=_DONE, body=ref("ResourceBody"))
    if has(kind, "patch"):
        yield made("PATCH", item, "Change", answers=_DONE, body=ref("ResourceBody"))
    if has(kind, "delete"):
        yield made("DELETE", item, "Delete", answers={200: None, 202: None, 204: None})
    for action in sorted(kind.actions):
        told = None if action in kind.silent_actions else ANY
        answers: dict[int, Schema | None] = {200: told, 202: None, 204: None}
        yield made("POST", f"{item}/{action}", f"{action} of", answers=answers, body={"type": "object"})


def _place(type_name: str) -> tuple[str, str]:
    """The path of the kind's collection, and the name of the parameter for one of it."""
    if type_name in SENTINEL_TYPES:
        workspace = f"{_GROUP}/providers/{WORKSPACE_TYPE}/{{workspaceName}}"
        return f"{workspace}/providers/Microsoft.SecurityInsights/{{contentType}}", "contentName"
    namespace, *types = type_name.split("/")
    name = f"{_singular(types[-1])}Name"
    if type_name == SUBSCRIPTION_TYPE:
        return "/subscriptions", "subscriptionId"
    if type_name == GROUP_TYPE:
        return f"{_SUBSCRIPTION}/resourceGroups", "resourceGroupName"
    if type_name == f"{RESOURCES}/tenants":
        return "/tenants", "tenantId"
    if namespace == RESOURCES and len(types) == 1 and types[0] not in ("deployments", "tags"):
        return f"{_SUBSCRIPTION}/{types[0]}", name
    grouped = (
        namespace == "Microsoft.OperationalInsights" or type_name in _IN_GROUPS or types[0] == "deployments"
    )
    path = f"{_GROUP if grouped else _SUBSCRIPTION}/providers/{namespace}/{types[0]}"
    for above, below in pairwise(types):
        path += f"/{{{_singular(above)}Name}}/{below}"
    return path, name


def _singular(word: str) -> str:
    for ending, instead in (("ies", "y"), ("ches", "ch"), ("uses", "us"), ("s", "")):
        if word.endswith(ending):
            return word.removesuffix(ending) + instead
    return word
