"""App registrations with their service principals, secrets and certificates.

An app has three ids that must not be mixed up: `app_id` (the client id), `object_id` (of the registration)
and `principal_id` (the service principal's object id: what roles are assigned to and tokens carry as `oid`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from sqlalchemy import Connection, delete, func, insert, select, update

from headrace.clock import DAY, from_datetime, iso
from headrace.errors import Problem, ProblemError
from headrace.identity import passwords, store
from headrace.identity.federation import FederatedCredential, load_federated
from headrace.identity.keys import base64url
from headrace.identity.passwords import StoredSecret
from headrace.ids import new_guid

SECRET_LIFETIME = 2 * 365 * DAY
LONGEST_LIFETIME = 100 * 365 * DAY
MOST_CREDENTIALS = 32
LONGEST_NAME = 256
LONGEST_PEM = 32 * 1024


@dataclass(frozen=True, slots=True)
class Credential:
    """What is shown of a secret or certificate. Times are UTC microseconds.

    `hint` is the first characters of a secret, or the SHA-1 thumbprint of a certificate in base64url.
    """

    key_id: str
    display_name: str
    hint: str
    starts: int
    ends: int


@dataclass(frozen=True, slots=True)
class App:
    """An app registration and its service principal."""

    app_id: str
    object_id: str
    principal_id: str
    display_name: str
    enabled: bool
    created: int
    secrets: tuple[Credential, ...] = ()
    certificates: tuple[Credential, ...] = ()
    federated: tuple[FederatedCredential, ...] = ()

    def summary(self, tenant: str) -> dict[str, Any]:
        """The ids and the name, for the answer to a change."""
        return {
            "name": self.display_name,
            "clientId": self.app_id,
            "principalId": self.principal_id,
            "objectId": self.object_id,
            "tenantId": tenant,
        }

    def document(self, tenant: str) -> dict[str, Any]:
        """The app as the admin surface shows it; never a secret."""
        return {
            **self.summary(tenant),
            "enabled": self.enabled,
            "created": iso(self.created),
            "secrets": [_credential(secret, "hint") for secret in self.secrets],
            "certificates": [_credential(certificate, "thumbprint") for certificate in self.certificates],
            "federatedCredentials": [one.document() for one in self.federated],
        }


@dataclass(frozen=True, slots=True)
class NewSecret:
    """A secret just made. `text` is shown once and kept nowhere."""

    key_id: str
    text: str
    ends: int


@dataclass(frozen=True, slots=True)
class StoredCertificate:
    """A certificate that an app may sign assertions with; thumbprints in base64url."""

    key_id: str
    sha1: str
    sha256: str
    public: RSAPublicKey
    starts: int
    ends: int


@dataclass(frozen=True, slots=True)
class Registration:
    """What the token endpoint knows of an app."""

    app_id: str
    principal_id: str
    display_name: str
    enabled: bool
    secrets: tuple[StoredSecret, ...]
    certificates: tuple[StoredCertificate, ...]
    federated: tuple[FederatedCredential, ...] = ()


def create_app(connection: Connection, display_name: str, now: int) -> App:
    """Register an app and make its service principal. Raises `ProblemError` for an unfit name."""
    name = display_name.strip()
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
        raise _invalid("name", f"A name has 1 to {LONGEST_NAME} printable characters.")
    made = App(new_guid(), new_guid(), new_guid(), name, True, now)
    connection.execute(
        insert(store.principal).values(
            object_id=made.principal_id,
            kind="ServicePrincipal",
            display_name=name,
            enabled=True,
            created=now,
        )
    )
    connection.execute(
        insert(store.app).values(
            app_id=made.app_id,
            object_id=made.object_id,
            principal_id=made.principal_id,
            display_name=name,
            created=now,
        )
    )
    return made


def list_apps(connection: Connection) -> list[App]:
    """All apps, by name."""
    secrets = _credentials(connection, store.secret, store.secret.c.hint)
    certificates = _credentials(connection, store.certificate, store.certificate.c.sha1)
    federated = load_federated(connection)
    rows = connection.execute(
        select(store.app, store.principal.c.enabled)
        .join(store.principal, store.principal.c.object_id == store.app.c.principal_id)
        .order_by(func.lower(store.app.c.display_name), store.app.c.app_id)
    )
    return [
        App(
            row.app_id,
            row.object_id,
            row.principal_id,
            row.display_name,
            row.enabled,
            row.created,
            tuple(secrets.get(row.app_id, ())),
            tuple(certificates.get(row.app_id, ())),
            federated.get(row.app_id, ()),
        )
        for row in rows
    ]


def get_app(connection: Connection, app_id: str) -> App | None:
    """The app with this client id."""
    return next((found for found in list_apps(connection) if found.app_id == app_id.lower()), None)


def add_secret(
    connection: Connection,
    app_id: str,
    now: int,
    *,
    display_name: str = "",
    ends: int | None = None,
    replace: bool = False,
) -> NewSecret:
    """Give the app another secret, valid to `ends` (UTC microseconds; two years from now if None).

    With `replace` all its other secrets end at once. Raises `ProblemError` (`ResourceNotFound`,
    `InvalidRequestContent`, `CredentialLimitReached`).
    """
    found = _required(connection, app_id)
    until = _end(now, now + SECRET_LIFETIME if ends is None else ends)
    if replace:
        connection.execute(delete(store.secret).where(store.secret.c.app_id == found))
    _limit(connection, store.secret, found)
    made = NewSecret(new_guid(), passwords.new_secret(), until)
    connection.execute(
        insert(store.secret).values(
            key_id=made.key_id,
            app_id=found,
            display_name=display_name[:LONGEST_NAME],
            hint=made.text[: passwords.HINT],
            hash=passwords.hash_secret(made.text),
            starts=now,
            ends=until,
        )
    )
    return made


def add_certificate(connection: Connection, app_id: str, pem: str, *, display_name: str = "") -> Credential:
    """Let the app sign assertions with the key of a certificate (PEM; a private key beside it is ignored).

    Raises `ProblemError` (`ResourceNotFound`, `InvalidCertificate`, `CredentialLimitReached`,
    `CredentialExists`).
    """
    found = _required(connection, app_id)
    read = _read_certificate(pem)
    sha256 = base64url(read.fingerprint(hashes.SHA256()))
    known = select(store.certificate.c.key_id).where(
        store.certificate.c.app_id == found, store.certificate.c.sha256 == sha256
    )
    if connection.execute(known).first() is not None:
        raise ProblemError(Problem("CredentialExists", "The app has this certificate already."))
    _limit(connection, store.certificate, found)
    made = Credential(
        new_guid(),
        display_name[:LONGEST_NAME] or read.subject.rfc4514_string()[:LONGEST_NAME],
        base64url(read.fingerprint(hashes.SHA1())),
        from_datetime(read.not_valid_before_utc),
        from_datetime(read.not_valid_after_utc),
    )
    connection.execute(
        insert(store.certificate).values(
            key_id=made.key_id,
            app_id=found,
            display_name=made.display_name,
            sha1=made.hint,
            sha256=sha256,
            pem=read.public_bytes(serialization.Encoding.PEM).decode(),
            starts=made.starts,
            ends=made.ends,
        )
    )
    return made


def remove_credential(connection: Connection, app_id: str, key_id: str) -> bool:
    """End a secret, certificate or federated credential of the app at once; whether there was one."""
    gone = 0
    for table in (store.secret, store.certificate, store.federated_credential):
        gone += connection.execute(
            delete(table).where(table.c.app_id == app_id.lower(), table.c.key_id == key_id.lower())
        ).rowcount
    return gone > 0


def set_enabled(connection: Connection, app_id: str, enabled: bool) -> bool:
    """Let the app in or lock it out, its tokens too; whether there is such an app."""
    principal = select(store.app.c.principal_id).where(store.app.c.app_id == app_id.lower())
    changed = connection.execute(
        update(store.principal)
        .where(store.principal.c.object_id == principal.scalar_subquery())
        .values(enabled=enabled)
    )
    return changed.rowcount > 0


def delete_app(connection: Connection, app_id: str) -> bool:
    """Delete the app, its service principal and that one's role assignments; whether there was one."""
    found = get_app(connection, app_id)
    if found is None:
        return False
    connection.execute(
        delete(store.role_assignment).where(store.role_assignment.c.principal_id == found.principal_id)
    )
    connection.execute(delete(store.app).where(store.app.c.app_id == found.app_id))
    connection.execute(delete(store.principal).where(store.principal.c.object_id == found.principal_id))
    return True


