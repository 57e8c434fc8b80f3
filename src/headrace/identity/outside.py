"""Tokens of outside issuers (an Entra tenant, any OpenID Connect issuer), and who their bearers are here."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from headrace.identity.access import Access
from headrace.identity.issuers import IssuerKeys
from headrace.identity.model import SURFACES, Caller, Surface, TokenError, accepts
from headrace.identity.tokens import UnverifiedToken
from headrace.ids import guid_of
from headrace.wire.addresses import Addresses

MOST_GROUPS = 200
LONGEST_CLAIM = 512
_NAMESPACE = uuid.UUID("3f0c1f5e-8f0b-4d1c-9b1e-6a3f6b7f7d21")
_DERIVED_VERSION = 5
"""Of the object ids that follow from issuer and value: no issuer may name one as it is."""


@dataclass(frozen=True, slots=True)
class TrustedIssuer:
    """An issuer whose tokens are taken.

    `audiences` are those that its tokens must have one of; none means the surfaces' own. `principal_claim` names
    the claim that says who it is; `principals` maps its values to object ids. `groups_claim` names the claim
    with the groups. `users` lets tokens in that were issued to users: for management and queries, never to send.
    `raw_ids` takes the values of `oid` as object ids, but for those in `reserved`: only one issuer may do so.
    """

    issuer: str
    audiences: tuple[str, ...] = ()
    principal_claim: str = "oid"
    principals: Mapping[str, str] = field(default_factory=dict)
    groups_claim: str = "groups"
    users: bool = False
    raw_ids: bool = True
    reserved: frozenset[str] = frozenset()

    def object_id(self, value: str) -> str:
        """The object id that roles are assigned to, for a value of the principal claim.

        It is the mapped one; for `oid` with `raw_ids` the value itself, which is an object id; else one that follows
        from issuer and value, so that no issuer can speak for another's principals.
        """
        mapped = self.principals.get(value)
        if mapped is not None:
            return mapped.lower()
        return self._own(value)

    def group_id(self, value: str) -> str:
        """The object id of a group, by the same rule."""
        return self.principals.get(value, "").lower() or self._own(value)

    def _own(self, value: str) -> str:
        guid = guid_of(value) if self.raw_ids and self.principal_claim == "oid" else None
        if guid is None or guid in self.reserved or uuid.UUID(guid).version == _DERIVED_VERSION:
            return str(uuid.uuid5(_NAMESPACE, f"{self.issuer}\0{value}"))
        return guid


@dataclass(frozen=True, slots=True)
class OutsideToken:
    """What a verified token of an outside issuer says."""

    caller: Caller
    kid: str
    not_before: float
    user: bool
    mapped: bool


class OutsideIssuers:
    """Verifies tokens of the trusted issuers. Thread-safe; it never waits for the network."""

    def __init__(self, trusted: Sequence[TrustedIssuer], keys: IssuerKeys, addresses: Addresses) -> None:
        self._trusted = {
            one.issuer: replace(one, reserved=_mapped_by_others(one, trusted)) for one in trusted
        }
        self._keys = keys
        self._addresses = addresses

    def trusts(self, issuer: str | None) -> bool:
        """Whether the issuer's tokens are taken at all."""
        return issuer in self._trusted

    def holds(self, issuer: str, kid: str) -> bool:
        """Whether the key that verified a token still counts."""
        return issuer in self._trusted and self._keys.find(issuer, kid) is not None

    def verify(self, token: UnverifiedToken, access: Access) -> OutsideToken:
        """What a token of a trusted issuer says. Raises `TokenError`.

        Signature, form and audience are checked; times, surface and rights are left to the caller.
        """
        trusted = self._trusted[token.text("iss") or ""]
        kid = token.header.get("kid")
        if not isinstance(kid, str):
            raise TokenError("invalid", "The access token names no key ('kid').")
        key = self._keys.find(trusted.issuer, kid)
        if key is None:
            if self._keys.want(trusted.issuer):
                raise TokenError(
                    "pending",
                    f"The signing keys of '{trusted.issuer}' are being fetched: try again in a second.",
                )
            raise TokenError("invalid", f"The access token's key is none of those of '{trusted.issuer}'.")
        if not key.signed(token):
            raise TokenError("invalid", "The signature of the access token is wrong.")
        return self._read(trusted, token, kid, access)

    def _read(self, trusted: TrustedIssuer, token: UnverifiedToken, kid: str, access: Access) -> OutsideToken:
        expires, not_before = token.time("exp"), token.time("nbf") or token.time("iat")
        value = token.text(trusted.principal_claim)
        if expires is None or not value or len(value) > LONGEST_CLAIM:
            raise TokenError(
                "invalid",
                f"The access token lacks a claim that it needs: 'exp' and '{trusted.principal_claim}'.",
            )
        audience = _audience(trusted, token)
        client = next((token.text(n) for n in ("appid", "azp", "client_id", "sub") if token.text(n)), value)
        caller = Caller(
            trusted.object_id(value),
            str(client)[:LONGEST_CLAIM].lower(),
            access.tenant,
            audience,
            int(expires),
            _groups(trusted, token),
            trusted.issuer,
        )
        user = "scp" in token.claims or token.text("idtyp") == "user"
        if user and not trusted.users:
            raise TokenError(
                "delegated", "The access token was issued to a user: only apps' tokens are taken."
            )
        return OutsideToken(caller, kid, not_before or 0.0, user, value in trusted.principals)

    def accepts(self, caller: Caller, surface: Surface) -> bool:
        """Whether the audience lets the token in at the surface.

        One that is a surface's own counts there alone; another counts everywhere if it is configured.
        """
        if accepts(surface, caller.audience, self._addresses):
            return True
        if any(accepts(one, caller.audience, self._addresses) for one in SURFACES):
            return False
        trusted = self._trusted.get(caller.issuer or "")
        return trusted is not None and caller.audience in trusted.audiences


