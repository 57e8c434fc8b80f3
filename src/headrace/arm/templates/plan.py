"""From a template to the resources it wants, in the order in which they can be made.

What names a resource (type, name, scope, condition, dependsOn) is evaluated here, before anything is deployed;
the rest of a resource is evaluated when its turn comes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from headrace.arm.templates.document import MAX_RESOURCES, RawResource, Template, children
from headrace.arm.templates.errors import TemplateError
from headrace.arm.templates.evaluate import Evaluator, Loop, Place, Scope, without_loops
from headrace.arm.templates.syntax import CallNode, Member, Node, is_expression, parse
from headrace.arm.templates.values import shown

GROUP = "microsoft.resources/resourcegroups"
DEPLOYMENT = "microsoft.resources/deployments"
_RULE = "microsoft.insights/datacollectionrules"
_NOT_SENT = frozenset(
    {
        "type", "name", "apiVersion", "dependsOn", "condition", "scope", "resources", "copy", "comments", "metadata",
        "existing", "subscriptionId", "resourceGroup", "asserts", "import", "extension", "@options", "$schema",
    }
)  # fmt: skip
_LINKS = {
    "templateLink": "Put the linked template itself into 'template', as 'az bicep build' does with modules.",
    "parametersLink": "Put the values into 'parameters'.",
}


@dataclass(frozen=True, slots=True)
class Round:
    """A resource's place in its copy loop. A round waits for the `batch` before its own; None waits for none."""

    loop: str
    index: int
    batch: int | None


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
    round: Round | None = None
    depends: frozenset[str] = field(default_factory=frozenset)

    @property
    def key(self) -> str:
        """The lower-case id."""
        return self.id.lower()

    @property
    def is_deployment(self) -> bool:
        """Whether it is a nested deployment."""
        return self.type.lower() == DEPLOYMENT


@dataclass(frozen=True, slots=True)
class Plan:
    """A template's resources in an order that keeps every dependency, and what they may be called."""

    items: tuple[Planned, ...]
    names: Names

    def __iter__(self) -> Iterator[Planned]:
        return iter(self.items)


def make_plan(template: Template, scope: Scope, run: Evaluator) -> Plan:
    """The template's resources in an order that keeps every dependency. Raises `TemplateError`.

    A resource depends on what its `dependsOn` names, on what its expressions `reference()` or list keys of, and on
    the resource that it is nested in by name.
    """
    every = (item for raw in template.resources for item in _planned(raw, None, scope, run))
    planned = list(islice(every, MAX_RESOURCES + 1))
    if len(planned) > MAX_RESOURCES:
        raise TemplateError(f"The template has more than {MAX_RESOURCES} resources, which is the most.")
    run.budget.plan(len(planned))
    by_key: dict[str, Planned] = {}
    for item in planned:
        if item.wanted and not item.existing and item.key in by_key:
            raise TemplateError(
                f"The resource '{item.id}' is defined multiple times in a template.", f"{item.path}.name"
            )
        if not item.existing:
            by_key.setdefault(item.key, item)
    names = Names(planned, _loop_names(template))
    ordered = _ordered([_with_dependencies(item, names, by_key, run) for item in planned])
    return Plan(ordered, names)


def body_of(item: Planned, run: Evaluator) -> dict[str, Any]:
    """The resource's document as it is to be put."""
    sent = {name: value for name, value in item.document.items() if name not in _NOT_SENT}
    body: dict[str, Any] = run.value(sent, item.scope, item.path)
    if item.round is not None:
        run.budget.measure(body)
    return {name: value for name, value in body.items() if value is not None}


# Names and ids


def _planned(raw: RawResource, parent: Planned | None, scope: Scope, run: Evaluator) -> Iterator[Planned]:
    """The resource, or with a copy loop one for every round, each followed by those nested in it."""
    copy, where = raw.document.get("copy"), f"{raw.path}.copy"
    if copy is None:
        yield from _with_children(raw, parent, scope, run, None)
        return
    if parent is not None:
        raise TemplateError(
            "A nested resource has no copy loop: write it as a resource of the template itself.", where
        )
    name = copy.get("name") if isinstance(copy, dict) else None
    if not isinstance(name, str) or not name or "count" not in copy:
        raise TemplateError("The copy loop of a resource has 'name' and 'count'.", where)
    batch = _batch(copy, scope, run, where)
    for index, inner in enumerate(run.rounds(copy["count"], name, scope, where, own=True)):
        yield from _with_children(raw, None, inner, run, Round(name, index, batch))


