"""The keys that tokens are signed with. Several may be valid at once, told apart by `kid`; one signs.

The `kid` is, as in Azure, the SHA-1 thumbprint of a certificate made for the key, in base64url.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from sqlalchemy import Connection, delete, insert, select, update

from headrace.clock import iso, to_datetime
from headrace.identity.store import signing_key

BITS = 2048
_VALID = timedelta(days=365 * 20)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that tokens are verified with; `certificate` is DER."""

    kid: str
    public: rsa.RSAPublicKey
    certificate: bytes

    def jwk(self, issuer: str) -> dict[str, Any]:
        """The key as a member of a JSON web key set."""
        numbers = self.public.public_numbers()
        return {
            "kty": "RSA",
            "use": "sig",
            "alg": "RS256",
            "kid": self.kid,
            "x5t": self.kid,
            "n": _base64url_number(numbers.n),
            "e": _base64url_number(numbers.e),
            "x5c": [base64.b64encode(self.certificate).decode()],
            "issuer": issuer,
        }


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The key that new tokens are signed with."""

    kid: str
    private: rsa.RSAPrivateKey


def base64url(data: bytes) -> str:
    """Base64 for URLs, without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def create_signing_key(connection: Connection, now: int) -> str:
    """Make a key that signs from now on; the ones before it go on verifying. Its `kid`."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=BITS)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Headrace token signing")])
    start = to_datetime(now)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - timedelta(days=1))
        .not_valid_after(start + _VALID)
        .sign(private, hashes.SHA256())
    )
    # The thumbprint is a name here, as everywhere in this protocol; nothing rests on SHA-1's strength.
    kid = base64url(certificate.fingerprint(hashes.SHA1()))
    connection.execute(update(signing_key).values(signs=False))
    connection.execute(
        insert(signing_key).values(
            kid=kid,
            private_pem=private.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ).decode(),
            certificate_pem=certificate.public_bytes(serialization.Encoding.PEM).decode(),
            signs=True,
            created=now,
        )
    )
    return kid


def delete_signing_key(connection: Connection, kid: str) -> bool:
    """Drop a key that no longer signs; its tokens end at once. False when there is none that may go."""
    gone = connection.execute(
        delete(signing_key).where(signing_key.c.kid == kid, signing_key.c.signs.is_(False))
    )
    return gone.rowcount > 0


def rotate_if_due(connection: Connection, now: int, *, longest: int, overlap: int) -> str | None:
    """Let a new key take over when the one that signs is older than `longest`; its `kid`, or None.

    Keys that were replaced longer than `overlap` ago are dropped in any case. All in microseconds.
    """
    created = connection.execute(
        select(signing_key.c.created).where(signing_key.c.signs)
    ).scalar_one_or_none()
    made = create_signing_key(connection, now) if created is not None and now - created >= longest else None
    for kid in retired(connection, now, overlap):
        delete_signing_key(connection, kid)
    return made


def is_rotation_due(connection: Connection, now: int, *, longest: int, overlap: int) -> bool:
    """Whether `rotate_if_due` would change anything."""
    created = connection.execute(
        select(signing_key.c.created).where(signing_key.c.signs)
    ).scalar_one_or_none()
    return (created is not None and now - created >= longest) or bool(retired(connection, now, overlap))


def retired(connection: Connection, now: int, overlap: int) -> list[str]:
    """The keys whose successor has signed for longer than `overlap`: no token of theirs is alive."""
    rows = connection.execute(
        select(signing_key.c.kid, signing_key.c.created).order_by(signing_key.c.created)
    ).all()
    return [row.kid for row, after in pairwise(rows) if now - int(after.created) >= overlap]


def list_keys(connection: Connection) -> list[dict[str, Any]]:
    """Every key as the admin surface shows it, newest first; never a private part."""
    rows = connection.execute(
        select(signing_key.c.kid, signing_key.c.signs, signing_key.c.created).order_by(
            signing_key.c.created.desc()
        )
    )
    return [{"kid": row.kid, "signs": row.signs, "created": iso(row.created)} for row in rows]


def load_public(connection: Connection) -> Sequence[PublicKey]:
    """All keys that tokens may be signed with, newest first."""
    rows = connection.execute(
        select(signing_key.c.kid, signing_key.c.certificate_pem).order_by(signing_key.c.created.desc())
    )
    return [_public(kid, pem) for kid, pem in rows]


def load_signing(connection: Connection) -> SigningKey | None:
    """The key that signs; None before the first one was made."""
    row = connection.execute(
        select(signing_key.c.kid, signing_key.c.private_pem).where(signing_key.c.signs)
    ).one_or_none()
    if row is None:
        return None
    # The store's own key: checking its primes again takes tens of milliseconds at every change.
    private = serialization.load_pem_private_key(
        row.private_pem.encode(), password=None, unsafe_skip_rsa_key_validation=True
    )
    assert isinstance(private, rsa.RSAPrivateKey)
    return SigningKey(row.kid, private)


def _public(kid: str, pem: str) -> PublicKey:
    certificate = x509.load_pem_x509_certificate(pem.encode())
    public = certificate.public_key()
    assert isinstance(public, rsa.RSAPublicKey)
    return PublicKey(kid, public, certificate.public_bytes(serialization.Encoding.DER))


def _base64url_number(number: int) -> str:
    return base64url(number.to_bytes((number.bit_length() + 7) // 8, "big"))
