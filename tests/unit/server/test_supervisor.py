"""A child process is started again however its last start went."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from headrace import supervisor
from headrace.process import ProcessConfig, run_event_loop
from headrace.settings import Settings
from headrace.supervisor import Child


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(supervisor, "_LONGEST_PAUSE", 0.01)


def child_in(folder: Path) -> Child:
    settings = Settings.model_validate({"data_dir": folder})
    config = ProcessConfig(
        role="query",
        settings=settings,
        port=1,
        base_url="https://localhost:1",
        hosts=(),
        certificate=folder / "server.pem",
        key=folder / "server.key",
    )
    return Child(config, ())


async def restarted(child: Child, times: int) -> None:
    """Run the child until it was started again so often, then stop it."""
    task = asyncio.create_task(child.run())
    while child.restarts < times:
        assert not task.done(), "it is not looked after any more"
        await asyncio.sleep(0.01)
    await child.stop()
    await asyncio.wait_for(task, 30)


def run(work: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(work, 60)

    run_event_loop(bounded())


def test_one_that_is_killed_before_it_is_told_its_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spawn = asyncio.create_subprocess_exec

    async def killed_at_once(*command: str, **options: Any) -> asyncio.subprocess.Process:
        process = await spawn(*command, **options)
        process.kill()
        await process.wait()
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", killed_at_once)
    run(restarted(child_in(tmp_path), 3))


def test_one_that_the_system_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "missing"))
    run(restarted(child_in(tmp_path), 3))


def test_one_that_is_stopped_while_it_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))

    async def stopped() -> None:
        child = child_in(tmp_path)
        task = asyncio.create_task(child.run())
        await asyncio.sleep(0)
        assert child.pid is None
        await child.stop()
        await task

    run(stopped())


def test_one_that_ends_again_and_again_is_told_of_with_measure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "missing"))
    run(restarted(child_in(tmp_path), 30))
    assert 5 <= caplog.text.count("starting it again") < 10


def test_a_store_that_cannot_be_opened_takes_one_line_of_the_log(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"\0" * 4096 + b"no store at all" * 300)
    (tmp_path / "run").mkdir()
    config = child_in(tmp_path).config.model_copy(update={"role": "engine"})
    done = subprocess.run(
        [sys.executable, "-m", "headrace.app", config.name],
        input=config.model_dump_json().encode() + b"\n",
        stderr=subprocess.PIPE,
        check=False,
    )
    (line,) = done.stderr.decode().splitlines()
    assert str(tmp_path / "store.db") in line
    assert done.returncode == 1


def test_one_whose_supervisor_is_gone_at_once_ends_without_a_word() -> None:
    command = [sys.executable, "-m", "headrace.app", "query-0"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