def _batch(copy: Mapping[str, Any], scope: Scope, run: Evaluator, where: str) -> int | None:
    mode = run.value(copy.get("mode", "parallel"), scope, f"{where}.mode")
    size = run.value(copy.get("batchSize", 1), scope, f"{where}.batchSize")
    if not isinstance(mode, str) or mode.lower() not in ("parallel", "serial"):
        raise TemplateError("The mode of a copy loop is parallel or serial.", f"{where}.mode")
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise TemplateError("The batchSize of a copy loop is a whole number from 1 on.", f"{where}.batchSize")
    return size if mode.lower() == "serial" else None


def _with_children(
    raw: RawResource, parent: Planned | None, scope: Scope, run: Evaluator, place: Round | None
) -> Iterator[Planned]:
    item = _one(raw, parent, scope, run, place)
    yield item
    for child in children(raw):
        yield from _planned(child, item, scope, run)


def _one(
    raw: RawResource, parent: Planned | None, scope: Scope, run: Evaluator, place: Round | None
) -> Planned:
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
    subscription, group = text("subscriptionId"), text("resourceGroup")
    root = _root(kind, text("scope"), subscription, group, run.place)
    item = Planned(
        raw.path,
        raw.symbol if place is None or raw.symbol is None else f"{raw.symbol}[{place.index}]",
        _resource_id(root, kind, name, raw.path),
        kind,
        name,
        version,
        condition and (parent is None or parent.wanted),
        document.get("existing") is True,
        document,
        scope,
        subscription,
        group,
        place,
    )
    if item.is_deployment and item.wanted:
        _check_nested(item)
    return item


def _check_nested(item: Planned) -> None:
    """Raises `TemplateError` for a nested deployment whose template is not in it: before anything is deployed."""
    where = f"{item.path}.properties"
    properties = item.document.get("properties")
    if not isinstance(properties, dict):
        raise TemplateError("A nested deployment has 'properties'.", where)
    for name, cure in _LINKS.items():
        link = properties.get(name)
        if link is not None:
            named = next(
                (one for one in ("uri", "relativePath", "id") if isinstance(link, dict) and one in link), None
            )
            where_to = f" ('{named}': '{shown(link[named])}')" if named else ""
            raise TemplateError(
                f"'{name}'{where_to} is not supported: the server fetches nothing. {cure}", f"{where}.{name}"
            )
    if not isinstance(properties.get("template"), dict):
        raise TemplateError("A nested deployment has its template in 'template'.", f"{where}.template")


def _root(kind: str, scope: str | None, subscription: str | None, group: str | None, place: Place) -> str:
    """The id of what a resource of this type stands in: its `scope`, else its or the deployment's group."""
    root = f"/subscriptions/{subscription or place.subscription['subscriptionId']}"
    if kind.lower() == GROUP:
        return root
    if group is not None:
        root = f"{root}/resourceGroups/{group}"
    elif place.group is not None and subscription is None:
        root = str(place.group["id"])
    if scope is None:
        return root
    return scope.rstrip("/") if scope.startswith("/") else f"{root}/providers/{scope}"


def _resource_id(root: str, kind: str, name: str, path: str) -> str:
    if kind.lower() == GROUP:
        return f"{root}/resourceGroups/{name}"
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


class Names:
    """Everything by which a template may name its own resources: symbols first, then ids, types, names, loops."""

    def __init__(self, planned: Sequence[Planned], loops: Sequence[str]) -> None:
        self._found: dict[str, Planned] = {}
        self._loops: dict[str, list[Planned]] = {_plain(name): [] for name in loops}
        for names in (_symbol, _id, _group_id, _typed_name, _bare_name):
            for item in planned:
                name = names(item)
                if name is not None:
                    self._found.setdefault(_plain(name), item)
        for item in planned:
            if item.round is not None:
                symbol = (item.symbol or "").rpartition("[")[0]
                for name in {_plain(item.round.loop), _plain(symbol)} - {""}:
                    self._loops.setdefault(name, []).append(item)

    def find(self, text: str) -> Planned | None:
        """The resource that a symbolic name, an id or a name means; None when it is none of the template's."""
        return self._found.get(_plain(text))

    def loop(self, text: str) -> Sequence[Planned] | None:
        """The resources of a copy loop by its name or symbolic name, in their order; None when there is no such."""
        return self._loops.get(_plain(text))

    def every(self, text: str) -> Sequence[Planned] | None:
        """What a `dependsOn` means: a resource, or all of a copy loop."""
        found = self.find(text)
        return self.loop(text) if found is None else (found,)


