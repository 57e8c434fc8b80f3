"""The local certificate authority and the server's certificate, made at first start and renewed in time."""

from __future__ import annotations

import fcntl
import ipaddress
import logging
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import certifi
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from headrace.disk import Disk, RealDisk, replace_durably, write_replacement
from headrace.errors import Problem, ProblemError

_log = logging.getLogger(__name__)

LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
_CA_LIFE = timedelta(days=3650)
_LEAF_LIFE = timedelta(days=397)
_RENEW_BEFORE = timedelta(days=30)


CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""What TLS 1.2 may use; TLS 1.3 has no weak ones."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths of the PEM files: the local CA, the bundle (system roots and the CA), certificate chain, key."""

    ca: Path
    bundle: Path
    certificate: Path
    key: Path
    hosts: tuple[str, ...]
    """Host names and addresses that the certificate is for, lower-case."""
    client_certificate: Path | None = None
    """With mutual TLS: a certificate, and its key, that the server's own commands show."""
    client_key: Path | None = None


def ensure_tls_files(
    folder: Path,
    extra_hosts: tuple[str, ...],
    now: datetime | None = None,
    disk: Disk | None = None,
    *,
    serves: bool = True,
) -> TlsFiles:
    """The TLS files in `folder`, made or renewed where needed. The CA is made once and then kept, whatever crashes.

    `extra_hosts` are names or addresses beside localhost that clients use. A part of a server that does not serve them
    leaves the server's certificate to the one that does.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone_in(folder):
        return _ensure_tls_files(folder, extra_hosts, now or datetime.now(UTC), disk or RealDisk(), serves)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Parts of a server that start at the same time make the files one after the other, so that all fit together."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _ensure_tls_files(
    folder: Path, extra_hosts: tuple[str, ...], moment: datetime, disk: Disk, serves: bool
) -> TlsFiles:
    hosts = tuple(dict.fromkeys(host.lower() for host in (*LOCAL_HOSTS, *extra_hosts)))
    files = TlsFiles(
        ca=folder / "ca.pem",
        bundle=folder / "bundle.pem",
        certificate=folder / "server.pem",
        key=folder / "server.key",
        hosts=hosts,
    )
    ca_key_path = folder / "ca.key"
    _ensure_ca(files, ca_key_path, moment, disk)
    if serves and not _leaf_is_good(files, moment):
        _make_leaf(files, ca_key_path, moment, disk)
    write_replacement(files.bundle, _system_roots() + b"\n" + files.ca.read_bytes())
    return files


def given_tls_files(folder: Path, certificate: Path, key: Path, ca: Path | None) -> TlsFiles:
    """The TLS files of a certificate that an operator brings; `ca` is what clients need to trust it.

    The bundle is made in `folder`. Raises `ProblemError` with what is wrong: files that cannot be read, a key of
    another certificate, a certificate that names no host.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_pair(certificate, key)
    leaf = x509.load_pem_x509_certificates(certificate.read_bytes())[0]
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    hosts = tuple(
        str(name.value).lower() for name in names if isinstance(name, (x509.DNSName, x509.IPAddress))
    )
    if not hosts:
        raise _unfit(certificate, "it names no host: it needs a subject alternative name")
    try:
        extra = ca.read_bytes() if ca is not None else b""
    except OSError as error:
        raise _unfit(ca or certificate, str(error.strerror)) from None
    bundle = folder / "bundle.pem"
    write_replacement(bundle, _system_roots() + b"\n" + extra)
    return TlsFiles(ca or bundle, bundle, certificate, key, hosts)


def check_pair(certificate: Path, key: Path) -> None:
    """Raises `ProblemError` unless the files are a certificate and its key that a server can use now."""
    try:
        server_context(certificate, key)
        leaf = x509.load_pem_x509_certificates(certificate.read_bytes())[0]
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        raise _unfit(certificate, f"with the key {key}: {reason}") from None
    if leaf.not_valid_after_utc <= datetime.now(UTC):
        ended = f"it ended at {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
        raise _unfit(certificate, ended, "Put one in its place that is valid now.")


