"""The command itself, in a process of its own: exit codes, what it imports, and its work on a real server."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from tests.servers import ServerProcess

from headrace.cli.main import main

HEAVY = (
    "duckdb",
    "pyarrow",
    "sqlalchemy",
    "granian",
    "starlette",
    "uvicorn",
    "deltalake",
    "alembic",
    "sqlglot",
)


def headrace(
    *arguments: str, env: dict[str, str] | None = None, text: str | None = None, code: int = 0
) -> subprocess.CompletedProcess[str]:
    base = {name: value for name, value in os.environ.items() if not name.startswith(("HEADRACE_", "AZURE_"))}
    done = subprocess.run(
        [sys.executable, "-m", "headrace", *arguments],
        env=base | (env or {}),
        input=text or "",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def in_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> tuple[int, str, str]:
    """The same without a process of its own, which is quicker: exit code, output, errors."""
    for name in [name for name in os.environ if name.startswith(("HEADRACE_", "AZURE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "argv", ["headrace", *arguments])
    code = main()
    found = capsys.readouterr()
    return code, found.out, found.err


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("query", "-h"), ("send", "-h"), ("env", "-h"), ("app", "create", "-h"), ("--version",)],
)
def test_help_ends_with_0(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    code, out, err = in_process(monkeypatch, capsys, arguments)
    assert (code, err) == (0, "") and "eadrace" in out


@pytest.mark.parametrize(
    "arguments",
    [
        ("--wrong",),
        ("nothing",),
        ("send",),
        ("query", "--wait", "soon", "print 1"),
        ("query", "--output", "xml", "print 1"),
        ("up", "--port", "70000"),
        ("query", "print 1", "--file", "x.kql"),
    ],
)
def test_wrong_usage_ends_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    code, out, err = in_process(monkeypatch, capsys, arguments)
    assert (code, out) == (2, "") and err


def test_the_process_ends_with_the_code() -> None:
    headrace("--wrong", code=2)
    headrace("settings", "--config", "/none.toml", code=1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("query", "print 1", "--env-file", "/none.env"), "/none.env"),
        (("env", "--data-dir", "/none"), "No server runs on /none"),
        (("settings", "--config", "/none.toml"), "/none.toml"),
        (("app", "create", "x", "--certificate", "/none.pem", "--env-file", "/none.env"), "/none.pem"),
    ],
)
def test_a_failure_is_one_line_and_1(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    words: str,
) -> None:
    code, out, err = in_process(monkeypatch, capsys, arguments)
    assert (code, out) == (1, "") and words in err and len(err.splitlines()) == 1


def loaded_by(arguments: tuple[str, ...], env: dict[str, str]) -> str:
    """Which of the server's heavy parts a command loads."""
    program = (
        "import sys\nfrom headrace.cli.main import main\n"
        f"sys.argv = ['headrace', *{list(arguments)!r}]\nassert main() == 0\n"
        f"sys.stderr.write(','.join(name for name in {HEAVY!r} if name in sys.modules))"
    )
    command = [sys.executable, "-c", program]
    return subprocess.run(
        command, env={**os.environ, **env}, capture_output=True, text=True, timeout=60, check=True
    ).stderr


def test_help_does_not_load_the_server() -> None:
    assert loaded_by(("--help",), {}) == ""


def test_settings_say_where_they_come_from(tmp_path: Path) -> None:
    config = tmp_path / "headrace.toml"
    config.write_text("[query]\nmax_rows = 7\n")
    done = headrace("settings", "--config", str(config), "-o", "json", env={"HEADRACE_SERVER_PORT": "9443"})
    found = {row["setting"]: row for row in json.loads(done.stdout)}
    assert (found["query.max_rows"]["value"], found["query.max_rows"]["from"]) == ("7", str(config))
    assert (found["server.port"]["value"], found["server.port"]["from"]) == ("9443", "HEADRACE_SERVER_PORT")
    assert found["ingest.max_rows"]["variable"] == "HEADRACE_INGEST_MAX_ROWS"


