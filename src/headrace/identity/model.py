"""Who calls, and the audiences by which each surface is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from headrace.wire.addresses import Addresses

TokenFault = Literal[
    "missing", "invalid", "expired", "audience", "tenant", "principal", "delegated", "pending"
]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a verified token speaks for.

    `object_id` is the service principal's (what roles are assigned to), `app_id` the client id, both
    lower-case GUIDs. `audience` is the token's `aud` verbatim, `expires` is in UTC seconds. `groups` are the
    ids of groups that it belongs to, `issuer` is the token's issuer when that is not this server itself.
    """

    object_id: str
    app_id: str
    tenant: str
    audience: str
    expires: int
    groups: tuple[str, ...] = ()
    issuer: str | None = None


class TokenError(Exception):
    """A token that does not let its bearer in.

    `kind` says why: `missing` (no Authorization header), `invalid` (not a token of ours, broken, forged),
    `expired` (or not valid yet), `audience` (meant for another surface), `tenant`, `principal` (the app was
    disabled or deleted), `delegated` (a user's token), `pending` (an outside issuer's keys are on their way: it
    is worth trying again). `message` is fit for an answer: it quotes no secret.
    """

    def __init__(self, kind: TokenFault, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


@dataclass(frozen=True, slots=True)
class Surface:
    """A group of calls that share their audiences.

    `audiences` are the public cloud's names, lower-case and without trailing slash; the server's own base
    addresses, with one of `paths` behind, count as well.
    """

    name: str
    audiences: frozenset[str]
    paths: frozenset[str] = frozenset({""})


INGESTION = Surface(
    "ingestion",
    frozenset({"https://monitor.azure.com", "https://monitor.azure.cn", "https://monitor.azure.us"}),
)
ARM = Surface(
    "management",
    frozenset(
        {
            "https://management.azure.com",
            "https://management.core.windows.net",
            "https://management.chinacloudapi.cn",
            "https://management.core.chinacloudapi.cn",
            "https://management.usgovcloudapi.net",
            "https://management.core.usgovcloudapi.net",
            # Where metrics of several resources are asked for.
            "https://metrics.monitor.azure.com",
            "https://metrics.monitor.azure.cn",
            "https://metrics.monitor.azure.us",
            "797f4846-ba00-4fd7-ba43-dac1f8f63013",
        }
    ),
)
QUERY = Surface(
    "query",
    frozenset(
        {
            "https://api.loganalytics.io",
            "https://api.loganalytics.azure.com",
            "https://api.loganalytics.azure.cn",
            "https://api.loganalytics.us",
            "https://api.monitor.azure.com",
            "https://kusto.kusto.windows.net",
            "ca7f3f0b-7d91-482c-8e09-c5d840d0eac5",
        }
    ),
    frozenset({"", "/v1"}),
)
GRAPH = Surface("directory", frozenset({"https://graph.microsoft.com", "https://graph.windows.net"}))

SURFACES = (INGESTION, ARM, QUERY, GRAPH)


def accepts(surface: Surface, audience: str, addresses: Addresses) -> bool:
    """Whether a token with this `aud` may be shown to `surface`. Case and trailing slashes do not matter.

    A base address counts whatever its port, so that tokens outlive a restart on another port.
    """
    bare = audience.lower().rstrip("/")
    if bare in surface.audiences:
        return True
    path = own_path(bare, addresses)
    return path is not None and path in surface.paths


def is_known_resource(audience: str, addresses: Addresses) -> bool:
    """Whether any surface takes tokens with this audience."""
    return any(accepts(surface, audience, addresses) for surface in SURFACES)


def own_path(url: str, addresses: Addresses) -> str | None:
    """The path, without trailing slashes, of an absolute address of this server under any of its names.

    None for another server's address and for anything that is no plain https (or loopback http) address.
    The port is not looked at: a proxy or a restart may change it.
    """
    if not url.isascii() or not url.isprintable() or " " in url:
        return None
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        return None
    if not host or parts.query or parts.fragment or parts.username is not None:
        return None
    if parts.scheme != "https" and not (parts.scheme == "http" and host in _LOOPBACK):
        return None
    if host not in own_hosts(addresses):
        return None
    return parts.path.rstrip("/")


def own_hosts(addresses: Addresses) -> frozenset[str]:
    """The host names, lower-case and without port, under which this server answers."""
    bases = [addresses.default, *([addresses.public_url] if addresses.public_url else [])]
    named = {urlsplit(base).hostname for base in bases}
    return frozenset({host.lower() for host in addresses.hosts} | {host for host in named if host})


_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
