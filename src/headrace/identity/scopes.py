"""Scopes: resource ids as places where roles are assigned, each counting for itself and everything below it."""

from __future__ import annotations

ROOT = ""
"""The key of the root scope `/`."""


def scope_key(scope: str) -> str:
    """The form in which scopes are compared: lower case, no trailing or doubled slash; the root is empty."""
    key = scope.lower().rstrip("/")
    while "//" in key:
        key = key.replace("//", "/")
    return key if not key or key.startswith("/") else f"/{key}"


def ancestors(key: str) -> list[str]:
    """The scope key itself and those of all scopes above it, the root (an empty text) last."""
    result = [key]
    while key:
        key = key[: key.rfind("/")]
        result.append(key)
    return result


def covers(key: str, other: str) -> bool:
    """Whether the scope of the key `key` is the scope of `other` or one above it."""
    return not key or key == other or other.startswith(f"{key}/")


def root_group(tenant: str) -> str:
    """The key of the tenant's root management group, which holds every subscription: it stands for the root."""
    return f"/providers/microsoft.management/managementgroups/{tenant}"
