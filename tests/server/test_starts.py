"""Starting, starting again, and not starting: addresses, locks, ports, flags, signals, secrets."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from tests.server.kit import ARM_SCOPE, INGEST_SCOPE, QUERY_SCOPE, Api, api_of, eventually
from tests.servers import ServerProcess, free_port, running_server, start_server

pytestmark = [pytest.mark.server, pytest.mark.timeout(240)]

ID = {"Id": "string"}


def run_up(
    folder: Path, *arguments: str, variables: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """`headrace up` that is expected to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "headrace", "up", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=folder,
        env={
            name: value for name, value in os.environ.items() if not name.startswith(("HEADRACE_", "AZURE_"))
        }
        | (variables or {}),
    )


def port_of(address: str) -> int | None:
    return urlsplit(address).port


def test_the_variables_of_a_server_that_is_gone_do_not_matter(tmp_path: Path) -> None:
    """A shell keeps them after an ephemeral server has taken its certificates along."""
    lost = str(tmp_path / "gone" / "bundle.pem")
    variables = {"SSL_CERT_FILE": lost, "REQUESTS_CA_BUNDLE": lost}
    with (
        running_server(tmp_path, "--ephemeral", "--port", "0", "--quiet", variables=variables) as server,
        api_of(server) as api,
    ):
        assert api.value("print 1") == 1


# A server that is started again elsewhere


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Api, Api, dict[str, str]]]:
    """The variables of a first server, one on the same data folder and another port, and what the first knew."""
    folder = tmp_path_factory.mktemp("moved")
    data = str(folder / "data")
    known: dict[str, str] = {}
    with (
        running_server(folder / "1", "--data-dir", data, "--port", "0", "-v") as server,
        api_of(server) as first,
    ):
        first.make_table("Moved_CL", ID)
        rule = first.make_rule("moved", ID, "Moved_CL", kind="Direct")
        known["rule"], known["path"] = rule.immutable_id, rule.path
        known["app"] = first.http.post(
            f"{first.base}/headrace/apps", json={"name": "kept"}, headers=first.bearer(ARM_SCOPE)
        ).text
        rule.send([{"Id": "before"}])
        for scope in (INGEST_SCOPE, ARM_SCOPE, QUERY_SCOPE):
            known[scope] = first.token(scope)
        eventually(lambda: first.rows("Moved_CL | project Id"), bool)
        rule.send([{"Id": "on the way"}])
        known["log"] = str(server.log)
    port = str(free_port())
    known["http"] = str(free_port())
    arguments = ("--data-dir", data, "--port", port, "--quiet", "--http-authority", known["http"])
    with running_server(folder / "2", *arguments) as server, api_of(server) as second:
        known["port"] = port
        yield first, second, known


def test_every_address_is_the_new_one(moved: tuple[Api, Api, dict[str, str]]) -> None:
    first, api, known = moved
    port = int(known["port"])
    assert port != port_of(first.base)
    addresses = [value for name, value in api.env.items() if "URL" in name or name == "AZURE_AUTHORITY_HOST"]
    assert len(addresses) >= 5
    for name, value in api.env.items():
        if name == "HEADRACE_AUTHORITY_HTTP_URL":
            assert port_of(value) == int(known["http"])
        elif "URL" in name or name == "AZURE_AUTHORITY_HOST":
            assert port_of(value) == port, name
        else:
            assert value == first.env[name], name
    rule = api.arm("GET", known["path"]).json()
    assert rule["properties"]["immutableId"] == known["rule"]
    endpoints = rule["properties"]["endpoints"]
    assert port_of(endpoints["logsIngestion"]) == port
    listed = api.arm("GET", f"{api.group}/providers/Microsoft.Insights/dataCollectionEndpoints").json()[
        "value"
    ]
    assert listed
    for endpoint in listed:
        assert port_of(endpoint["properties"]["logsIngestion"]["endpoint"]) == port
    tenant = api.env["AZURE_TENANT_ID"]
    for path in (f"{tenant}/v2.0", "adfs"):
        found = api.http.get(f"{api.base}/{path}/.well-known/openid-configuration").json()
        for name in ("token_endpoint", "authorization_endpoint", "jwks_uri"):
            assert port_of(found[name]) == port, (path, name)
        assert str(port_of(first.base)) not in str(found)