@pytest.mark.server
class TestWithAServer:
    def ask(self, server: ServerProcess, kql: str) -> list[dict[str, Any]]:
        done = headrace("query", kql, "-o", "json", env=server.env)
        rows: list[dict[str, Any]] = json.loads(done.stdout)
        return rows

    def count(self, server: ServerProcess, name: str, wanted: int) -> int:
        query = f"HeadraceSample_CL | where Computer == '{name}' | count"
        deadline = time.monotonic() + 30
        while (found := int(self.ask(server, query)[0]["Count"])) < wanted and time.monotonic() < deadline:
            time.sleep(0.1)
        return found

    def test_env_prints_what_a_shell_and_a_program_read(self, server: ServerProcess) -> None:
        folder = str(Path(server.env["HEADRACE_CA_FILE"]).parents[1])
        as_json = headrace("env", "--data-dir", folder, "--output", "json").stdout
        assert json.loads(as_json) == server.env
        lines = headrace("env", "--data-dir", folder).stdout
        shell = subprocess.run(
            ["bash", "-c", f"{lines}\necho $HEADRACE_TABLE"], capture_output=True, text=True, check=True
        )
        assert shell.stdout.strip() == server.env["HEADRACE_TABLE"]

    @pytest.mark.parametrize(
        ("options", "code", "says"),
        [
            (("--url", "http://headrace:8443"), 1, "https://HOST:PORT"),
            (("--url", "https://headrace:8443/v1"), 1, "https://HOST:PORT"),
            (("--url", "https://headrace:x"), 1, "https://HOST:PORT"),
            (("--certificates", "tls"), 2, '"$PWD/tls"'),
            (("--certificates", "/tls", "--output", "json"), 2, "by lines for a shell"),
        ],
    )
    def test_env_for_others_says_what_it_needs(
        self, server: ServerProcess, options: tuple[str, ...], code: int, says: str
    ) -> None:
        folder = str(Path(server.env["HEADRACE_CA_FILE"]).parents[1])
        done = headrace("env", "--data-dir", folder, *options, code=code)
        assert says in " ".join(done.stderr.split())

    def test_light_commands_do_not_load_the_server(self, server: ServerProcess, tmp_path: Path) -> None:
        file = tmp_path / "rows.ndjson"
        file.write_text('{"Computer":"x","Message":"light"}')
        folder = str(Path(server.env["HEADRACE_CA_FILE"]).parents[1])
        for arguments in (
            ("query", "print 1"),
            ("send", str(file), "--quiet"),
            ("env", "--data-dir", folder),
        ):
            assert loaded_by(arguments, server.env) == "", arguments

    def test_query_in_each_form(self, server: ServerProcess, tmp_path: Path) -> None:
        kql = "print a = 1, b = 'x, y', c = dynamic({\"k\": 1}), d = real(null)"
        assert self.ask(server, kql) == [{"a": 1, "b": "x, y", "c": '{"k":1}', "d": None}]
        found = headrace("query", "-", "-o", "csv", env=server.env, text=kql).stdout
        assert list(csv.reader(io.StringIO(found))) == [["a", "b", "c", "d"], ["1", "x, y", '{"k":1}', ""]]
        file = tmp_path / "query.kql"
        file.write_text(kql)
        line = headrace("query", "-f", str(file), "-o", "ndjson", env=server.env).stdout
        assert json.loads(line)["b"] == "x, y"
        assert "x, y" in headrace("query", kql, env=server.env).stdout

    def test_a_wrong_query_is_marked_where_it_is_wrong(self, server: ServerProcess) -> None:
        done = headrace(
            "query", "HeadraceSample_CL\n| where 日 == 1 and Computr == 'a'", env=server.env, code=1
        )
        lines = done.stderr.splitlines()
        assert lines[2] == "  | where 日 == 1 and Computr == 'a'"
        # The character before is two cells wide.
        assert lines[3] == " " * (2 + len("| where 日 == 1 and ") + 1) + "^" * len("Computr")
        assert "line 2" in lines[-1] and "Did you mean `Computer`?" in lines[-1]

    def test_an_unknown_workspace_and_no_rows_are_said(self, server: ServerProcess) -> None:
        done = headrace("query", "print 1", "--workspace", "nope", env=server.env, code=1)
        assert "'nope'" in done.stderr and "--workspace takes" in done.stderr
        done = headrace("query", "Syslog | project Computer", env=server.env)
        assert (done.stdout, done.stderr) == ("Computer\n", "No rows.\n")

    def test_a_chart_has_a_bar_a_row_in_order_of_time(self, server: ServerProcess) -> None:
        kql = (
            "datatable (t: datetime, n: long) [datetime(2026-01-02), 1, datetime(2026-01-01), 2]"
            " | render timechart"
        )
        lines = headrace("query", kql, env=server.env).stdout.splitlines()
        assert [line.split()[:2] for line in lines[1:]] == [
            ["2026-01-01T00:00:00Z", "2"],
            ["2026-01-02T00:00:00Z", "1"],
        ]
        assert lines[1].count("█") > lines[2].count("█") > 0

    def test_send_takes_every_format(self, server: ServerProcess, tmp_path: Path) -> None:
        name = uuid.uuid4().hex
        row = json.dumps({"Computer": name, "Message": "x"})
        (tmp_path / "rows.json").write_text(f"[{row},{row}]")
        (tmp_path / "rows.csv").write_text(f"Computer,Message\n{name},x\n{name},y\n")
        assert "2 rows durable" in headrace("send", str(tmp_path / "rows.json"), env=server.env).stderr
        headrace("send", str(tmp_path / "rows.csv"), "--quiet", env=server.env)
        headrace("send", "-", env=server.env, text=f"{row}\n{row}\n")
        assert self.count(server, name, 6) == 6

    def test_send_says_which_rows_are_refused(self, server: ServerProcess, tmp_path: Path) -> None:
        (tmp_path / "rows.ndjson").write_text('{"Computer":"x"}\n')
        done = headrace(
            "send", str(tmp_path / "rows.ndjson"), "--stream", "Custom-None", env=server.env, code=1
        )
        assert "rows 1 to 1" in done.stderr and "The rule's streams are" in done.stderr

    def test_an_interrupted_upload_goes_on_and_doubles_nothing(
        self, server: ServerProcess, tmp_path: Path
    ) -> None:
        name = uuid.uuid4().hex
        file, total = tmp_path / "rows.ndjson", 60_000
        with file.open("w") as out:
            for number in range(total):
                out.write(json.dumps({"Computer": name, "Message": f"{number} " + "x" * 500}) + "\n")
        env = {**os.environ, **server.env}
        command = [sys.executable, "-m", "headrace", "send", str(file), "--quiet"]
        point = tmp_path / "rows.ndjson.headrace-resume"
        first = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
        while not point.exists() and first.poll() is None:
            time.sleep(0.001)
        first.send_signal(signal.SIGINT)
        _, told = first.communicate(timeout=60)
        assert first.returncode == 1, told
        assert "Stopped after" in told and "goes on from there" in told
        done = json.loads(point.read_text())["rows"]
        assert 0 < done < total and f"after {done} rows" in told
        second = headrace("send", str(file), env=server.env)
        assert f"Going on after {done} rows" in second.stderr and f"{total} rows durable" in second.stderr
        assert not point.exists()
        assert self.count(server, name, total) == total

    def test_an_app_is_made_given_a_role_and_sends(self, server: ServerProcess, tmp_path: Path) -> None:
        made = json.loads(headrace("app", "create", "sender", "-o", "json", env=server.env).stdout)
        assert {"clientId", "clientSecret", "principalId", "tenantId"} <= set(made)
        listed = json.loads(headrace("app", "list", "-o", "json", env=server.env).stdout)
        assert made["clientId"] in {app["clientId"] for app in listed}
        assert "clientSecret" not in listed[0]
        mine = server.env | {"AZURE_CLIENT_ID": made["clientId"], "AZURE_CLIENT_SECRET": made["clientSecret"]}
        row = '{"Computer":"x","Message":"y"}'
        refused = headrace("send", "-", env=mine, text=row, code=1)
        assert "does not have access" in refused.stderr
        arguments = ("role", "assign", "monitoring metrics publisher", "--principal", made["principalId"])
        assert "is now" in headrace(*arguments, env=server.env).stdout
        assert "is already" in headrace(*arguments, env=server.env).stdout
        headrace("send", "-", env=mine, text=row)
        roles = json.loads(headrace("role", "list", "-o", "json", env=server.env).stdout)
        assert ("Monitoring Metrics Publisher", made["principalId"]) in {
            (r["role"], r["principal"]) for r in roles
        }
        again = json.loads(
            headrace("app", "reset-secret", made["clientId"], "-o", "json", env=server.env).stdout
        )
        assert "AADSTS7000215" in headrace("send", "-", env=mine, text=row, code=1).stderr
        headrace("send", "-", env=mine | {"AZURE_CLIENT_SECRET": again["clientSecret"]}, text=row)

    def test_an_unknown_role_names_those_there_are(self, server: ServerProcess) -> None:
        done = headrace("role", "assign", "King", "--principal", str(uuid.uuid4()), env=server.env, code=1)
        assert "Monitoring Metrics Publisher" in done.stderr
