from __future__ import annotations

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from headrace.wire.routing import AnyCaseRoute


async def _nothing(_request: Request) -> Response:
    return Response()


ROUTE = AnyCaseRoute("/V1/{name:path}/query", _nothing, methods=["POST"])


def _match(path: str) -> tuple[Match, str | None]:
    found, scope = ROUTE.matches({"type": "http", "method": "POST", "path": path, "headers": []})
    return found, scope.get("path_params", {}).get("name")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/V1/a/query", "a"),
        ("/v1/A/Query", "A"),
        ("//v1///a//b/query", "a/b"),
        ("/v1/a/query/", "a"),
        ("/v1/a/query//", "a"),
    ],
)
def test_a_path_matches_as_clients_write_it(path: str, name: str) -> None:
    assert _match(path) == (Match.FULL, name)


@pytest.mark.parametrize(
    "path", ["/", "/v1/query", "/v1/a/query/x", "/v1" + "/" * 20_000, "/v1/" + "a/" * 10_000]
)
def test_another_path_does_not(path: str) -> None:
    assert _match(path) == (Match.NONE, None)
