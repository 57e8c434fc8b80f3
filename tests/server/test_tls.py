"""TLS of a whole server: versions, an operator's certificate and its change, clients' certificates, headers."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.server.kit import ARM_SCOPE, Api, eventually
from tests.servers import ServerProcess, running_server, start_server

pytestmark = pytest.mark.server

Pair = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


def certificate(name: str, issuer: Pair | None = None, *, client: bool = False) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    usage = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if issuer is not None:
        names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
        builder = builder.add_extension(names, critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    return builder.sign(issuer[1] if issuer else key, hashes.SHA256()), key


def save(folder: Path, name: str, pair: Pair) -> tuple[Path, Path]:
    folder.mkdir(exist_ok=True)
    made, key = folder / f"{name}.pem", folder / f"{name}.key"
    key.write_bytes(
        pair[1].private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    made.write_bytes(pair[0].public_bytes(serialization.Encoding.PEM))
    return made, key


def presented(server: ServerProcess) -> int:
    """The serial number of the certificate that a new connection sees."""
    parts = urlsplit(server.env["HEADRACE_ARM_URL"])
    context = ssl.create_default_context(cafile=server.env["HEADRACE_CA_FILE"])
    with (
        socket.create_connection((parts.hostname or "", parts.port or 0)) as plain,
        context.wrap_socket(plain, server_hostname=parts.hostname) as secured,
    ):
        content = secured.getpeercert(binary_form=True)
    assert content is not None
    return x509.load_der_x509_certificate(content).serial_number


def test_old_tls_is_refused_and_new_is_spoken(server: ServerProcess) -> None:
    parts = urlsplit(server.env["HEADRACE_ARM_URL"])
    for version, good in (
        (ssl.TLSVersion.TLSv1_1, False),
        (ssl.TLSVersion.TLSv1_2, True),
        (ssl.TLSVersion.TLSv1_3, True),
    ):
        context = ssl.create_default_context(cafile=server.env["HEADRACE_CA_FILE"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = min(version, ssl.TLSVersion.TLSv1_2)
            context.maximum_version = version
        if not good:
            # Where the client's library would not even try.
            context.set_ciphers("ALL:@SECLEVEL=0")
        with socket.create_connection((parts.hostname or "", parts.port or 0)) as plain:
            try:
                with context.wrap_socket(plain, server_hostname=parts.hostname) as secured:
                    assert good and secured.version() == version.name.replace("_", ".")
            except ssl.SSLError:
                assert not good


def test_answers_tell_browsers_to_keep_off(server: ServerProcess) -> None:
    api = Api(server.env)
    for url in (
        f"{api.base}/readyz",
        f"{api.base}/subscriptions",
        f"{api.base}/nowhere",
        f"{api.env['HEADRACE_QUERY_URL']}/workspaces/x/query",
        f"{api.base}/{api.env['AZURE_TENANT_ID']}/v2.0/.well-known/openid-configuration",
    ):
        headers = api.http.get(url).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert "server" not in headers
        # Without a public name it would count for everything else on this machine.
        assert "strict-transport-security" not in headers
        if "readyz" not in url:
            assert "default-src 'none'" in headers["content-security-policy"]
    assert api.ask_token(ARM_SCOPE).headers["cache-control"] == "no-store, no-cache"
    api.close()


def test_an_operators_certificate_is_used_and_its_change_taken_while_running(tmp_path: Path) -> None:
    authority = certificate("ca")
    ca, _ = save(tmp_path / "tls", "ca", authority)
    first, second = certificate("server", authority), certificate("server", authority)
    made, key = save(tmp_path / "tls", "server", first)
    variables = {
        "HEADRACE_TLS_CERTIFICATE": str(made),
        "HEADRACE_TLS_KEY": str(key),
        "HEADRACE_TLS_CA": str(ca),
        "HEADRACE_SERVER_PUBLIC_URL": "https://localhost",
    }
    arguments = ("--ephemeral", "--port", "0", "--quiet")
    with running_server(tmp_path, *arguments, variables=variables) as server:
        # The public address is a proxy's in real life; here the port is asked for itself.
        port = next(
            connection.laddr.port
            for gateway in server.children("gateway")
            for connection in gateway.net_connections("tcp")
            if connection.status == "LISTEN"
        )
        server.env["HEADRACE_ARM_URL"] = f"https://localhost:{port}"
        assert presented(server) == first[0].serial_number
        with httpx.Client(verify=ssl.create_default_context(cafile=str(ca))) as http:
            answer = http.get(f"https://localhost:{port}/readyz")
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
        # Half a change is none.
        made.write_bytes(second[0].public_bytes(serialization.Encoding.PEM))
        assert presented(server) == first[0].serial_number
        save(tmp_path / "tls", "server", second)
        eventually(lambda: presented(server), lambda serial: serial == second[0].serial_number)


def test_a_certificate_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    authority = certificate("ca")
    made, _ = save(tmp_path, "server", certificate("server", authority))
    _, other = save(tmp_path, "other", certificate("server", authority))
    ca, ca_key = save(tmp_path, "ca", authority)
    for pair, says in (
        ((made, other), "KEY_VALUES_MISMATCH"),
        ((made, tmp_path / "none"), "No such file"),
        ((ca, ca_key), "names no host"),
    ):
        variables = {"HEADRACE_TLS_CERTIFICATE": str(pair[0]), "HEADRACE_TLS_KEY": str(pair[1])}
        with pytest.raises(RuntimeError, match=says):
            start_server(tmp_path / "run", "--ephemeral", "--port", "0", "--quiet", variables=variables)
    with pytest.raises(RuntimeError, match="must be set together"):
        variables = {"HEADRACE_TLS_CERTIFICATE": str(made)}
        start_server(tmp_path / "run", "--ephemeral", "--port", "0", "--quiet", variables=variables)


def test_mutual_tls_lets_in_only_who_shows_a_certificate(tmp_path: Path) -> None:
    authority, stranger = certificate("ca"), certificate("stranger")
    ca, _ = save(tmp_path / "tls", "ca", authority)
    good = save(tmp_path / "tls", "good", certificate("client", authority, client=True))
    bad = save(tmp_path / "tls", "bad", certificate("client", stranger, client=True))
    wrong_use = save(tmp_path / "tls", "use", certificate("client", authority))
    arguments = ("--ephemeral", "--port", "0", "--quiet")
    variables = {"HEADRACE_TLS_CLIENT_CA": str(ca)}
    with running_server(tmp_path, *arguments, variables=variables) as server:

        def status(pair: tuple[Path, Path] | None) -> int:
            context = ssl.create_default_context(cafile=server.env["HEADRACE_CA_FILE"])
            if pair is not None:
                context.load_cert_chain(*pair)
            try:
                with httpx.Client(verify=context, trust_env=False) as http:
                    return http.get(f"{server.env['HEADRACE_ARM_URL']}/readyz").status_code
            except httpx.TransportError:
                return 0

        assert status(good) == 200
        assert [status(pair) for pair in (None, bad, wrong_use)] == [0, 0, 0]
        command = [sys.executable, "-m", "headrace", "app", "list", "--output", "json"]
        done = subprocess.run(command, env=server.env, capture_output=True, text=True, check=True)
        assert json.loads(done.stdout)
