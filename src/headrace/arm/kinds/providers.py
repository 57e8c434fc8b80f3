"""Resource providers, of a subscription or the tenant: always registered. Mirrors Microsoft.Resources, providers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.arm.ids import PROVIDER_TYPE
from headrace.arm.kinds.base import Kind, require_scope
from headrace.arm.kinds.subscriptions import locations_in_use
from headrace.arm.model import Answer, Call
from headrace.arm.versions import listed_versions
from headrace.wire.problems import http_error

_SHOWN = {"Microsoft.Insights": "microsoft.insights"}
"""Namespaces that Azure writes otherwise here than in resource ids; Terraform compares them letter by letter."""


class Providers(Kind):
    """Microsoft.Resources/providers: what this server has resource types of."""

    type = PROVIDER_TYPE
    actions = frozenset({"register", "unregister"})

    def __init__(self, tracked: Mapping[str, bool]) -> None:
        """`tracked` has for each type that there is whether its resources have tags and a location."""
        self._types: dict[str, list[str]] = {}
        self._tracked = tracked
        for name in sorted(tracked):
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
        shown = _SHOWN.get(namespace, namespace)
        return {
            "id": f"{call.target.scope}/providers/{shown}",
            "namespace": shown,
            "registrationPolicy": "RegistrationRequired",
            "registrationState": "Registered",
            "resourceTypes": [
                {
                    "resourceType": inner,
                    "locations": locations,
                    "apiVersions": list(reversed(listed_versions(f"{namespace}/{inner}"))),
                    "capabilities": "SupportsTags, SupportsLocation"
                    if self._tracked[f"{namespace}/{inner}"]
                    else "None",
                }
                for inner in self._types[namespace]
            ],
        }
