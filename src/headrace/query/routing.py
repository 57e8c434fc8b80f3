"""Paths as the query surfaces take them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def any_case_route(path: str, endpoint: Callable[[Request], Awaitable[Response]], *methods: str) -> Route:
    """A route whose path matches in any letter case, and with slashes doubled around its version."""
    route = Route(path, endpoint, methods=methods)
    pattern = re.sub(r"^\^/(v\d)/", r"^/+\1/+", route.path_regex.pattern)
    route.path_regex = re.compile(pattern, re.IGNORECASE)
    return route
