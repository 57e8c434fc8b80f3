"""A server that is reached by other names than its machine's: a container's service, a published port."""

from __future__ import annotations

import os
import shlex
import socket
import ssl
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from cryptography import x509

from tests.server.kit import ARM_SCOPE, Api, api_of
from tests.servers import ServerProcess, running_server

pytestmark = pytest.mark.server

SERVICE = "headrace.logs.svc"
NAMES = ("headrace", SERVICE, "127.0.0.2")


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    variables = {"HEADRACE_SERVER_NAMES": ", ".join(NAMES), "HEADRACE_SERVER_HOST": "0.0.0.0"}
    folder = tmp_path_factory.mktemp("named")
    with running_server(folder, "--ephemeral", "--port", "0", variables=variables) as server:
        yield server


@pytest.fixture(scope="module")
def api(named: ServerProcess) -> Iterator[Api]:
    with api_of(named) as opened:
        yield opened


def ask(api: Api, name: str, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
    """An answer to who knows the server by that name, and trusts its CA for it."""
    port = urlsplit(api.base).port
    return api.http.get(
        f"https://127.0.0.1:{port}{path}",
        headers={"Host": f"{name}:{port}", **(headers or {})},
        extensions={"sni_hostname": name},
    )


@pytest.mark.parametrize("name", [*NAMES, "localhost"])
def test_answers_carry_the_name_that_was_asked(api: Api, name: str) -> None:
    tenant, port = api.env["AZURE_TENANT_ID"], urlsplit(api.base).port
    found = ask(api, name, f"/{tenant}/v2.0/.well-known/openid-configuration").json()
    assert found["token_endpoint"] == f"https://{name}:{port}/{tenant}/oauth2/v2.0/token"


def test_a_token_counts_under_every_name(api: Api) -> None:
    answer = ask(api, "headrace", f"{api.group}?api-version=2021-04-01", api.bearer(ARM_SCOPE))
    assert answer.status_code == 200, answer.text


def test_a_strangers_name_is_not_repeated(api: Api) -> None:
    tenant = api.env["AZURE_TENANT_ID"]
    found = api.http.get(
        f"{api.base}/{tenant}/v2.0/.well-known/openid-configuration", headers={"Host": "evil.example"}
    ).json()
    assert found["token_endpoint"].startswith(api.base)


def test_the_certificate_names_this_machine_too(named: ServerProcess) -> None:
    parts = urlsplit(named.env["HEADRACE_ARM_URL"])
    context = ssl.create_default_context(cafile=named.env["HEADRACE_CA_FILE"])
    with (
        socket.create_connection(("127.0.0.1", parts.port or 0), timeout=30) as plain,
        context.wrap_socket(plain, server_hostname=SERVICE) as secured,
    ):
        leaf = x509.load_der_x509_certificate(secured.getpeercert(binary_form=True) or b"")
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert socket.gethostname().lower() in names.get_values_for_type(x509.DNSName)
    assert "127.0.0.2" in [str(one) for one in names.get_values_for_type(x509.IPAddress)]


def shell(script: str) -> str:
    """What the script prints, in a shell that knows nothing of a server."""
    base = {name: value for name, value in os.environ.items() if not name.startswith(("HEADRACE_", "AZURE_"))}
    done = subprocess.run(
        ["sh", "-euc", script], env=base, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_clients_elsewhere_get_all_they_need_by_one_command(named: ServerProcess, tmp_path: Path) -> None:
    """The lines alone, without a file of the server's, do what the env file does."""
    data = Path(named.env["HEADRACE_CA_FILE"]).parents[1]
    url = f"https://127.0.0.2:{urlsplit(named.env['HEADRACE_ARM_URL']).port}"
    files = tmp_path / "its own files"
    headrace = f"{shlex.quote(sys.executable)} -m headrace"
    options = f"--data-dir {shlex.quote(str(data))} --url {url}/ --certificates {shlex.quote(str(files))}"
    printed = shell(
        f'eval "$({headrace} env {options})"\n'
        f"echo $AZURE_AUTHORITY_HOST $HEADRACE_QUERY_URL\n"
        f"{headrace} query 'print Answer = 6 * 7' --output csv"
    )
    assert printed.split() == [url, f"{url}/v1", "Answer", "42"]
    assert sorted(path.name for path in files.iterdir()) == ["bundle.pem", "ca.pem"]
    assert files.joinpath("ca.pem").read_bytes() == Path(named.env["HEADRACE_CA_FILE"]).read_bytes()
    assert {stat.S_IMODE(path.stat().st_mode) for path in files.iterdir()} == {0o600}
