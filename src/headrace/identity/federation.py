"""Workload identity federation: another issuer's token stands for an app that has a matching credential."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import IntegrityError

from headrace.clock import SECOND, iso
from headrace.errors import Problem, ProblemError
from headrace.identity.errors import SignInError, quoted
from headrace.identity.issuers import IssuerKeys, IssuerUnreachableError, check_address
from headrace.identity.store import app, federated_credential
from headrace.identity.tokens import SKEW_SECONDS, UnverifiedToken
from headrace.ids import new_guid

DEFAULT_AUDIENCE = "api://AzureADTokenExchange"
MOST_CREDENTIALS = 20
LONGEST = 600


@dataclass(frozen=True, slots=True)
class FederatedCredential:
    """Whose tokens stand for the app: those of `issuer` with this `sub` and, among their `aud`, this audience.

    All three are compared exactly, letter case included.
    """

    key_id: str
    name: str
    issuer: str
    subject: str
    audience: str

    def document(self) -> dict[str, Any]:
        """The credential as the admin surface shows it."""
        return {
            "keyId": self.key_id,
            "name": self.name,
            "issuer": self.issuer,
            "subject": self.subject,
            "audiences": [self.audience],
        }


def add_federated(
    connection: Connection,
    app_id: str,
    *,
    name: str,
    issuer: str,
    subject: str,
    audience: str = DEFAULT_AUDIENCE,
    now: int,
) -> FederatedCredential:
    """Let another issuer's tokens stand for the app.

    Raises `ProblemError` (`ResourceNotFound`, `InvalidRequestContent`, `CredentialLimitReached`,
    `CredentialExists`).
    """
    wanted = app_id.lower()
    for field, value in (("name", name), ("issuer", issuer), ("subject", subject), ("audiences", audience)):
        if not 0 < len(value) <= LONGEST or not value.isprintable() or value != value.strip():
            message = f"{field} has 1 to {LONGEST} printable characters."
            raise ProblemError(Problem("InvalidRequestContent", message, target=field))
    try:
        check_address(issuer)
    except IssuerUnreachableError as error:
        raise ProblemError(
            Problem("InvalidRequestContent", f"The issuer cannot be used: {error}.", target="issuer")
        ) from None
    if connection.execute(select(app.c.app_id).where(app.c.app_id == wanted)).first() is None:
        raise ProblemError(Problem("ResourceNotFound", f"There is no app with the id '{app_id[:80]}'."))
    if len(load_federated(connection).get(wanted, ())) >= MOST_CREDENTIALS:
        raise ProblemError(
            Problem("CredentialLimitReached", f"An app has at most {MOST_CREDENTIALS} of these: remove one.")
        )
    made = FederatedCredential(new_guid(), name, issuer, subject, audience)
    try:
        connection.execute(
            insert(federated_credential).values(
                key_id=made.key_id,
                app_id=wanted,
                name=name,
                issuer=issuer,
                subject=subject,
                audience=audience,
                created=now,
            )
        )
    except IntegrityError:
        raise ProblemError(
            Problem(
                "CredentialExists", "The app has a credential of this name, or of this issuer and subject."
            )
        ) from None
    return made


def load_federated(connection: Connection) -> dict[str, tuple[FederatedCredential, ...]]:
    """All federated credentials by their app's client id."""
    found: dict[str, tuple[FederatedCredential, ...]] = {}
    for row in connection.execute(select(federated_credential).order_by(federated_credential.c.name)):
        made = FederatedCredential(row.key_id, row.name, row.issuer, row.subject, row.audience)
        found[row.app_id] = (*found.get(row.app_id, ()), made)
    return found


def is_federated(token: UnverifiedToken) -> bool:
    """Whether a client assertion is another issuer's token and not the app's own."""
    issuer = token.text("iss")
    return issuer is not None and issuer.lower().startswith(("https://", "http://"))


def check_federated(
    token: UnverifiedToken,
    app_id: str,
    credentials: Sequence[FederatedCredential],
    keys: IssuerKeys,
    now: int,
) -> None:
    """Raise `SignInError` unless the token is one that a credential of the app names, and is good.

    May wait some seconds for the issuer's keys. `now` is UTC microseconds.
    """
    credential = _match(token, app_id, credentials)
    kid = token.header.get("kid")
    try:
        key = keys.require(credential.issuer, kid) if isinstance(kid, str) else None
    except IssuerUnreachableError as error:
        raise SignInError(
            50166, f"The keys of the issuer '{quoted(credential.issuer)}' are not known: {error}."
        ) from None
    if key is None or not key.signed(token):
        raise SignInError(
            50013, "The signature of the federated token does not fit a key that its issuer publishes."
        )
    expires, starts = token.time("exp"), token.time("nbf")
    seconds = now / SECOND
    if (
        expires is None
        or expires + SKEW_SECONDS <= seconds
        or (starts is not None and starts > seconds + SKEW_SECONDS)
    ):
        raise SignInError(
            700024,
            f"The federated token is not within its valid time range; the time here is {iso(now)}.",
        )


def _match(
    token: UnverifiedToken, app_id: str, credentials: Sequence[FederatedCredential]
) -> FederatedCredential:
    issuer, subject = token.text("iss") or "", token.text("sub") or ""
    given = token.claims.get("aud")
    audiences = (given if isinstance(given, list) else [given])[:20]
    by_issuer = [one for one in credentials if one.issuer == issuer]
    if not by_issuer:
        raise SignInError(
            700211,
            f"No matching federated identity record found for the presented assertion issuer '{quoted(issuer)}'"
            f" on app '{app_id}'. The comparison is exact.",
        )
    by_subject = [one for one in by_issuer if one.subject == subject]
    if not by_subject:
        raise SignInError(
            700213,
            "No matching federated identity record found for the presented assertion subject"
            f" '{quoted(subject)}' on app '{app_id}'. The comparison is exact.",
        )
    found = next((one for one in by_subject if one.audience in audiences), None)
    if found is None:
        shown = ", ".join(quoted(one) for one in audiences if isinstance(one, str))
        raise SignInError(
            700212,
            f"No matching federated identity record found for the presented assertion audience '{shown}'."
            f" Expected: '{quoted(by_subject[0].audience)}'.",
        )
    return found