def test_rows_and_old_tokens_are_still_good(moved: tuple[Api, Api, dict[str, str]]) -> None:
    _, api, known = moved
    with httpx.Client(verify=api.trust, trust_env=False, timeout=30) as client:
        url = f"{api.base}/dataCollectionRules/{known['rule']}/streams/Custom-In?api-version=2023-01-01"
        headers = {"Authorization": f"Bearer {known[INGEST_SCOPE]}"}
        assert client.post(url, json=[{"Id": "after"}], headers=headers).status_code == 204
        query = f"{api.env['HEADRACE_QUERY_URL']}/workspaces/{api.env['HEADRACE_WORKSPACE_ID']}/query"

        def ids() -> list[str]:
            headers = {"Authorization": f"Bearer {known[QUERY_SCOPE]}"}
            answer = client.post(query, json={"query": "Moved_CL | project Id"}, headers=headers)
            assert answer.status_code == 200, answer.text
            return sorted(row[0] for row in answer.json()["tables"][0]["rows"])

        assert eventually(ids, lambda seen: len(seen) >= 3) == ["after", "before", "on the way"]
        headers = {"Authorization": f"Bearer {known[ARM_SCOPE]}"}
        subscriptions = client.get(f"{api.base}/subscriptions?api-version=2022-12-01", headers=headers)
        assert subscriptions.status_code == 200


def test_the_second_secret_is_the_first(moved: tuple[Api, Api, dict[str, str]]) -> None:
    first, api, _ = moved
    assert api.env["AZURE_CLIENT_SECRET"] == first.env["AZURE_CLIENT_SECRET"]
    assert api.ask_token(ARM_SCOPE).status_code == 200


def test_plain_http_serves_the_token_endpoint_alone(moved: tuple[Api, Api, dict[str, str]]) -> None:
    _, api, _ = moved
    base = api.env["HEADRACE_AUTHORITY_HTTP_URL"]
    tenant = api.env["AZURE_TENANT_ID"]
    assert base.startswith("http://127.0.0.1:")
    # As Fluent Bit writes it: ':' and '/' unescaped, no User-Agent.
    body = (
        f"grant_type=client_credentials&scope=https://monitor.azure.com/.default"
        f"&client_id={api.env['AZURE_CLIENT_ID']}&client_secret={api.env['AZURE_CLIENT_SECRET']}"
    )
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    with httpx.Client(trust_env=False, timeout=30) as client:
        answer = client.post(f"{base}/{tenant}/oauth2/v2.0/token", content=body, headers=form)
        assert answer.status_code == 200, answer.text
        token = answer.json()
        assert {"access_token", "token_type", "expires_in"} <= set(token)
        for path in (
            "/subscriptions?api-version=2022-12-01",
            "/healthz",
            "/metadata/endpoints",
            "/headrace/apps",
            "/v1/workspaces/x/query",
            "/dataCollectionRules/x/streams/y",
            f"/{tenant}/v2.0/.well-known/openid-configuration",
        ):
            bearer = {"Authorization": f"Bearer {token['access_token']}"}
            assert client.get(f"{base}{path}", headers=bearer).status_code == 404, path
    with socket.socket() as elsewhere:
        elsewhere.settimeout(2)
        outer = outer_address()
        if outer is not None:
            assert elsewhere.connect_ex((outer, port_of(base) or 0)) != 0


def outer_address() -> str | None:
    """An address of this machine that is not loopback, if it has one."""
    for addresses in psutil.net_if_addrs().values():
        for address in addresses:
            if address.family == socket.AF_INET and not address.address.startswith("127."):
                return str(address.address)
    return None


def test_secrets_and_tokens_are_not_in_the_log(moved: tuple[Api, Api, dict[str, str]]) -> None:
    first, _, known = moved
    text = Path(known["log"]).read_text()
    assert text, "-v logs nothing"
    secret = first.env["AZURE_CLIENT_SECRET"]
    assert secret not in text
    assert secret[3:12] not in text
    for scope in (INGEST_SCOPE, ARM_SCOPE, QUERY_SCOPE):
        assert known[scope].rpartition(".")[2] not in text
    assert json.loads(known["app"])["clientSecret"] not in text
    assert "BEGIN" not in text
    assert "Traceback" not in text


def test_a_second_server_on_the_folder_is_refused(
    moved: tuple[Api, Api, dict[str, str]], tmp_path: Path
) -> None:
    _, api, _ = moved
    data = Path(api.env["HEADRACE_CA_FILE"]).parent.parent
    ended = run_up(tmp_path, "--data-dir", str(data), "--port", "0")
    check_one_line(ended, 1, str(data), "--data-dir")
    assert api.arm("GET", api.workspace, version="2023-09-01").status_code == 200


