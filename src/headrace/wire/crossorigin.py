"""Browsers' calls from web pages of other origins (CORS), where the settings name those pages."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_SHOWN = (
    "Age",
    "Azure-AsyncOperation",
    "ETag",
    "Location",
    "Retry-After",
    "WWW-Authenticate",
    "x-ms-client-request-id",
    "x-ms-correlation-request-id",
    "x-ms-error-code",
    "x-ms-request-id",
)
"""Headers of answers that the clients' libraries look at."""

_REMEMBERED_SECONDS = 3600


def open_to(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """An application around another, by which pages of `origins` may call it; `*` is every origin.

    Clients send tokens in a header and no cookies, so none are let through. Without origins it is `app` itself.
    """
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=_METHODS,
        allow_headers=["*"],
        expose_headers=_SHOWN,
        max_age=_REMEMBERED_SECONDS,
    )
