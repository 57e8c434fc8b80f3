"""`GET /openapi.json`: every address of this server, described by the rooms that answer them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headrace import __version__
from headrace.arm import openapi as arm
from headrace.identity import openapi as identity
from headrace.ingest import openapi as gateway
from headrace.query import openapi as query
from headrace.wire.addresses import Addresses
from headrace.wire.openapi import Operation, describe
from headrace.wire.problems import json_response

PATH = "/openapi.json"


@lru_cache(maxsize=64)
def description(base: str) -> dict[str, Any]:
    """The document, for a server reached at `base`."""
    own = [
        Operation("GET", PATH, "This description", "Health", {200: {"type": "object"}}, secured=False),
        Operation(
            "GET", "/metadata/endpoints", "The cloud, for az cloud register", "Management", {200: {}},
            query=("api-version",), secured=False,
        ),
    ]  # fmt: skip
    operations = [
        *gateway.operations(), *query.operations(), *identity.operations(), *arm.operations(), *own
    ]  # fmt: skip
    return describe(
        "Headrace", __version__, base, operations, {**arm.SCHEMAS, **identity.SCHEMAS, **query.SCHEMAS}
    )


def openapi_route(addresses: Addresses) -> Route:
    """The route of the description; it needs no token."""

    async def answer(request: Request) -> Response:
        return json_response(description(addresses.base(request.headers.get("host"))))

    return Route(PATH, answer, methods=["GET"])