def test_a_taken_port_is_refused_with_the_cure(
    moved: tuple[Api, Api, dict[str, str]], tmp_path: Path
) -> None:
    _, api, known = moved
    ended = run_up(tmp_path, "--ephemeral", "--port", known["port"])
    check_one_line(ended, 1, known["port"], "--port")
    ended = run_up(tmp_path, "--ephemeral", "--port", "0", "--http-authority", known["http"])
    check_one_line(ended, 1, known["http"])
    waited_for = tmp_path / "waited-for.env"
    waited_for.write_text("of the server that has the port")
    run_up(tmp_path, "--ephemeral", "--port", known["port"], "--env-file", str(waited_for))
    assert waited_for.exists()
    assert api.http.get(f"{api.base}/healthz").status_code == 200


def check_one_line(ended: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert ended.returncode == code, ended
    text = " ".join(ended.stderr.split())
    for word in words:
        assert word in text, ended.stderr
    assert "Traceback" not in ended.stderr
    assert len(ended.stderr.strip().splitlines()) <= 4, ended.stderr
    assert not ended.stdout.strip()


# Wrong usage


@pytest.mark.parametrize(
    "arguments",
    [("--prot", "1"), ("--port", "x"), ("--port", "70000"), ("--port", "-1"), ("--ephemeral", "--data-dir", "/tmp/x"),
     ("--http-authority", "99999"), ("more",)],
)  # fmt: skip
def test_wrong_flags_are_wrong_usage(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    ended = run_up(tmp_path, *arguments)
    assert ended.returncode == 2, ended
    assert ended.stderr.strip()
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("variables", "word"),
    [
        ({"HEADRACE_JOURNAL_SEGMENT_BYTES": "many"}, "journal.segment_bytes"),
        ({"HEADRACE_SERVER_GATEWAYS": "0"}, "server.gateways"),
        ({"HEADRACE_MODE": "azure"}, "mode"),
        ({"HEADRACE_SERVER_PUBLIC_URL": "nonsense"}, "public_url"),
    ],
)
def test_wrong_settings_are_one_clear_failure(tmp_path: Path, variables: dict[str, str], word: str) -> None:
    ended = run_up(tmp_path, "--ephemeral", "--port", "0", variables=variables)
    assert ended.returncode in (1, 2), ended
    assert word in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_data_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    ended = run_up(tmp_path, "--data-dir", str(tmp_path / "file" / "data"), "--port", "0")
    assert ended.returncode == 1, ended
    assert "Traceback" not in ended.stderr
    assert str(tmp_path / "file") in ended.stderr.replace("\n", "")


def test_a_store_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "store.db").write_bytes(b"no database" * 100)
    check_one_line(run_up(tmp_path, "--data-dir", "data", "--port", "0"), 1, "store.db", "--data-dir")
    (tmp_path / "data" / "store.db").write_bytes(b"")
    (tmp_path / "data" / "sample.json").write_bytes(b"")
    check_one_line(
        run_up(tmp_path, "--data-dir", "data", "--port", "0"), 1, "store.db is empty", "sample.json"
    )


def test_a_data_folder_of_a_newer_release(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "format.json").write_text('{"journal": 1, "tables": 999, "store": 1}')
    check_one_line(run_up(tmp_path, "--data-dir", "data", "--port", "0"), 1, "tables", "999", "newer")


def test_a_data_folder_whose_path_is_too_long(tmp_path: Path) -> None:
    name = "x" * 120
    check_one_line(run_up(tmp_path, "--data-dir", name, "--port", "0"), 1, "too long")
    assert not (tmp_path / name).exists()


# Public address, temporary folder, mode compatible: one more server


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("public")
    port = free_port()
    variables = {"HEADRACE_MODE": "compatible"}
    arguments = ("--port", str(port), "--quiet", "--public-url", f"https://logs.test:{port}/")
    before = set(temporary_folders())
    with running_server(folder, "--ephemeral", *arguments, variables=variables) as server:
        mine = set(temporary_folders()) - before
        api = Api(server.env | {"HEADRACE_ARM_URL": f"https://localhost:{port}"})
        api.env["AZURE_AUTHORITY_HOST"] = api.base
        api.env["PUBLIC"] = server.env["HEADRACE_ARM_URL"]
        assert Path(api.env["HEADRACE_CA_FILE"]).parent.parent in mine
        yield api
        api.close()
    assert not {path for path in mine if path.exists()}