def _plain(name: str) -> str:
    return name.lower().strip("/")


def _symbol(item: Planned) -> str | None:
    return item.symbol


def _id(item: Planned) -> str:
    return item.id


def _group_id(item: Planned) -> str | None:
    """A resource group as `resourceId()` of a deployment to a subscription names it."""
    if item.type.lower() != GROUP:
        return None
    return f"{item.id.rpartition('/resourceGroups/')[0]}/providers/{item.type}/{item.name}"


def _typed_name(item: Planned) -> str:
    return f"{item.type}/{item.name}"


def _bare_name(item: Planned) -> str:
    return item.name


def _loop_names(template: Template) -> list[str]:
    """The names of all copy loops of resources, those without a round too."""
    found: list[str] = []
    for raw in template.resources:
        copy = raw.document.get("copy")
        if isinstance(copy, dict):
            found += [name for name in (copy.get("name"), raw.symbol) if isinstance(name, str)]
    return found


# Dependencies


def _with_dependencies(item: Planned, names: Names, by_key: Mapping[str, Planned], run: Evaluator) -> Planned:
    found: set[str] = set()
    listed = run.value(item.document.get("dependsOn") or [], item.scope, f"{item.path}.dependsOn")
    for place, text in enumerate(listed if isinstance(listed, list) else [listed]):
        where = f"{item.path}.dependsOn[{place}]"
        if not isinstance(text, str):
            raise TemplateError("'dependsOn' is an array of names or ids.", where)
        others = names.every(text)
        if others is None:
            raise TemplateError(
                f"The resource '{shown(text)}' is not defined in the template: 'dependsOn' names resources of the "
                "same template.",
                where,
            )
        found |= {other.key for other in others}
    for text in _referenced(item, run):
        found |= {other.key for other in names.every(text) or ()}
    found |= _batch_before(item, names)
    head = item.key.rpartition("/")[0].rpartition("/")[0]
    while head.count("/") > 1:
        if head in by_key:
            found.add(head)
        head = head.rpartition("/")[0]
    kept = frozenset(key for key in found if key in by_key and not (item.existing and key == item.key))
    return replace(item, depends=kept)


def _batch_before(item: Planned, names: Names) -> set[str]:
    """What a round of a serial loop waits for."""
    if item.round is None or item.round.batch is None:
        return set()
    size = item.round.batch
    start = item.round.index // size * size
    loop = names.loop(item.round.loop) or ()
    return {other.key for other in loop if other.round and start - size <= other.round.index < start}


def _referenced(item: Planned, run: Evaluator) -> Iterator[str]:
    """What the resource's expressions ask the state of, as far as it is known ahead."""
    skipped = ("template",) if _has_own_scope(item) else ()
    left_out = ("dependsOn", "resources", "copy")
    pending: list[tuple[Any, Scope]] = [
        (value, item.scope) for name, value in item.document.items() if name not in left_out
    ]
    while pending:
        value, scope = pending.pop()
        if isinstance(value, dict):
            inside = without_loops(value, item.path).items()
            pending += [(inner, scope) for name, inner in inside if name not in skipped]
        elif isinstance(value, list):
            pending += [(inner, scope) for inner in value]
        elif isinstance(value, Loop):
            pending += [(value.item, inner) for inner in _rounds_ahead(value, scope, run)]
        elif is_expression(value):
            yield from _asked_in(parse(value), scope, run)


def _rounds_ahead(loop: Loop, scope: Scope, run: Evaluator) -> list[Scope]:
    try:
        return list(run.rounds(loop.count, loop.name, scope, loop.name, own=False))
    except TemplateError:
        return []  # Its count is wrong, which is told when the resource's turn comes.


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
    if node.arguments and (name in ("reference", "references") or name.startswith("list")):
        try:
            text = run.node(node.arguments[0], scope)
        except TemplateError:
            return  # It asks for something that only the deployment knows; the order cannot follow from it.
        if isinstance(text, str):
            yield text


def _ordered(planned: Sequence[Planned]) -> tuple[Planned, ...]:
    """The template's own order as far as dependencies allow; of what may come next, rules come last.

    A rule is checked against its tables, which templates often forget to name as what it depends on.
    """
    done: set[str] = set()
    known = {item.key for item in planned if not item.existing}
    waiting, result = list(planned), []
    while waiting:
        able = [item for item in waiting if not (item.depends & known) - done]
        ready = next((item for item in able if item.type.lower() != _RULE), able[0] if able else None)
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