def server_context(certificate: Path, key: Path, client_cas: tuple[Path, ...] = ()) -> ssl.SSLContext:
    """How the server speaks TLS: 1.2 at least, and with `client_cas` only to clients that show a certificate.

    Raises `OSError` (`ssl.SSLError` too) when a file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.load_cert_chain(certificate, key)
    if client_cas:
        context.verify_mode = ssl.CERT_REQUIRED
        for path in client_cas:
            context.load_verify_locations(path)
    return context


def with_client_certificate(files: TlsFiles, folder: Path) -> TlsFiles:
    """The files with a certificate of the local CA for the server's own commands, where mutual TLS is asked for."""
    moment = datetime.now(UTC)
    certificate, key, ca_key_path = folder / "client.pem", folder / "client.key", folder / "ca.key"
    made = replace(files, ca=folder / "ca.pem", certificate=certificate, key=key, hosts=("headrace-command",))
    with _alone_in(folder):
        _ensure_ca(made, ca_key_path, moment, RealDisk())
        if not _leaf_is_good(made, moment):
            _make_leaf(made, ca_key_path, moment, RealDisk(), ExtendedKeyUsageOID.CLIENT_AUTH)
    return replace(files, client_certificate=certificate, client_key=key)


_FORM = "It is a PEM file with the server's certificate first, and tls.key holds its private key."


def _unfit(path: Path, reason: str, hint: str = _FORM) -> ProblemError:
    return ProblemError(
        Problem(
            "CertificateUnusable",
            f"The certificate {path} cannot be used: {reason}.",
            target="tls.certificate",
            hint=hint,
        )
    )


def _system_roots() -> bytes:
    for candidate in (ssl.get_default_verify_paths().openssl_cafile, certifi.where()):
        if candidate and Path(candidate).is_file():
            return Path(candidate).read_bytes()
    return b""


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Headrace"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _ensure_ca(files: TlsFiles, key_path: Path, now: datetime, disk: Disk) -> None:
    """A local CA that can be used: the one that is there, mended where its certificate is damaged, or a new one."""
    if not (files.ca.exists() and key_path.exists()):
        _make_ca(files.ca, key_path, now, disk)
        return
    if not _certificates(files.ca):
        # A certificate that it signed has it behind itself.
        for kept in _certificates(files.certificate)[1:2]:
            _log.warning("%s is damaged, and taken from %s again", files.ca, files.certificate)
            replace_durably(disk, files.ca, kept.public_bytes(serialization.Encoding.PEM), "tls.ca")
    readable = _certificates(files.ca)
    if readable and (_leaf_is_good(files, now) or _public_key(key_path) == readable[0].public_key()):
        return
    text = "%s or %s is damaged: a new CA is made, which clients have to be given (in the env file, for one)"
    _log.warning(text, files.ca, key_path)
    _make_ca(files.ca, key_path, now, disk)
    files.certificate.unlink(missing_ok=True)


def _certificates(path: Path) -> list[x509.Certificate]:
    """What a file has; none where it is not there or damaged."""
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return []


def _public_key(path: Path) -> PublicKeyTypes | None:
    """Of a private key's file; None where it is damaged."""
    try:
        return serialization.load_pem_private_key(path.read_bytes(), password=None).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None


def _make_ca(path: Path, key_path: Path, now: datetime, disk: Disk) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("Headrace local CA")
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + _CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signing_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    # The certificate last: clients are told to trust it only once its key is safe.
    replace_durably(disk, key_path, _key_pem(key), "tls.ca.key", 0o600)
    replace_durably(disk, path, certificate.public_bytes(serialization.Encoding.PEM), "tls.ca")


def _make_leaf(
    files: TlsFiles,
    ca_key_path: Path,
    now: datetime,
    disk: Disk,
    usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH,
) -> None:
    ca = x509.load_pem_x509_certificate(files.ca.read_bytes())
    ca_key = serialization.load_pem_private_key(ca_key_path.read_bytes(), password=None)
    if not isinstance(ca_key, ec.EllipticCurvePrivateKey):
        raise ValueError("the local CA's key is not an elliptic-curve key")
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_name(files.hosts[0]))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + _LEAF_LIFE)
        .add_extension(
            x509.SubjectAlternativeName([_general_name(host) for host in files.hosts]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signing_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    replace_durably(disk, files.key, _key_pem(key), "tls.key", 0o600)
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    replace_durably(disk, files.certificate, pem + files.ca.read_bytes(), "tls.certificate")


def _leaf_is_good(files: TlsFiles, now: datetime) -> bool:
    if not (files.certificate.exists() and files.key.exists()):
        return False
    try:
        leaf = x509.load_pem_x509_certificates(files.certificate.read_bytes())[0]
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return False
    if _public_key(files.key) != leaf.public_key():
        # A crash fell between the two, or one is damaged.
        return False
    covered = {str(name.value).lower() for name in names}
    # One that was made while the clock was ahead begins too late.
    valid = leaf.not_valid_before_utc <= now and leaf.not_valid_after_utc - now > _RENEW_BEFORE
    return valid and covered >= set(files.hosts)


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _key_usage(*, signing_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signing_certificates,
        key_cert_sign=signing_certificates,
        crl_sign=signing_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