def temporary_folders() -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob("headrace-*"))


def test_the_public_address_is_told_everywhere(public: Api) -> None:
    told = public.env["PUBLIC"]
    assert told.startswith("https://logs.test:")
    assert not told.endswith("/")
    tenant = public.env["AZURE_TENANT_ID"]
    found = public.http.get(f"{public.base}/{tenant}/v2.0/.well-known/openid-configuration").json()
    for name in ("token_endpoint", "authorization_endpoint", "jwks_uri", "issuer"):
        assert found[name].startswith(told) or name == "issuer", found[name]
    listed = public.arm("GET", f"{public.group}/providers/Microsoft.Insights/dataCollectionEndpoints")
    for endpoint in listed.json()["value"]:
        assert endpoint["properties"]["logsIngestion"]["endpoint"].startswith(told)
    refused = public.http.post(f"{public.base}/dataCollectionRules/a/streams/b?api-version=2023-01-01")
    assert f'authorization_uri="{told}/{tenant}"' in refused.headers["www-authenticate"]
    token = public.ask_token(f"{told}/.default")
    assert token.status_code == 200, token.text
    plain = socket.create_connection(("127.0.0.1", port_of(public.base) or 0), timeout=10)
    # The certificate names the public host.
    with public.trust.wrap_socket(plain, server_hostname="logs.test") as tls:
        assert tls.version() in ("TLSv1.3", "TLSv1.2")


def test_compatible_mode_answers_as_azure_does(public: Api) -> None:
    public.make_table("Compat_CL", ID)
    rule = public.make_rule("compat", ID, "Compat_CL")
    for body in (b'{"Id": "bare"}', b'[1, {"Id": "kept"}, null, "x", [{"Id": "inner"}]]', b"[]", b"[7]"):
        answer = rule.post(body)
        assert answer.status_code == 204, (body, answer.text)
    for body in (b"", b"{", b"[{]", b'{"Id": NaN}', b'[{"Id": "\xff"}]'):
        answer = rule.post(body)
        assert answer.status_code == 400, (body, answer.text)
    rule.send([{"Id": "last"}])
    found = eventually(
        lambda: sorted(row[0] for row in public.rows("Compat_CL | project Id")), lambda seen: "last" in seen
    )
    assert found == ["kept", "last"]


# Stopping


def test_a_stop_signal_while_starting_ends_it_cleanly(tmp_path: Path) -> None:
    """At several moments of the start; the env file is never left behind by a server that is gone."""
    for moment in (0.4, 1.2, "children"):
        folder = tmp_path / str(moment)
        folder.mkdir()
        data = folder / "data"
        process = subprocess.Popen(
            [sys.executable, "-m", "headrace", "up", "--data-dir", str(data), "--port", "0", "--quiet"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
        if isinstance(moment, float):
            time.sleep(moment)
        else:
            eventually(psutil.Process(process.pid).children, bool)
        family = [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=40)
        assert b"Traceback" not in output, output.decode()
        # Before Python has set up its handlers, a signal ends any process as it does.
        assert process.returncode in (0, -signal.SIGTERM, 143), output.decode()
        assert not [pid for pid in family if psutil.pid_exists(pid)]
        assert not (data / "headrace.env").exists()
        if moment == "children":
            assert process.returncode == 0


def test_a_killed_supervisor_and_a_torn_file(tmp_path: Path) -> None:
    server: ServerProcess = start_server(
        tmp_path, "--data-dir", str(tmp_path / "data"), "--port", "0", "--quiet"
    )
    children = psutil.Process(server.process.pid).children(recursive=True)
    assert len(children) >= 3
    server.process.kill()
    server.process.wait(30)
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive
    # A power cut may have torn what a first start had just written: the server starts, with another secret.
    sample = tmp_path / "data" / "sample.json"
    whole = sample.read_bytes()
    sample.write_bytes(b"")
    with running_server(tmp_path, "--data-dir", str(tmp_path / "data"), "--port", "0", "--quiet") as torn:
        assert torn.env["HEADRACE_WORKSPACE_ID"] == server.env["HEADRACE_WORKSPACE_ID"]
        assert torn.env["AZURE_CLIENT_SECRET"] != server.env["AZURE_CLIENT_SECRET"]
        with api_of(torn) as api:
            assert api.ask_token(ARM_SCOPE).status_code == 200
    assert whole != sample.read_bytes()
