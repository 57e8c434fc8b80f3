"""What can be done with each resource type, as lists of operations: for custom roles, and for clients that look.

Mirrors `/providers/{namespace}/operations` and Microsoft.Authorization/providerOperations.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from headrace.arm.ids import PROVIDER_OPERATION_TYPE
from headrace.arm.kinds.base import Kind, has
from headrace.arm.model import Answer, Call
from headrace.identity.roles import DATA_ACTION_NAMES
from headrace.wire.problems import http_error

_VERBS = (("read", ("get", "list", "ask")), ("write", ("put", "patch")), ("delete", ("delete",)))


class Operations(Kind):
    """`/providers/{namespace}/operations`: those of one provider. Everybody may read them."""

    def __init__(self, namespace: str, kinds: Iterable[Kind]) -> None:
        self.type = f"{namespace}/operations"
        self._namespace = namespace
        self._kinds = tuple(kinds)

    def list(self, call: Call) -> Answer:
        """GET of all operations."""
        shown = []
        for name, is_data in _operations(self._namespace, self._kinds):
            resource, _, verb = name.partition("/")[2].rpartition("/")
            display = {
                "provider": self._namespace,
                "resource": resource,
                "operation": verb,
                "description": name,
            }
            shown.append({"name": name, "isDataAction": is_data, "display": display})
        return Answer(200, {"value": shown})


class ProviderOperations(Kind):
    """Microsoft.Authorization/providerOperations: the same of all providers, by resource type."""

    type = PROVIDER_OPERATION_TYPE

    def __init__(self, kinds: Iterable[Kind]) -> None:
        by_name = sorted(kinds, key=lambda kind: kind.type)
        self._kinds = {name: tuple(group) for name, group in groupby(by_name, _namespace)}

    def get(self, call: Call) -> Answer:
        """GET of one provider's."""
        found = next((name for name in self._kinds if name.lower() == call.target.name.lower()), None)
        if found is None:
            message = (
                f"Provider '{call.target.name[:100]}' was not found: there are {', '.join(self._kinds)}."
            )
            raise http_error(404, "ProviderNotFound", message)
        return Answer(200, self._document(found))

    def list(self, call: Call) -> Answer:
        """GET of all."""
        return Answer(200, {"value": [self._document(name) for name in self._kinds]})

    def _document(self, namespace: str) -> dict[str, Any]:
        types: dict[str, list[dict[str, Any]]] = {}
        for name, is_data in _operations(namespace, self._kinds[namespace]):
            resource = name.partition("/")[2].rpartition("/")[0]
            types.setdefault(resource, []).append(
                {"name": name, "displayName": name, "description": name, "isDataAction": is_data}
            )
        return {
            "id": f"/providers/{PROVIDER_OPERATION_TYPE}/{namespace}",
            "type": PROVIDER_OPERATION_TYPE,
            "name": namespace,
            "displayName": namespace,
            "resourceTypes": [
                {"name": name, "displayName": name, "operations": operations}
                for name, operations in types.items()
            ],
            "operations": [],
        }


def _namespace(kind: Kind) -> str:
    return kind.type.partition("/")[0]


def _operations(namespace: str, kinds: Iterable[Kind]) -> Iterator[tuple[str, bool]]:
    """The names of a provider's operations, and whether each is a data action."""
    for kind in kinds:
        for verb, methods in _VERBS:
            if any(has(kind, method) for method in methods):
                yield f"{kind.type}/{verb}", False
        for action in sorted(kind.actions):
            yield f"{kind.type}/{action}/action", False
    for name in DATA_ACTION_NAMES:
        if name.startswith(f"{namespace}/"):
            yield name, True
