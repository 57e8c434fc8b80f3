"""From a template to the resources it wants, in the order in which they can be made.

What names a resource (type, name, scope, condition, dependsOn) is evaluated here, before anything is deployed;
the rest of a resource is evaluated when its turn comes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from headrace.arm.templates.document import MAX_RESOURCES, RawResource, Template, children
from headrace.arm.templates.errors import TemplateError
from headrace.arm.templates.evaluate import Evaluator, Scope
from headrace.arm.templates.syntax import CallNode, Member, Node, is_expression, parse
from headrace.arm.templates.values import shown

GROUP = "microsoft.resources/resourcegroups"
DEPLOYMENT = "microsoft.resources/deployments"
_NOT_SENT = frozenset(
    {
        "type", "name", "apiVersion", "dependsOn", "condition", "scope", "resources", "copy", "comments", "metadata",
        "existing", "subscriptionId", "resourceGroup", "asserts", "import", "extension", "@options", "$schema",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Planned:
    """A resource that the template wants. `depends` are lower-case ids of others in the plan."""

    path: str
    symbol: str | None
    id: str
    type: str
    name: str
    version: str
    wanted: bool
    existing: bool
    document: Mapping[str, Any]
    scope: Scope
    subscription: str | None = None
    group: str | None = None
    depends: frozenset[str] = field(default_factory=frozenset)

    @property
    def key(self) -> str:
        """The lower-case id."""
        return self.id.lower()

    @property
    def is_deployment(self) -> bool:
        """Whether it is a nested deployment."""
        return self.type.lower() == DEPLOYMENT


def make_plan(template: Template, scope: Scope, run: Evaluator) -> tuple[Planned, ...]:
    """The template's resources in an order that keeps every dependency. Raises `TemplateError`.

    A resource depends on what its `dependsOn` names, on what its expressions `reference()` or list keys of, and on
    the resource that it is nested in by name.
    """
    planned = [item for raw in template.resources for item in _planned(raw, None, scope, run)]
    if len(planned) > MAX_RESOURCES:
        raise TemplateError(f"The template has {len(planned)} resources; {MAX_RESOURCES} is the most.")
    by_key: dict[str, Planned] = {}
    for item in planned:
        if item.wanted and not item.existing and item.key in by_key:
            raise TemplateError(
                f"The resource '{item.id}' is defined multiple times in a template.", f"{item.path}.name"
            )
        if not item.existing:
            by_key.setdefault(item.key, item)
    names = _Names(planned)
    return _ordered([_with_dependencies(item, names, by_key, run) for item in planned])


def find_planned(plan: Sequence[Planned], text: str) -> Planned | None:
    """The resource that a symbolic name, an id or a name means; None when it is none of the plan's."""
    return _Names(plan).find(text)


def body_of(item: Planned, run: Evaluator) -> dict[str, Any]:
    """The resource's document as it is to be put."""
    sent = {name: value for name, value in item.document.items() if name not in _NOT_SENT}
    body: dict[str, Any] = run.value(sent, item.scope, item.path)
    return {name: value for name, value in body.items() if value is not None}


# Names and ids


def _planned(raw: RawResource, parent: Planned | None, scope: Scope, run: Evaluator) -> Iterator[Planned]:
    document = raw.document

    def text(name: str, *, required: bool = False) -> str | None:
        value = run.value(document.get(name), scope, f"{raw.path}.{name}")
        if (value is None and required) or (value is not None and (not isinstance(value, str) or not value)):
            raise TemplateError(f"The resource needs '{name}', a text.", f"{raw.path}.{name}")
        return value

    kind, name = text("type", required=True) or "", text("name", required=True) or ""
    if parent is not None:
        kind = kind if kind.lower().startswith(f"{parent.type.lower()}/") else f"{parent.type}/{kind}"
        name = f"{parent.name}/{name}"
    version = text("apiVersion", required=True) or ""
    condition = run.value(document.get("condition", True), scope, f"{raw.path}.condition")
    if not isinstance(condition, bool):
        raise TemplateError("The condition of a resource is true or false.", f"{raw.path}.condition")
    wanted = condition and (parent is None or parent.wanted)
    subscription, group = text("subscriptionId"), text("resourceGroup")
    item = Planned(
        raw.path,
        raw.symbol,
        _resource_id(kind, name, text("scope"), raw.path, run, subscription, group),
        kind,
        name,
        version,
        wanted,
        document.get("existing") is True,
        document,
        scope,
        subscription,
        group,
    )
    yield item
    for child in children(raw):
        yield from _planned(child, item, scope, run)


