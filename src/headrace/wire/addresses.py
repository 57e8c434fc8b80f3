"""The addresses that answers carry. They are never stored: each is built when it is asked for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Addresses:
    """How this server is reached: `public_url` if set, else the request's Host if the certificate names it.

    `hosts` are the host names in the certificate, lower-case; `default` is the base address otherwise.
    Base addresses have no trailing slash.
    """

    default: str
    hosts: Collection[str] = ()
    public_url: str | None = None

    def base(self, host: str | None) -> str:
        """The base address for a request with this Host header."""
        if self.public_url:
            return self.public_url.rstrip("/")
        if host and self._name(host) in self.hosts:
            return f"https://{host.lower()}"
        return self.default.rstrip("/")

    def authority(self, host: str | None, tenant: str) -> str:
        """Where the tenant's tokens come from, for a request with this Host header."""
        return f"{self.base(host)}/{tenant}"

    @staticmethod
    def _name(host: str) -> str:
        lowered = host.lower()
        if lowered.startswith("["):
            return lowered[1:].partition("]")[0]
        return lowered.partition(":")[0]
