"""Tokens that a server never issued: signed by its own key with other claims, by another key, or not at all."""

from __future__ import annotations

import base64
import json
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.server.kit import INGEST_SCOPE, Api


def data_folder(api: Api) -> Path:
    return Path(api.env["HEADRACE_CA_FILE"]).parent.parent


class Forger:
    """Makes variants of a good token of the server."""

    def __init__(self, api: Api) -> None:
        self.good = api.token(INGEST_SCOPE)
        self.header: dict[str, Any] = jwt.get_unverified_header(self.good)
        self.claims: dict[str, Any] = jwt.decode(self.good, options={"verify_signature": False})
        connection = sqlite3.connect(data_folder(api) / "store.db")
        try:
            query = "SELECT private_pem FROM identity_signing_key WHERE kid = ?"
            (self._pem,) = connection.execute(query, (self.header["kid"],)).fetchone()
        finally:
            connection.close()

    def signed(self, **claims: Any) -> str:
        """By the server's own key."""
        return jwt.encode(self._with(claims), self._pem, "RS256", headers={"kid": self.header["kid"]})

    def without(self, claim: str) -> str:
        left = {name: value for name, value in self.claims.items() if name != claim}
        return jwt.encode(left, self._pem, "RS256", headers={"kid": self.header["kid"]})

    def expired(self) -> str:
        now = int(time.time())
        return self.signed(iat=now - 7200, nbf=now - 7200, exp=now - 60)

    def by_another_key(self) -> str:
        other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        return jwt.encode(self.claims, other, "RS256", headers={"kid": self.header["kid"]})

    def by_public_key_as_secret(self) -> str:
        """HS256 with what everybody knows."""
        kid = self.header["kid"]
        return jwt.encode(self.claims, kid.encode() * 4, "HS256", headers={"kid": kid})

    def unsigned(self) -> str:
        return f"{_part({**self.header, 'alg': 'none'})}.{_part(self.claims)}."

    def altered(self) -> str:
        """Another principal's id under the good token's signature."""
        head, _, signature = self.good.split(".")
        return f"{head}.{_part(self._with({'oid': 'f' * 8 + self.claims['oid'][8:]}))}.{signature}"

    def _with(self, claims: Mapping[str, Any]) -> dict[str, Any]:
        return {**self.claims, **claims}


def _part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
