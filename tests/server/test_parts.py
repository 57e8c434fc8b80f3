"""A server in parts on one data folder: each comes and goes by itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from headrace.env_file import parse
from tests.server.kit import Api, Rule, eventually, ids_of

pytestmark = pytest.mark.server

SECONDS = 60.0


@contextmanager
def part(folder: Path, role: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "headrace", "serve", "--role", role, "--data-dir", str(folder / "data")]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HEADRACE_", "AZURE_"))}
    with (folder / f"{role}.log").open("ab") as log:
        process = subprocess.Popen([*command, *arguments], env=kept, stdout=log, stderr=log, cwd=folder)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0, (folder / f"{role}.log").read_text()


def variables(path: Path) -> dict[str, str]:
    deadline = time.monotonic() + SECONDS
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return parse(path.read_text())


def seen_by(api: Api, ids: set[str]) -> None:
    eventually(lambda: set(ids_of(api, "Parts_CL")), lambda seen: seen == ids)


def test_parts_share_a_folder_and_one_may_be_gone(tmp_path: Path) -> None:
    with ExitStack() as stack:
        # In the wrong order: each waits for what it needs.
        for name in ("one", "two"):
            arguments = ("--port", "0", "--env-file", str(tmp_path / f"{name}.env"))
            stack.enter_context(part(tmp_path, "gateway", *arguments))
        stack.enter_context(part(tmp_path, "query"))
        with part(tmp_path, "pipeline"):
            first, second = (Api(variables(tmp_path / f"{name}.env")) for name in ("one", "two"))
            stack.callback(first.close)
            stack.callback(second.close)
            assert first.base != second.base
            first.make_table("Parts_CL", {"Id": "string"})
            rule = first.make_rule("parts", {"Id": "string"}, "Parts_CL")
            rules = [rule, Rule(second, rule.path, rule.immutable_id, rule.stream)]
            for number, rule in enumerate(rules):
                rule.send([{"Id": f"early-{number}"}])
            for api in (first, second):
                seen_by(api, {"early-0", "early-1"})
        # Without the pipeline what is sent is durable, and what is there can be asked for.
        rules[0].send([{"Id": "meanwhile"}])
        assert set(ids_of(second, "Parts_CL")) == {"early-0", "early-1"}
        with part(tmp_path, "pipeline"):
            eventually(lambda: ids_of(second, "Parts_CL")["meanwhile"], lambda seen: seen == 1)


def test_a_part_that_is_there_already_is_refused(tmp_path: Path) -> None:
    with part(tmp_path, "pipeline"):
        eventually(lambda: (tmp_path / "data" / "lock.pipeline").exists(), bool)
        for arguments in (["serve", "--role", "pipeline"], ["up", "--port", "0"]):
            command = [sys.executable, "-m", "headrace", *arguments, "--data-dir", str(tmp_path / "data")]
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
            assert done.returncode == 1 and "Another Headrace server uses" in done.stderr