def _resource_id(
    kind: str,
    name: str,
    scope: str | None,
    path: str,
    run: Evaluator,
    subscription: str | None,
    group: str | None,
) -> str:
    place = run.place
    root = f"/subscriptions/{subscription or place.subscription['subscriptionId']}"
    if kind.lower() == GROUP:
        return f"{root}/resourceGroups/{name}"
    if group is not None:
        root = f"{root}/resourceGroups/{group}"
    elif place.group is not None and subscription is None:
        root = str(place.group["id"])
    if scope is not None:
        root = scope.rstrip("/") if scope.startswith("/") else f"{root}/providers/{scope}"
    namespace, *types = kind.split("/")
    names = name.split("/")
    if not types or len(types) != len(names):
        raise TemplateError(
            f"The template resource '{shown(name)}' for type '{shown(kind)}' has incorrect segment lengths. A nested "
            "resource type must have identical number of segments as its resource name.",
            f"{path}.name",
        )
    pairs = "/".join(f"{part}/{own}" for part, own in zip(types, names, strict=True))
    return f"{root}/providers/{namespace}/{pairs}"


class _Names:
    """Everything by which a template may name its own resources."""

    def __init__(self, planned: Sequence[Planned]) -> None:
        self._found: dict[str, Planned] = {}
        for item in planned:
            for name in (item.symbol, item.id, f"{item.type}/{item.name}", item.name):
                if name is not None:
                    self._found.setdefault(name.lower().strip("/"), item)

    def find(self, text: str) -> Planned | None:
        return self._found.get(text.lower().strip("/"))


# Dependencies


def _with_dependencies(
    item: Planned, names: _Names, by_key: Mapping[str, Planned], run: Evaluator
) -> Planned:
    found: set[str] = set()
    listed = run.value(item.document.get("dependsOn") or [], item.scope, f"{item.path}.dependsOn")
    for place, text in enumerate(listed if isinstance(listed, list) else [listed]):
        where = f"{item.path}.dependsOn[{place}]"
        if not isinstance(text, str):
            raise TemplateError("'dependsOn' is an array of names or ids.", where)
        other = names.find(text)
        if other is None:
            raise TemplateError(
                f"The resource '{shown(text)}' is not defined in the template: 'dependsOn' names resources of the "
                "same template.",
                where,
            )
        found.add(other.key)
    for text in _referenced(item, run):
        other = names.find(text)
        if other is not None:
            found.add(other.key)
    head = item.key.rpartition("/")[0].rpartition("/")[0]
    while head.count("/") > 1:
        if head in by_key:
            found.add(head)
        head = head.rpartition("/")[0]
    kept = frozenset(key for key in found if key in by_key and not (item.existing and key == item.key))
    return replace(item, depends=kept)


def _referenced(item: Planned, run: Evaluator) -> Iterator[str]:
    """What the resource's expressions ask the state of, as far as it is known ahead."""
    skipped = ("template",) if _has_own_scope(item) else ()
    pending: list[Any] = [
        value for name, value in item.document.items() if name not in ("dependsOn", "resources")
    ]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            pending += [inner for name, inner in value.items() if name not in skipped]
        elif isinstance(value, list):
            pending += value
        elif is_expression(value):
            yield from _asked_in(parse(value), item.scope, run)


def _has_own_scope(item: Planned) -> bool:
    properties = item.document.get("properties")
    options = properties.get("expressionEvaluationOptions") if isinstance(properties, dict) else None
    return isinstance(options, dict) and str(options.get("scope", "")).lower() == "inner"


def _asked_in(node: Node, scope: Scope, run: Evaluator) -> Iterator[str]:
    if isinstance(node, Member):
        yield from _asked_in(node.of, scope, run)
        yield from _asked_in(node.key, scope, run)
    if not isinstance(node, CallNode):
        return
    for argument in node.arguments:
        yield from _asked_in(argument, scope, run)
    name = node.name.lower()
    if node.arguments and (name == "reference" or name.startswith("list")):
        try:
            text = run.node(node.arguments[0], scope)
        except TemplateError:
            return  # It asks for something that only the deployment knows; the order cannot follow from it.
        if isinstance(text, str):
            yield text


def _ordered(planned: Sequence[Planned]) -> tuple[Planned, ...]:
    """The template's own order as far as dependencies allow."""
    done: set[str] = set()
    known = {item.key for item in planned if not item.existing}
    waiting, result = list(planned), []
    while waiting:
        ready = next((item for item in waiting if not (item.depends & known) - done), None)
        if ready is None:
            names = ", ".join(f"'{item.id}'" for item in waiting[:5])
            raise TemplateError(
                f"Circular dependency detected on resource: {names}. Take one of the dependencies away.",
                waiting[0].path,
            )
        waiting.remove(ready)
        result.append(ready)
        if not ready.existing:
            done.add(ready.key)
    return tuple(result)