def load_registrations(connection: Connection) -> Mapping[str, Registration]:
    """All apps by client id, as the token endpoint needs them."""
    secrets: defaultdict[str, list[StoredSecret]] = defaultdict(list)
    for row in connection.execute(select(store.secret).order_by(store.secret.c.starts.desc())):
        secrets[row.app_id].append(StoredSecret(row.key_id, row.hint, row.hash, row.starts, row.ends))
    certificates: defaultdict[str, list[StoredCertificate]] = defaultdict(list)
    for row in connection.execute(select(store.certificate)):
        public = x509.load_pem_x509_certificate(row.pem.encode()).public_key()
        assert isinstance(public, RSAPublicKey)
        certificates[row.app_id].append(
            StoredCertificate(row.key_id, row.sha1, row.sha256, public, row.starts, row.ends)
        )
    federated = load_federated(connection)
    rows = connection.execute(
        select(store.app, store.principal.c.enabled).join(
            store.principal, store.principal.c.object_id == store.app.c.principal_id
        )
    )
    return {
        row.app_id: Registration(
            row.app_id,
            row.principal_id,
            row.display_name,
            row.enabled,
            tuple(secrets.get(row.app_id, ())),
            tuple(certificates.get(row.app_id, ())),
            federated.get(row.app_id, ()),
        )
        for row in rows
    }


