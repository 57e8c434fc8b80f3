"""Resource providers of a subscription: always registered. Mirrors Microsoft.Resources, providers."""

from __future__ import annotations

from typing import Any

from headrace.arm.ids import PROVIDER_TYPE
from headrace.arm.kinds.base import Kind, require_scope
from headrace.arm.kinds.subscriptions import locations_in_use
from headrace.arm.model import Answer, Call
from headrace.arm.versions import listed_versions
from headrace.wire.problems import http_error


class Providers(Kind):
    """Microsoft.Resources/providers: what this server has resource types of."""

    type = PROVIDER_TYPE
    actions = frozenset({"register", "unregister"})

    def __init__(self, types: tuple[str, ...]) -> None:
        self._types: dict[str, list[str]] = {}
        for name in sorted(set(types)):
            namespace, _, inner = name.partition("/")
            self._types.setdefault(namespace, []).append(inner)

    def get(self, call: Call) -> Answer:
        """GET of a provider."""
        require_scope(call)
        return Answer(200, self._document(call, self._known(call.target.name)))

    def list(self, call: Call) -> Answer:
        """GET of all providers."""
        require_scope(call)
        return Answer(200, {"value": [self._document(call, namespace) for namespace in self._types]})

    def post(self, call: Call) -> Answer:
        """POST `register` or `unregister`: the provider, registered as ever."""
        return self.get(call)

    def _known(self, name: str) -> str:
        for namespace in self._types:
            if namespace.lower() == name.lower():
                return namespace
        raise http_error(
            404,
            "InvalidResourceNamespace",
            f"The resource namespace '{name[:100]}' is invalid: this server has {', '.join(self._types)}.",
        )

    def _document(self, call: Call, namespace: str) -> dict[str, Any]:
        locations = locations_in_use(call)
        return {
            "id": f"{call.target.scope}/providers/{namespace}",
            "namespace": namespace,
            "registrationPolicy": "RegistrationRequired",
            "registrationState": "Registered",
            "resourceTypes": [
                {
                    "resourceType": inner,
                    "locations": locations,
                    "apiVersions": list(reversed(listed_versions(f"{namespace}/{inner}"))),
                    "capabilities": "SupportsTags, SupportsLocation",
                }
                for inner in self._types[namespace]
            ],
        }
