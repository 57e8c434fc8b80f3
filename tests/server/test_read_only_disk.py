"""A disk that turns read-only or refuses writes for a while: 503s that say so, nothing acknowledged is lost."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from tests.server.kit import TABLES, Api, Rule, api_of, assert_once, eventually, ids_of, sending
from tests.server.test_full_disk import accepted_again, small_disk
from tests.servers import ServerProcess, running_server, start_server

pytestmark = [pytest.mark.server, pytest.mark.timeout(240)]

ID = {"Id": "string"}
SETTINGS = {
    "HEADRACE_JOURNAL_SEGMENT_BYTES": "262144",
    "HEADRACE_TABLES_COMMIT_SECONDS": "0.3",
    "HEADRACE_TRANSFORM_BATCH_SECONDS": "0.1",
}


def run(*command: str) -> None:
    """A command that needs rights and tools; without them the test is skipped, with what was said."""
    program = shutil.which(command[0])
    if program is None or os.geteuid() != 0:
        pytest.skip(f"needs {command[0]} and the right to mount a file system")
    done = subprocess.run([program, *command[1:]], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"{command[0]} is not permitted here: {done.stderr.strip()}")


@contextmanager
def failing_disk(folder: Path, image: Path) -> Iterator[None]:
    """An ext4 of its own on the folder, of the kind that turns read-only after an error."""
    folder.mkdir(parents=True, exist_ok=True)
    if not image.exists():
        with image.open("wb") as file:
            file.truncate(256 << 20)
        run("mkfs.ext4", "-q", "-F", str(image))
    run("mount", "-o", "loop,errors=remount-ro", str(image), str(folder))
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def turn_read_only(folder: Path) -> None:
    """What ext4 does by itself after an error: from now on every write gets EROFS, on open files too."""
    run("mount", "-o", "remount,abort", str(folder))


def refused(answer: httpx.Response) -> bool:
    """Whether a payload got the documented refusal, and not 204."""
    if answer.status_code == 204:
        return False
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["retry-after"]) >= 1
    error = answer.json()["error"]
    assert answer.headers["x-ms-error-code"] == error["code"] == "ServiceUnavailable"
    assert "disk refuses" in error["message"]
    return True


def broken_journals(api: Api) -> int:
    """The sum of `headrace_journal_broken`."""
    text = api.http.get(f"{api.base}/metrics").text
    return int(sum(map(float, re.findall(r"^headrace_journal_broken\{[^}]*\} (\S+)$", text, re.MULTILINE))))


def send_until_refused(rule: Rule, prefix: str) -> set[str]:
    """One row after another until the first refusal; the ids that were taken."""
    taken: set[str] = set()
    while not refused(answer := rule.post(f'[{{"Id": "{prefix}-{len(taken)}"}}]'.encode())):
        assert answer.status_code == 204
        taken.add(f"{prefix}-{len(taken)}")
        assert len(taken) < 100, "a disk that takes nothing was never noticed"
    return taken


def test_a_file_system_that_turned_read_only(tmp_path: Path) -> None:
    """Everything on one disk: journal, tables, store. Such a file system needs a stop, a check and a mount."""
    data, image = tmp_path / "data", tmp_path / "image"
    arguments = ("--data-dir", str(data), "--port", "0", "--quiet")
    with failing_disk(data, image):
        server = start_server(tmp_path, *arguments, variables=SETTINGS)
        try:
            with api_of(server) as api:
                sent = _until_read_only(api, server, data)
            _end_all_but_the_engine(server)
        finally:
            server.kill_all()
    assert "Traceback" not in server.log.read_text()
    with (
        failing_disk(data, image),
        running_server(tmp_path, *arguments, variables=SETTINGS) as again,
        api_of(again) as api,
    ):
        found = eventually(lambda: ids_of(api, "Fixed_CL"), lambda seen: sent <= set(seen))
        assert set(found.values()) == {1}
        assert {one for one in found if not one.startswith("later")} == sent
        assert broken_journals(api) == 0


def _until_read_only(api: Api, server: ServerProcess, data: Path) -> set[str]:
    api.make_table("Fixed_CL", ID)
    rule = api.make_rule("fixed", ID, "Fixed_CL")
    rule.send([{"Id": "before"}])
    eventually(lambda: ids_of(api, "Fixed_CL"), bool)
    sent = {f"held-{number}" for number in range(20)} | {"before"}
    for one in sorted(sent - {"before"}):
        rule.send([{"Id": one}])
    gateways = [child.pid for child in server.children("gateway")]
    turn_read_only(data)
    assert send_until_refused(rule, "later") == set()
    for _ in range(3):
        assert refused(rule.post(b'[{"Id": "later"}]'))
    assert rule.post(b"{").status_code == 400
    assert eventually(lambda: broken_journals(api), bool) == 1
    assert ids_of(api, "Fixed_CL")["before"] == 1
    columns = [{"name": "TimeGenerated", "type": "datetime"}]
    body = {"properties": {"schema": {"name": "New_CL", "columns": columns}}}
    answer = api.arm("PUT", f"{api.workspace}/tables/New_CL", body, version=TABLES)
    assert answer.status_code == 503, answer.text
    assert answer.json()["error"]["code"] == "ServiceUnavailable"
    told = r"gateway-0 ERROR .* takes nothing more: the disk refused a write: Read-only file system\."
    eventually(server.log.read_text, lambda seen: re.search(told, seen) is not None)
    assert [child.pid for child in server.children("gateway")] == gateways
    for child in server.children("gateway"):
        child.kill()
    eventually(lambda: _answer(rule), lambda answer: answer is not None and refused(answer))
    assert broken_journals(api) == 1
    started = [child.pid for child in server.children("gateway")]
    assert not set(started) & set(gateways)
    for _ in range(3):
        assert refused(rule.post(b'[{"Id": "later"}]'))
    assert [child.pid for child in server.children("gateway")] == started
    return sent


def _answer(rule: Rule) -> httpx.Response | None:
    """The answer to a payload; None while nobody listens, or does not know the rules yet."""
    try:
        answer = rule.post(b'[{"Id": "later"}]')
    except httpx.TransportError:
        return None
    return answer if "disk" in answer.text else None


def test_a_start_on_a_read_only_disk_of_the_journal(tmp_path: Path) -> None:
    """A server with that runs: it answers queries, and 503 to payloads until the disk takes data."""
    data = tmp_path / "data"
    journal = data / "journal"
    arguments = ("--data-dir", str(data), "--port", "0", "--quiet")
    with small_disk(journal, "64m"):
        with running_server(tmp_path, *arguments, variables=SETTINGS) as server, api_of(server) as api:
            api.make_table("Start_CL", ID)
            rule = api.make_rule("start", ID, "Start_CL")
            rule.send([{"Id": "before"}])
            eventually(lambda: ids_of(api, "Start_CL"), bool)
        subprocess.run(["mount", "-o", "remount,ro", str(journal)], check=True)
        with running_server(tmp_path, *arguments, variables=SETTINGS) as server, api_of(server) as api:
            rule = Rule(api, rule.path, rule.immutable_id, rule.stream)
            gateways = [child.pid for child in server.children("gateway")]
            for _ in range(3):
                assert refused(rule.post(b'[{"Id": "never"}]'))
            assert broken_journals(api) == 1
            assert ids_of(api, "Start_CL") == {"before": 1}
            subprocess.run(["mount", "-o", "remount,rw", str(journal)], check=True)
            accepted_again(rule, "after")
            assert broken_journals(api) == 0
            assert [child.pid for child in server.children("gateway")] == gateways
            eventually(lambda: ids_of(api, "Start_CL"), lambda seen: seen == {"before": 1, "after": 1})


def _end_all_but_the_engine(server: ServerProcess) -> None:
    """As a stop does, without the engine's wait for what it cannot store: they end well on such a disk, too."""
    os.kill(server.process.pid, signal.SIGSTOP)
    ended = server.children("gateway") + server.children("query")
    for process in ended:
        process.terminate()
    eventually(
        lambda: [process.status() for process in ended], lambda seen: set(seen) == {psutil.STATUS_ZOMBIE}
    )