def _read_certificate(pem: str) -> x509.Certificate:
    if len(pem) > LONGEST_PEM:
        raise _unfit(f"The certificate is longer than {LONGEST_PEM} characters.")
    begin = pem.find("-----BEGIN CERTIFICATE-----")
    try:
        read = x509.load_pem_x509_certificate(pem[max(begin, 0) :].encode("ascii"))
        public = read.public_key()
        _ = read.not_valid_after_utc, read.subject.rfc4514_string()
    except ValueError as error:
        raise _unfit("This is no X.509 certificate in PEM form.") from error
    except UnsupportedAlgorithm as error:
        raise _unfit("The key of the certificate is of a kind that is not supported.") from error
    if not isinstance(public, RSAPublicKey) or public.key_size < 2048:
        raise _unfit("The certificate must hold an RSA key of at least 2048 bits.")
    if public.key_size > 8192:
        raise _unfit("The certificate's RSA key may have at most 8192 bits.")
    return read


def _unfit(message: str) -> ProblemError:
    return ProblemError(Problem("InvalidCertificate", message, target="certificate"))


def _invalid(target: str, message: str) -> ProblemError:
    return ProblemError(Problem("InvalidRequestContent", message, target=target))


def _end(now: int, ends: int) -> int:
    if not now < ends <= now + LONGEST_LIFETIME:
        raise _invalid("ends", "A secret's end lies in the future, at most 100 years ahead.")
    return ends


def _required(connection: Connection, app_id: str) -> str:
    found = connection.execute(
        select(store.app.c.app_id).where(store.app.c.app_id == app_id.lower())
    ).scalar_one_or_none()
    if found is None:
        raise ProblemError(Problem("ResourceNotFound", f"There is no app with the id '{app_id[:80]}'."))
    return str(found)


def _limit(connection: Connection, table: Any, app_id: str) -> None:
    count = select(func.count()).select_from(table).where(table.c.app_id == app_id)
    if connection.execute(count).scalar_one() >= MOST_CREDENTIALS:
        raise ProblemError(
            Problem("CredentialLimitReached", f"An app has at most {MOST_CREDENTIALS} of these: remove one.")
        )


def _credentials(connection: Connection, table: Any, hint: Any) -> Mapping[str, Sequence[Credential]]:
    found: defaultdict[str, list[Credential]] = defaultdict(list)
    columns = (table.c.app_id, table.c.key_id, table.c.display_name, hint, table.c.starts, table.c.ends)
    for app_id, *rest in connection.execute(select(*columns).order_by(table.c.starts)):
        found[app_id].append(Credential(*rest))
    return found


def _credential(credential: Credential, hint: str) -> dict[str, Any]:
    return {
        "keyId": credential.key_id,
        "name": credential.display_name,
        hint: credential.hint,
        "starts": iso(credential.starts),
        "ends": iso(credential.ends),
    }
