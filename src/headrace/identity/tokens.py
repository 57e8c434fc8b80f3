"""Signed tokens: the bounded, strict reading of a JWT, and the access tokens that are issued."""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import jwt
import msgspec
from jwt.algorithms import get_default_algorithms

from headrace.identity.keys import SigningKey, base64url

MOST_TOKEN_BYTES = 16 * 1024
LIFETIME_SECONDS = 3599
SKEW_SECONDS = 300
_ALGORITHMS = get_default_algorithms()


class MalformedTokenError(Exception):
    """The text is no JSON web token that could be read."""


@dataclass(frozen=True, slots=True)
class UnverifiedToken:
    """The parts of a JWT whose signature has not been looked at yet. Trust nothing in it."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    signed: bytes
    signature: bytes

    def signed_by(self, key: Any, algorithms: Collection[str]) -> bool:
        """Whether the public `key` signed it by the header's algorithm, which must be one of `algorithms`.

        A token whose header holds critical extensions (`crit`) counts as not signed: none is known here.
        """
        name = self.header.get("alg")
        if not isinstance(name, str) or name not in algorithms or self.header.get("crit") is not None:
            return False
        try:
            return bool(_ALGORITHMS[name].verify(self.signed, key, self.signature))
        except (ValueError, jwt.PyJWTError):
            return False

    def text(self, claim: str) -> str | None:
        """A claim that is a text; None otherwise."""
        value = self.claims.get(claim)
        return value if isinstance(value, str) else None

    def time(self, claim: str) -> float | None:
        """A claim that is a time in seconds since 1970-01-01, whole or not; None when there is none."""
        value = self.claims.get(claim)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e11:
            return None
        return float(value)


def read_token(token: str) -> UnverifiedToken:
    """Take a JWT apart. Raises `MalformedTokenError`; bounded in size and depth."""
    if len(token) > MOST_TOKEN_BYTES:
        raise MalformedTokenError("the token is too long")
    parts = token.split(".")
    if len(parts) != 3:
        raise MalformedTokenError("the token does not have three parts")
    header, claims, signature = (_decoded(part) for part in parts)
    signed = token.rpartition(".")[0].encode("ascii")
    return UnverifiedToken(_object(header), _object(claims), signed, signature)


def _decoded(part: str) -> bytes:
    try:
        raw = part.encode("ascii")
        if raw.endswith(b"="):
            raise MalformedTokenError("the token is padded")
        return base64.b64decode(raw + b"=" * (-len(raw) % 4), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise MalformedTokenError("the token is not base64url") from error


def _object(raw: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise MalformedTokenError("the token does not hold JSON") from error
    if not isinstance(value, dict):
        raise MalformedTokenError("the token does not hold JSON objects")
    return value


def issuer_of(tenant: str) -> str:
    """The `iss` of access tokens: it names the tenant and no address, so tokens outlive a move."""
    return f"https://sts.windows.net/{tenant}/"


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token is issued for. `proof` is "1" for a secret, "2" for a certificate or another's token."""

    tenant: str
    app_id: str
    principal_id: str
    audience: str
    proof: str


def issue(key: SigningKey, grant: Grant, now: int) -> str:
    """A signed access token with the claims of a v1 app token. `now` is UTC seconds."""
    issuer = issuer_of(grant.tenant)
    claims = {
        "aud": grant.audience,
        "iss": issuer,
        "iat": now - SKEW_SECONDS,
        "nbf": now - SKEW_SECONDS,
        "exp": now + LIFETIME_SECONDS,
        "aio": base64url(secrets.token_bytes(24)),
        "appid": grant.app_id,
        "appidacr": grant.proof,
        "idp": issuer,
        "idtyp": "app",
        "oid": grant.principal_id,
        "rh": base64url(secrets.token_bytes(18)),
        "sub": grant.principal_id,
        "tid": grant.tenant,
        "uti": base64url(secrets.token_bytes(16)),
        "ver": "1.0",
    }
    return jwt.encode(claims, key.private, algorithm="RS256", headers={"kid": key.kid, "x5t": key.kid})
