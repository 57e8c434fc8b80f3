"""Client assertions: a JWT by which an app proves that it holds the key of one of its certificates."""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections.abc import Callable

from headrace.clock import SECOND
from headrace.identity.apps import Registration, StoredCertificate
from headrace.identity.errors import SignInError, quoted
from headrace.identity.tokens import SKEW_SECONDS, MalformedTokenError, UnverifiedToken, read_token

TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ALGORITHMS = ("RS256", "PS256")
LONGEST_SECONDS = 600
# Clients round the two ends of the span each on their own.
_ROUNDING_SECONDS = 5


class UseCounter:
    """Bounds how often one assertion is taken. Thread-safe, and bounded itself.

    Clients do use an assertion for several resources while it lives; one that was overheard must not be
    good for ever more. When very many are alive at once, the ones that end first are forgotten.
    """

    def __init__(self, most_uses: int = 100, most_remembered: int = 20_000) -> None:
        self._most_uses = most_uses
        self._most = most_remembered
        self._lock = threading.Lock()
        self._uses: dict[bytes, tuple[float, int]] = {}

    def use(self, identifier: bytes, expires: float, now: float) -> bool:
        """Count one use; False when there were too many. Times in seconds."""
        with self._lock:
            _, uses = self._uses.get(identifier, (expires, 0))
            if uses >= self._most_uses:
                return False
            self._uses[identifier] = (expires, uses + 1)
            if len(self._uses) > self._most:
                self._forget(now)
            return True

    def _forget(self, now: float) -> None:
        self._uses = {key: value for key, value in self._uses.items() if value[0] > now}
        if len(self._uses) > self._most:
            latest = sorted(self._uses.items(), key=lambda item: item[1][0])[-self._most // 2 :]
            self._uses = dict(latest)


def read_assertion(text: str) -> UnverifiedToken:
    """The parts of a client assertion. Raises `SignInError` 50027."""
    try:
        return read_token(text)
    except MalformedTokenError as error:
        raise SignInError(50027, f"The client assertion is malformed: {error}.") from error


def check_assertion(
    token: UnverifiedToken,
    app: Registration,
    is_own_endpoint: Callable[[str], bool],
    uses: UseCounter,
    now: int,
) -> None:
    """Raise `SignInError` unless the assertion is good.

    That is: signed by RS256 or PS256 with a current certificate of the app, which the header names by `x5t`
    or `x5t#S256`; `iss` = `sub` = the client id; `aud` a token endpoint of ours; `exp` ahead and at most ten
    minutes after `nbf` or `iat` (whole seconds or fractions). `now` is UTC microseconds.
    """
    _check_parties(token, app, is_own_endpoint)
    certificate = _certificate(token, app)
    if certificate is None:
        raise _not_recognised(app, "the key was not found by the thumbprint in the header")
    if not certificate.starts <= now < certificate.ends:
        raise _not_recognised(app, "the certificate is outside its validity period")
    if not token.signed_by(certificate.public, ALGORITHMS):
        raise _not_recognised(app, "the key was found, but the signature does not fit it by RS256 or PS256")
    expires = _check_times(token, now / SECOND)
    identifier = hashlib.sha256(
        f"{app.app_id}\0{token.claims.get('jti', token.signed)}".encode("utf-8", "surrogatepass")
    ).digest()
    if not uses.use(identifier, expires, now / SECOND):
        raise SignInError(700024, "The client assertion has been used too often: sign a new one.")


def _check_parties(token: UnverifiedToken, app: Registration, is_own_endpoint: Callable[[str], bool]) -> None:
    issuer, subject, audience = token.text("iss"), token.text("sub"), token.claims.get("aud")
    if issuer is None or subject is None or {issuer.lower(), subject.lower()} != {app.app_id}:
        raise SignInError(
            700021, f"The client assertion's 'iss' and 'sub' must both be the client id '{app.app_id}'."
        )
    candidates = audience if isinstance(audience, list) else [audience]
    if len(candidates) > 10 or not any(
        isinstance(candidate, str) and is_own_endpoint(candidate) for candidate in candidates
    ):
        raise SignInError(
            700023, "The client assertion's 'aud' must be the address of this server's token endpoint."
        )


def _certificate(token: UnverifiedToken, app: Registration) -> StoredCertificate | None:
    sha1, sha256 = token.header.get("x5t"), token.header.get("x5t#S256")
    if sha1 is None and sha256 is None:
        return None
    for certificate in app.certificates:
        if _same(sha1, certificate.sha1) and _same(sha256, certificate.sha256):
            return certificate
    return None


def _same(thumbprint: object, expected: str) -> bool:
    if thumbprint is None:
        return True
    if not isinstance(thumbprint, str):
        return False
    # Some clients pad, some use the alphabet of plain base64.
    normal = thumbprint.rstrip("=").replace("+", "-").replace("/", "_")
    return hmac.compare_digest(normal.encode("utf-8", "surrogatepass"), expected.encode())


def _check_times(token: UnverifiedToken, now: float) -> float:
    expires = token.time("exp")
    starts = [time for time in (token.time("nbf"), token.time("iat")) if time is not None]
    if expires is None or any(name in token.claims and token.time(name) is None for name in ("nbf", "iat")):
        raise SignInError(700024, "The client assertion needs 'exp', and 'nbf' or 'iat', in seconds.")
    if expires + SKEW_SECONDS <= now or any(start > now + SKEW_SECONDS for start in starts):
        raise SignInError(
            700024, "The client assertion is not within its valid time range: check the clock of the client."
        )
    start = min(starts, default=now)
    if expires - start > LONGEST_SECONDS + _ROUNDING_SECONDS:
        raise SignInError(700024, f"The client assertion is valid for longer than {LONGEST_SECONDS} seconds.")
    return expires + SKEW_SECONDS


def _not_recognised(app: Registration, reason: str) -> SignInError:
    return SignInError(
        700027,
        f"The certificate used to sign the client assertion is not registered on application '{app.app_id}'"
        f" or does not fit: {reason}. Expected thumbprints (x5t):"
        f" {', '.join(quoted(certificate.sha1) for certificate in app.certificates) or 'none'}.",
    )
