"""Settings, env file, data folder and certificates."""

from __future__ import annotations

import shutil
import ssl
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from headrace import env_file
from headrace.data_folder import open_data_folder
from headrace.disk import RealDisk
from headrace.errors import ProblemError
from headrace.settings import MIB, load_settings, setting_fields, variable_name
from headrace.tls import check_pair, ensure_tls_files, server_context


def test_flag_beats_variable_beats_file_beats_default(tmp_path: Path) -> None:
    file = tmp_path / "headrace.toml"
    file.write_text("[server]\nport = 1\nhost = '0.0.0.0'\n[query]\nthreads = 3\n[ingest]\nmax_rows = 7\n")
    environment = {
        "HEADRACE_SERVER_PORT": "2",
        "HEADRACE_SERVER_HOST": "::1",
        "HEADRACE_INGEST_URL": "https://x",
    }
    loaded = load_settings({"server.port": 3, "server.public_url": None}, environment, file)
    settings = loaded.settings
    assert (settings.server.port, settings.server.host, settings.query.threads) == (3, "::1", 3)
    assert loaded.origins["server.port"] == "flag"
    assert loaded.origins["server.host"] == "HEADRACE_SERVER_HOST"
    assert loaded.origins["ingest.max_rows"] == str(file)
    assert "server.public_url" not in loaded.origins


def test_the_azure_profile_sets_azures_limits_and_leaves_what_is_set() -> None:
    settings = load_settings({"profile": "azure", "ingest.max_inflated_bytes": 5 * MIB}, {}).settings
    assert settings.ingest.max_wire_bytes == MIB
    assert settings.ingest.rule_requests_per_minute == 12_000
    assert settings.ingest.max_inflated_bytes == 5 * MIB


@pytest.mark.parametrize("text", ["headrace,logs.test,::1", " headrace, logs.test ,::1,"])
def test_names_are_told_apart_by_commas(text: str) -> None:
    settings = load_settings({}, {"HEADRACE_SERVER_NAMES": text}).settings
    assert settings.server.names == ("headrace", "logs.test", "::1")
    assert load_settings({}, {"HEADRACE_SERVER_NAMES": ""}).settings.server.names == ()


@pytest.mark.parametrize(
    "name", ["https://headrace", "headrace:8443", "*.logs.test", "häuser", "a" * 64, "-x", "a..b", "a.b."]
)
def test_what_is_no_host_name_is_refused(name: str) -> None:
    with pytest.raises(ProblemError, match="is no host name or address"):
        load_settings({"server.names": [name]}, {})


def test_a_shell_writes_certificates_as_they_are(tmp_path: Path) -> None:
    files = ensure_tls_files(tmp_path / "tls", ())
    bundle = "# Issuer: NetLock Főtanúsítvány \x80 $(exit 3) `exit 3` END_OF_FILE\n" + files.bundle.read_text(
        "utf-8"
    )
    path = tmp_path / "it's there" / "x.pem"
    key = tmp_path / "it's there" / "x.key"
    lines = env_file.render_files({str(path): bundle, str(key): files.key.read_text()})
    subprocess.run(["sh", "-eu"], input=lines, text=True, check=True, timeout=60)
    held, written = (ssl.create_default_context(cafile=str(one)) for one in (files.bundle, path))
    assert written.get_ca_certs(binary_form=True) == held.get_ca_certs(binary_form=True)
    assert key.read_text() == files.key.read_text()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[query]\nthreds = 1", "query.threads"),
        ("[query]\nthreds = 1", "there is no such setting"),
        ("[query]\nthreds = 1", "Did you mean query.threads?"),
        ("[query]\nnope = 1", "`headrace settings` lists all"),
        ("[qurey]\nthreads = 1", "Did you mean the section query?"),
        ("[query]\nthreads = 'x'", "query.threads"),
        ("[query", "headrace.toml"),
    ],
)
def test_a_wrong_setting_is_named_with_its_origin(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "headrace.toml"
    file.write_text(text)
    with pytest.raises(ProblemError) as refused:
        load_settings({}, {}, file)
    problem = refused.value.problems[0]
    assert says in problem.message + (problem.hint or "")
    assert str(file) in problem.message


def test_settings_that_belong_together_are_named_without_a_guess(tmp_path: Path) -> None:
    with pytest.raises(ProblemError) as refused:
        load_settings({}, {"HEADRACE_TLS_CERTIFICATE": str(tmp_path / "server.pem")})
    (problem,) = refused.value.problems
    assert (problem.message, problem.hint) == ("tls.certificate and tls.key must be set together.", None)


def test_trusted_issuers_come_from_a_variable_as_json_and_their_faults_are_named() -> None:
    name = "HEADRACE_IDENTITY_TRUSTED_ISSUERS"
    found = load_settings({}, {name: '[{"issuer": "https://x", "audiences": ["a"]}]'}).settings
    assert [(one.issuer, one.audiences) for one in found.identity.trusted_issuers] == [("https://x", ("a",))]
    derived = '{"issuer": "https://y", "object_ids": "derived"}'
    assert load_settings({}, {name: f'[{{"issuer": "https://x"}}, {derived}]'})
    twice, both = (
        '[{"issuer": "https://x"}, {"issuer": "https://x"}]',
        '[{"issuer": "https://x"}, {"issuer": "https://y"}]',
    )
    for value in ('[{"isuer": "https://x"}]', "nonsense", '"text"', twice, both):
        with pytest.raises(ProblemError) as refused:
            load_settings({}, {name: value})
        assert f"(from {name})" in refused.value.problems[0].message
        assert refused.value.problems[0].hint is None


def test_every_setting_has_a_description_and_a_variable_of_its_own() -> None:
    fields = setting_fields()
    assert all(info.description for info in fields.values())
    assert len({variable_name(name) for name in fields}) == len(fields)


@given(
    st.dictionaries(
        st.from_regex(r"[A-Z_]{1,12}", fullmatch=True),
        st.text(
            st.characters(exclude_categories=["C"], exclude_characters="\n\r\x85\u2028\u2029"), max_size=40
        ),
    )
)
def test_an_env_file_reads_back(variables: dict[str, str]) -> None:
    assert env_file.parse(env_file.render(variables)) == variables


def test_an_env_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "headrace.env"
    env_file.write(path, {"A": "1"})
    env_file.write(path, {"A": "2"})
    assert path.read_text() == "export A=2\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_second_server_is_kept_out(tmp_path: Path) -> None:
    import os

    _, (lock,) = open_data_folder(tmp_path / "data", RealDisk())
    with pytest.raises(ProblemError, match="Another Headrace server"):
        open_data_folder(tmp_path / "data", RealDisk())
    os.close(lock)
    os.close(*open_data_folder(tmp_path / "data", RealDisk())[1])


def test_a_newer_format_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "format.json").write_text('{"journal": 1, "tables": 99, "store": 1}')
    with pytest.raises(ProblemError, match="tables format is version 99"):
        open_data_folder(tmp_path, RealDisk())


