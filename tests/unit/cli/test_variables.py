"""Variables that begin with HEADRACE_ and are none: told of, with what may be meant."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from headrace import env_file
from headrace.cli.main import main
from headrace.cli.variables import unknown_variables
from headrace.settings import setting_fields, variable_name


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("HEADRACE_SERVER_PROT", "HEADRACE_SERVER_PORT"),
        ("HEADRACE_PORT", "HEADRACE_SERVER_PORT"),
        ("HEADRACE_THREADS", "HEADRACE_TRANSFORM_THREADS or HEADRACE_QUERY_THREADS"),
        ("HEADRACE_server_port", "`headrace settings`"),
        ("HEADRACE_", "`headrace settings`"),
        ("HEADRACE_NONSENSE_ALTOGETHER", "`headrace settings`"),
    ],
)
def test_an_unknown_variable_is_named_with_what_may_be_meant(name: str, meant: str) -> None:
    (problem,) = unknown_variables({name: "s3cret", "HOME": "/"})
    assert problem.target == name and name in problem.message
    assert problem.hint is not None and meant in problem.hint
    assert "s3cret" not in problem.message + problem.hint


def test_known_variables_are_not_told_of() -> None:
    sample = env_file.Sample(*["x"] * 12)
    endpoint = env_file.Endpoint(
        "https://localhost", Path("ca"), Path("all"), "http://a", "http://b", "x", Path("cert"), Path("key")
    )
    written = env_file.environment(sample, endpoint)
    assert {name for name in written if name.startswith("HEADRACE_")} == env_file.OWN_NAMES
    settings = [variable_name(setting) for setting in setting_fields()]
    known = {**dict.fromkeys(settings, "1"), **written, "HEADRACE_TEST_AZ": "az"}
    assert list(unknown_variables(known)) == []


def test_what_kubernetes_sets_for_a_service_of_that_name_is_not_told_of() -> None:
    given = {
        "HEADRACE_SERVICE_HOST": "10.0.0.1",
        "HEADRACE_SERVICE_PORT": "8443",
        "HEADRACE_GATEWAY_SERVICE_PORT_HTTPS": "8443",
        "HEADRACE_PORT": "tcp://10.0.0.1:8443",
        "HEADRACE_PORT_8443_TCP_ADDR": "10.0.0.1",
    }
    assert list(unknown_variables(given)) == []


@pytest.mark.parametrize("command", ["up", "serve", "settings"])
def test_commands_that_read_settings_warn(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    monkeypatch.setenv("HEADRACE_SERVER_PROT", "1234")
    monkeypatch.setattr(sys, "argv", ["headrace", command, "--config", "/none.toml"])
    assert main() == 1  # The settings are wrong, too: nothing is started.
    told = capsys.readouterr().err
    assert "HEADRACE_SERVER_PROT" in told and "HEADRACE_SERVER_PORT?" in told and "1234" not in told
