"""Bearer tokens: the check that every request passes, quick enough for the ingestion path.

Only the verification of a signature is remembered, by the token's exact text. Whether the key still counts,
whether the app is still enabled, and the times are looked at on each request.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

from headrace.clock import SECOND, Clock, iso
from headrace.identity.access import Access
from headrace.identity.model import INGESTION, Caller, Surface, TokenError, accepts
from headrace.identity.outside import OutsideIssuers, effective
from headrace.identity.tokens import (
    MOST_TOKEN_BYTES,
    SKEW_SECONDS,
    MalformedTokenError,
    UnverifiedToken,
    issuer_of,
    read_token,
)
from headrace.store.live import LiveView
from headrace.wire.addresses import Addresses

MOST_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class _Verified:
    """`user` and `mapped` are of tokens of outside issuers."""

    caller: Caller
    kid: str
    not_before: float
    user: bool = False
    mapped: bool = False


class TokenVerifier:
    """Turns an Authorization header into the `Caller` that a surface may trust. Thread-safe.

    `addresses` names this server; tokens for its own base addresses are taken on every surface. `outside` verifies
    the tokens of trusted outside issuers, if there are any.
    """

    def __init__(
        self,
        view: LiveView[Access],
        addresses: Addresses,
        clock: Clock,
        *,
        outside: OutsideIssuers | None = None,
        most_remembered: int = MOST_REMEMBERED,
    ) -> None:
        self._view = view
        self._outside = outside
        self._addresses = addresses
        self._clock = clock
        self._most = most_remembered
        self._lock = threading.Lock()
        self._remembered: OrderedDict[str, _Verified] = OrderedDict()
        self._accepted: dict[tuple[str, str], bool] = {}

    def verify(self, authorization_header: str | None, surface: Surface) -> Caller:
        """Who makes the request. Raises `TokenError`, whose `kind` and `message` say why not.

        Checks in order: header, form, signature by a current key, issuer and tenant, times (`nbf` may lie
        five minutes ahead, `exp` not behind), audience, no user's token, an enabled service principal.
        """
        if not authorization_header:
            raise TokenError("missing", "The 'Authorization' header is missing.")
        scheme, _, token = authorization_header.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise TokenError("invalid", "The 'Authorization' header is not of the form 'Bearer {token}'.")
        if len(token) > MOST_TOKEN_BYTES:
            raise TokenError("invalid", f"The access token is longer than {MOST_TOKEN_BYTES} bytes.")
        access = self._view.current
        verified = self._recall(access, token) or self._verify(access, token)
        self._check_times(verified)
        caller = verified.caller
        if caller.issuer is not None:
            return self._outsider(access, verified, surface)
        if not self._accepts(surface, caller.audience):
            raise _wrong_audience(caller, surface)
        if access.principals.get(caller.object_id) != caller.app_id:
            raise TokenError(
                "principal",
                f"The application '{caller.app_id}' has been disabled or deleted.",
            )
        return caller

    def _recall(self, access: Access, token: str) -> _Verified | None:
        with self._lock:
            verified = self._remembered.get(token)
            if verified is None:
                return None
            if not self._still_signed(access, verified):
                del self._remembered[token]
                return None
            self._remembered.move_to_end(token)
            return verified

    def _still_signed(self, access: Access, verified: _Verified) -> bool:
        issuer = verified.caller.issuer
        if issuer is not None:
            return self._outside is not None and self._outside.holds(issuer, verified.kid)
        return verified.kid in access.keys and verified.caller.tenant == access.tenant

    def _outsider(self, access: Access, verified: _Verified, surface: Surface) -> Caller:
        caller = verified.caller
        if self._outside is None or not self._outside.accepts(caller, surface):
            raise _wrong_audience(caller, surface)
        if verified.user and surface is INGESTION:
            raise TokenError("delegated", "The access token was issued to a user: only apps may send.")
        return effective(caller, access, mapped=verified.mapped)

    def _verify(self, access: Access, token: str) -> _Verified:
        try:
            unverified = read_token(token)
        except MalformedTokenError as error:
            raise TokenError("invalid", f"The access token is malformed: {error}.") from error
        if self._outside is not None and self._outside.trusts(unverified.text("iss")):
            found = self._outside.verify(unverified, access)
            verified = _Verified(found.caller, found.kid, found.not_before, found.user, found.mapped)
            if verified.caller.expires > self._clock.now() // SECOND:
                self._remember(token, verified)
            return verified
        kid = unverified.header.get("kid")
        key = access.keys.get(kid) if isinstance(kid, str) else None
        if key is None or not isinstance(kid, str):
            raise TokenError("invalid", "The access token was not signed with a key of this server.")
        if unverified.header.get("alg") != "RS256" or unverified.header.get("crit") is not None:
            raise TokenError("invalid", "The access token is not signed by RS256.")
        if not unverified.signed_by(key, ("RS256",)):
            raise TokenError("invalid", "The signature of the access token is wrong.")
        verified = _claims(unverified, kid, access)
        if verified.caller.expires > self._clock.now() // SECOND:
            self._remember(token, verified)
        return verified

    def _remember(self, token: str, verified: _Verified) -> None:
        with self._lock:
            self._remembered[token] = verified
            while len(self._remembered) > self._most:
                self._remembered.popitem(last=False)

    def _check_times(self, verified: _Verified) -> None:
        now = self._clock.now()
        if verified.caller.expires * SECOND <= now:
            raise TokenError(
                "expired",
                "The access token expiry UTC time '"
                f"{iso(verified.caller.expires * SECOND)}' is earlier than current UTC time '{iso(now)}'.",
            )
        if verified.not_before * SECOND > now + SKEW_SECONDS * SECOND:
            raise TokenError("expired", "The access token is not valid yet.")

    def _accepts(self, surface: Surface, audience: str) -> bool:
        # Only audiences of verified tokens come here, but apps choose them: the memory stays bounded.
        known = self._accepted.get((surface.name, audience))
        if known is None:
            known = accepts(surface, audience, self._addresses)
            if len(self._accepted) < 256:
                self._accepted[surface.name, audience] = known
        return known


def _wrong_audience(caller: Caller, surface: Surface) -> TokenError:
    return TokenError(
        "audience",
        f"The access token is for the audience '{caller.audience[:200]}', which the {surface.name}"
        " surface does not take.",
    )


def _claims(token: UnverifiedToken, kid: str, access: Access) -> _Verified:
    texts = [token.text(name) for name in ("oid", "appid", "tid", "aud", "iss")]
    expires, not_before = token.time("exp"), token.time("nbf")
    if expires is None or not_before is None or any(text is None for text in texts):
        raise TokenError("invalid", "The access token lacks a claim that it needs.")
    object_id, app_id, tenant, audience, issuer = (text or "" for text in texts)
    if not access.tenant or tenant != access.tenant or issuer != issuer_of(access.tenant):
        raise TokenError(
            "tenant",
            f"The access token is from another tenant's issuer: '{issuer[:200]}'.",
        )
    if "scp" in token.claims:
        raise TokenError("delegated", "The access token was issued to a user: only apps' tokens are taken.")
    return _Verified(Caller(object_id, app_id, tenant, audience, int(expires)), kid, not_before)
