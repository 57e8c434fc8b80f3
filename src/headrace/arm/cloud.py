"""`GET /metadata/endpoints`: what this cloud is made of, for `az cloud register` and Terraform. Needs no token."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from headrace.wire.addresses import Addresses
from headrace.wire.problems import HttpError, error_response, json_response
from headrace.wire.targets import query_value
from headrace.wire.versions import require_arm_version

PATH = "/metadata/endpoints"
NAME = "Headrace"
_OBJECT_SINCE = "2022-09-01"
_FIRST = ("1.0", "2015-01-01")


def cloud_routes(addresses: Addresses, tenant: Callable[[], str]) -> list[BaseRoute]:
    """The address of the cloud's description. `tenant` answers the tenant's id."""

    async def answer(request: Request) -> Response:
        base = addresses.base(request.headers.get("host"))
        version = query_value(request.scope.get("query_string", b""), "api-version")
        if version in _FIRST:
            return json_response(_first_document(base))
        try:
            asked = require_arm_version(version)
        except HttpError as error:
            return error_response(error)
        document = cloud_document(base, tenant())
        return json_response(document if asked >= _OBJECT_SINCE else [document])

    return [_CloudRoute(PATH, answer, methods=["GET"])]


class _CloudRoute(Route):
    """Matches its path in any letter case and with doubled slashes."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http":
            return Match.NONE, {}
        path = "/" + "/".join(part for part in scope["path"].lower().split("/") if part)
        return super().matches({**scope, "path": path})


def cloud_document(base: str, tenant: str) -> dict[str, Any]:
    """The cloud as one object. Every address is this server's own: nothing leads a client elsewhere.

    `audiences[0]` becomes the resource of the Azure CLI's management tokens.
    """
    host = urlsplit(base).hostname or "localhost"
    return {
        "name": NAME,
        "portal": base,
        "authentication": {
            "loginEndpoint": base,
            "audiences": [base, "https://management.azure.com", "https://management.core.windows.net"],
            "tenant": tenant,
            "identityProvider": "AAD",
        },
        "resourceManager": base,
        "graph": base,
        "graphAudience": base,
        "microsoftGraphResourceId": base,
        "logAnalyticsResourceId": base,
        "media": base,
        "batch": base,
        "sqlManagement": base,
        "gallery": base,
        "activeDirectoryDataLake": base,
        "vmImageAliasDoc": base,
        "suffixes": {"storage": host, "keyVaultDns": f"vault.{host}"},
    }


def _first_document(base: str) -> dict[str, Any]:
    """The description's first form, which some older clients ask for by `api-version=1.0`."""
    return {
        "galleryEndpoint": base,
        "graphEndpoint": base,
        "portalEndpoint": base,
        "authentication": {"loginEndpoint": base, "audiences": [base]},
    }
