"""A disk that is full, of the journal alone and of everything: refusals that heal by themselves, no loss."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.server.kit import Api, Rule, api_of, eventually, ids_of
from tests.servers import ServerProcess, running_server

pytestmark = [pytest.mark.server, pytest.mark.timeout(240)]

ID = {"Id": "string"}
SETTINGS = {
    "HEADRACE_JOURNAL_SEGMENT_BYTES": "262144",
    "HEADRACE_TABLES_COMMIT_SECONDS": "0.5",
    "HEADRACE_TRANSFORM_BATCH_SECONDS": "0.1",
}


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A file system of its own, `size` large, mounted on the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("needs the right to mount a file system")
    made = subprocess.run(
        [mount, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True
    )
    if made.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {made.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(scope="module")
def cramped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerProcess, Api, Path]]:
    """A server whose data and whose journal each have a small disk."""
    folder = tmp_path_factory.mktemp("cramped")
    data = folder / "data"
    arguments = ("--data-dir", str(data), "--port", "0", "--quiet")
    with (
        small_disk(data, "64m"),
        small_disk(data / "journal", "3m"),
        running_server(folder, *arguments, variables=SETTINGS) as server,
        api_of(server) as api,
    ):
        yield server, api, data


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Not a byte is left on the folder's disk inside the block."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        size = 1 << 20
        while size:
            try:
                written = file.write(b"\xff" * size)
            except OSError:
                written = 0
            if written < size:
                size //= 2
    try:
        yield
    finally:
        filler.unlink()


def send_until_refused(rule: Rule, prefix: str, most: int = 3000) -> set[str]:
    """Rows of 4 KB each until the first refusal, which must be the documented one; the ids that were taken."""
    taken: set[str] = set()
    for number in range(most):
        one = f"{prefix}-{number}-{'x' * 4000}"
        answer = rule.post(f'[{{"Id": "{one}"}}]'.encode())
        if answer.status_code != 204:
            assert answer.status_code == 503, answer.text
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.headers["x-ms-error-code"] == "ServiceUnavailable"
            assert "disk is full" in answer.json()["error"]["message"]
            return taken
        taken.add(one)
    raise AssertionError("a full disk was never noticed")


def accepted_again(rule: Rule, one: str) -> None:
    body = f'[{{"Id": "{one}"}}]'.encode()
    eventually(lambda: rule.post(body).status_code, lambda seen: seen == 204)


def assert_all_there(api: Api, table: str, sent: set[str]) -> None:
    found = eventually(lambda: ids_of(api, table), lambda seen: sent <= set(seen))
    assert not [one[:20] for one, count in found.items() if count > 1]
    assert {one for one in found if not one.startswith("retry")} == sent - {"retry"}


def test_a_full_journal_disk(cramped: tuple[ServerProcess, Api, Path]) -> None:
    server, api, data = cramped
    api.make_table("Full_CL", ID)
    rule = api.make_rule("full", ID, "Full_CL")
    rule.send([{"Id": "before"}])
    sent = {"before"}
    with filled(data / "journal"):
        sent |= send_until_refused(rule, "j")
        assert api.value("Full_CL | count") >= 0
        assert api.arm("GET", api.workspace, version="2023-09-01").status_code == 200
        # What was refused is refused again, and what is malformed is still told so.
        assert rule.post(b"{").status_code == 400
    accepted_again(rule, "retry")
    rule.send([{"Id": "after"}])
    assert_all_there(api, "Full_CL", sent | {"after", "retry"})
    assert all(child.is_running() for child in server.children("gateway"))


def test_a_full_disk_of_everything(cramped: tuple[ServerProcess, Api, Path]) -> None:
    _, api, data = cramped
    api.make_table("Flood_CL", ID)
    rule = api.make_rule("flood", ID, "Flood_CL")
    rule.send([{"Id": "before"}])
    eventually(lambda: ids_of(api, "Flood_CL"), bool)
    sent = {"before"}
    with filled(data), filled(data / "journal"):
        sent |= send_until_refused(rule, "e")
        # Queries of what is there need no disk; a change of resources is refused in words, if it is.
        assert ids_of(api, "Flood_CL")["before"] == 1
        answer = api.arm("PUT", f"{api.workspace}/tables/Nowhere_CL", {"properties": {"schema": {
            "name": "Nowhere_CL", "columns": [{"name": "TimeGenerated", "type": "datetime"}] * 1}}},
            version="2022-10-01")  # fmt: skip
        assert answer.status_code in (200, 503), answer.text
        assert "Traceback" not in answer.text
    accepted_again(rule, "retry")
    rule.send([{"Id": "after"}])
    assert_all_there(api, "Flood_CL", sent | {"after", "retry"})
    made = api.make_table("Somewhere_CL", ID)
    assert api.arm("GET", made, version="2022-10-01").status_code == 200


def test_a_start_on_a_full_disk_is_one_clear_failure_or_none(tmp_path: Path) -> None:
    from tests.server.test_starts import run_up

    data = tmp_path / "data"
    with small_disk(data, "64k"), filled(data):
        ended = run_up(tmp_path, "--data-dir", str(data), "--port", "0")
        assert ended.returncode == 1
        assert "Traceback" not in ended.stderr, ended.stderr
        assert "space" in ended.stderr