def effective(caller: Caller, access: Access, *, mapped: bool) -> Caller:
    """The caller without what an outside issuer may not say: that it is, or is led by, an app of this server.

    Only a configured mapping may. Raises `TokenError`.
    """
    if not mapped and caller.object_id in access.principals:
        raise TokenError(
            "principal",
            f"The issuer '{caller.issuer}' may not speak for the app with object id '{caller.object_id}'.",
        )
    if caller.groups and any(group in access.principals for group in caller.groups):
        groups = tuple(group for group in caller.groups if group not in access.principals)
        return replace(caller, groups=groups)
    return caller


def _mapped_by_others(issuer: TrustedIssuer, trusted: Sequence[TrustedIssuer]) -> frozenset[str]:
    """The object ids that the configuration gives to other issuers' principals."""
    others = (one for one in trusted if one.issuer != issuer.issuer)
    return frozenset(value.lower() for one in others for value in one.principals.values())


def _audience(trusted: TrustedIssuer, token: UnverifiedToken) -> str:
    given = token.claims.get("aud")
    listed = [one for one in (given if isinstance(given, list) else [given])[:20] if isinstance(one, str)]
    fitting = [one for one in listed if one in trusted.audiences] if trusted.audiences else listed
    if not fitting:
        raise TokenError(
            "audience",
            f"The access token is for the audience '{', '.join(listed)[:200]}', which is not taken from"
            f" '{trusted.issuer}'.",
        )
    return fitting[0]


def _groups(trusted: TrustedIssuer, token: UnverifiedToken) -> tuple[str, ...]:
    given = token.claims.get(trusted.groups_claim)
    listed = [one for one in given if isinstance(one, str)] if isinstance(given, list) else []
    return tuple(trusted.group_id(one) for one in listed[:MOST_GROUPS] if 0 < len(one) <= LONGEST_CLAIM)
