"""Routes that match an address in every way in which clients are known to write it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from starlette.routing import Match, Route
from starlette.types import Scope

_SLASHES = re.compile(r"/{2,}")


class AnyCaseRoute(Route):
    """A route whose path matches in any letter case, with slashes doubled, and with one more at its end."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        self.path_regex = re.compile(self.path_regex.pattern, re.IGNORECASE)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """See `Route.matches`. What a parameter takes has no doubled slashes either."""
        path: str = scope["path"]
        if "//" in path or path.endswith("/"):
            # Before the pattern and not in it: a pattern for any number of slashes takes ages on many.
            scope = {**scope, "path": _SLASHES.sub("/", path).rstrip("/") or "/"}
        return super().matches(scope)