def test_clients_never_find_half_of_the_bundle(tmp_path: Path) -> None:
    files = ensure_tls_files(tmp_path, ())
    whole = files.bundle.read_bytes()
    assert whole.endswith(files.ca.read_bytes())
    files.bundle.write_bytes(whole[:100])
    with files.bundle.open("rb") as reader:
        ensure_tls_files(tmp_path, ())
        # It was put in the place of the other, which whoever had it open still has.
        assert reader.read() == whole[:100]
    assert files.bundle.read_bytes() == whole


def test_the_certificate_names_all_hosts_and_is_renewed_while_the_ca_stays(tmp_path: Path) -> None:
    files = ensure_tls_files(tmp_path, ("logs.example.net", "10.1.2.3"))
    ca = files.ca.read_bytes()
    leaf = x509.load_pem_x509_certificates(files.certificate.read_bytes())[0]
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {str(name.value) for name in names} == {
        "localhost",
        "127.0.0.1",
        "::1",
        "logs.example.net",
        "10.1.2.3",
    }
    assert stat.S_IMODE(files.key.stat().st_mode) == 0o600
    again = ensure_tls_files(tmp_path, ("logs.example.net", "10.1.2.3"))
    assert x509.load_pem_x509_certificates(again.certificate.read_bytes())[0] == leaf
    later = ensure_tls_files(tmp_path, (), datetime.now(UTC) + timedelta(days=380))
    assert x509.load_pem_x509_certificates(later.certificate.read_bytes())[0] != leaf
    assert later.ca.read_bytes() == ca


@pytest.mark.parametrize(
    "damage", [lambda _: b"", lambda content: bytes(len(content)), lambda content: content[:90]]
)
@pytest.mark.parametrize("name", ["ca.pem", "ca.key", "server.pem", "server.key"])
def test_a_damaged_file_is_mended_and_clients_trust_on(
    tmp_path: Path, name: str, damage: Callable[[bytes], bytes]
) -> None:
    ca = ensure_tls_files(tmp_path, ()).ca.read_bytes()
    (tmp_path / name).write_bytes(damage((tmp_path / name).read_bytes()))
    files = ensure_tls_files(tmp_path, ())
    check_pair(files.certificate, files.key)
    assert files.ca.read_bytes() == ca
    leaf = x509.load_pem_x509_certificates(files.certificate.read_bytes())[0]
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(ca))


def test_a_ca_that_cannot_sign_any_more_is_made_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = ensure_tls_files(tmp_path, ())
    for path in (tmp_path / "ca.key", files.certificate):
        path.write_bytes(b"")
    made = ensure_tls_files(tmp_path, ())
    check_pair(made.certificate, made.key)
    leaf = x509.load_pem_x509_certificates(made.certificate.read_bytes())[0]
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(made.ca.read_bytes()))
    assert "a new CA is made" in caplog.text


def test_parts_that_start_together_have_one_authority(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as starts:
        made = list(starts.map(lambda _: ensure_tls_files(tmp_path / "tls", ("logs.test",)), range(8)))
    (files,) = set(made)
    leaf = x509.load_pem_x509_certificates(files.certificate.read_bytes())[0]
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(files.ca.read_bytes()))
    server_context(files.certificate, files.key)


def test_a_part_that_serves_nobody_leaves_the_certificate_alone(tmp_path: Path) -> None:
    """Its machine may have another name: in a container of its own, say."""
    files = ensure_tls_files(tmp_path / "tls", ("gateway-1",))
    served = files.certificate.read_bytes()
    ensure_tls_files(tmp_path / "tls", ("pipeline-1",), serves=False)
    assert files.certificate.read_bytes() == served


def test_what_is_written_anew_is_whole_whoever_else_writes(tmp_path: Path) -> None:
    """A process of the same number, as in another container, has other temporary names."""
    unshare = ["unshare", "--user", "--map-root-user", "--pid", "--fork"]
    if shutil.which("unshare") is None or subprocess.run([*unshare, "true"], check=False).returncode:
        pytest.skip("this system gives no namespaces to its users")
    program = (
        "import os; from headrace.disk import _own_mark; print(os.getpid(), _own_mark(), flush=True); input()"
    )
    command = [*unshare, sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as one:
        assert one.stdout is not None
        first = one.stdout.readline().split()
        second = subprocess.run(command, input="\n", capture_output=True, text=True, check=True, timeout=60)
        one.communicate("\n", timeout=60)
    told = [*first, *second.stdout.split()]
    assert told[0] == told[2] == "1"
    assert told[1] != told[3]