@contextmanager
def refusing_writes(server: ServerProcess) -> Iterator[None]:
    """No process of the server may write to a file: a disk that refuses data, for which no rights are needed."""
    processes = psutil.Process(server.process.pid).children(recursive=True)
    limits = [process.rlimit(resource.RLIMIT_FSIZE) for process in processes]
    for process, (_, hard) in zip(processes, limits, strict=True):
        process.rlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        for process, limit in zip(processes, limits, strict=True):
            if process.is_running():
                process.rlimit(resource.RLIMIT_FSIZE, limit)


@pytest.mark.skipif(not hasattr(psutil.Process, "rlimit"), reason="limits of other processes are Linux's")
def test_a_disk_that_refuses_writes_for_a_while(tmp_path: Path) -> None:
    arguments = ("--data-dir", str(tmp_path / "data"), "--port", "0", "--quiet")
    with running_server(tmp_path, *arguments, variables=SETTINGS) as server, api_of(server) as api:
        api.make_table("While_CL", ID)
        rule = api.make_rule("while", ID, "While_CL")
        with sending(rule, "w", patient=True) as sender:
            sender.wait_for_more(50)
            eventually(lambda: ids_of(api, "While_CL"), bool)
            with refusing_writes(server):
                eventually(lambda: rule.post(b'[{"Id": "w-never"}]'), refused)
                assert eventually(lambda: broken_journals(api), bool) == 1
                assert ids_of(api, "While_CL")
            accepted_again(rule, "w-again")
            sender.wait_for_more(50)
        sender.tried |= {"w-again", "w-never"}
        assert_once(api, "While_CL", sender)
        assert broken_journals(api) == 0
        api.make_table("Next_CL", ID)


def test_a_read_only_disk_of_the_tables(tmp_path: Path) -> None:
    """Payloads are accepted as long as the journal can be written; their rows wait for the tables' disk."""
    data = tmp_path / "data"
    tables = data / "tables"
    arguments = ("--data-dir", str(data), "--port", "0", "--quiet")
    with (
        small_disk(tables, "64m"),
        running_server(tmp_path, *arguments, variables=SETTINGS) as server,
        api_of(server) as api,
    ):
        api.make_table("Shut_CL", ID)
        rule = api.make_rule("shut", ID, "Shut_CL")
        with sending(rule, "t") as sender:
            sender.wait_for_more(50)
            eventually(lambda: ids_of(api, "Shut_CL"), bool)
            # Busy while a file is being written: then once more.
            eventually(
                lambda: (
                    subprocess.run(["mount", "-o", "remount,ro", str(tables)], capture_output=True).returncode
                ),
                lambda code: code == 0,
            )
            sender.wait_for_more(100)
            shown = len(ids_of(api, "Shut_CL"))
            sender.wait_for_more(100)
            assert len(ids_of(api, "Shut_CL")) == shown < len(sender.acknowledged)
            subprocess.run(["mount", "-o", "remount,rw", str(tables)], check=True)
        assert_once(api, "Shut_CL", sender)
