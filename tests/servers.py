"""Starts real Headrace servers for tests: the command itself, a process tree of its own, its env file."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from headrace.env_file import parse

START_SECONDS = 90.0
STOP_SECONDS = 60.0


def free_port() -> int:
    """A port of loopback that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class ServerProcess:
    """A running `headrace up`, its variables and its log."""

    process: subprocess.Popen[bytes]
    env: dict[str, str]
    log: Path
    arguments: list[str] = field(default_factory=list)

    def children(self, role: str) -> list[psutil.Process]:
        """The processes of one role (`gateway`, `engine`, `query`)."""
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            # One that has just ended has no variables any more.
            with contextlib.suppress(psutil.NoSuchProcess):
                if child.environ().get("HEADRACE_ROLE") == role:
                    found.append(child)
        return found

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)

    def kill_all(self) -> None:
        """SIGKILL for every process at once, as when the power of the process tree goes."""
        processes = [psutil.Process(self.process.pid)]
        processes += processes[0].children(recursive=True)
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait(STOP_SECONDS)
        psutil.wait_procs(processes, STOP_SECONDS)


def start_server(folder: Path, *arguments: str, variables: dict[str, str] | None = None) -> ServerProcess:
    """Start `headrace up` and wait for its env file. Raises `RuntimeError` with the log if it fails."""
    folder.mkdir(parents=True, exist_ok=True)
    env_file = folder / "headrace.env"
    env_file.unlink(missing_ok=True)
    log = folder / "server.log"
    command = [sys.executable, "-m", "headrace", "up", "--env-file", str(env_file), *arguments]
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("HEADRACE_", "AZURE_"))
    }
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            env=environment | (variables or {}),
            cwd=folder,
        )
    deadline = time.monotonic() + START_SECONDS
    while not env_file.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise RuntimeError(f"the server did not start:\n{log.read_text()}")
        time.sleep(0.02)
    return ServerProcess(process, parse(env_file.read_text()), log, command)


@contextlib.contextmanager
def running_server(
    folder: Path, *arguments: str, variables: dict[str, str] | None = None
) -> Iterator[ServerProcess]:
    """A server for the block; it must stop cleanly at the end."""
    server = start_server(folder, *arguments, variables=variables)
    try:
        yield server
    except BaseException:
        if server.process.poll() is None:
            server.kill_all()
        raise
    if server.process.poll() is None:
        assert server.stop() == 0, server.log.read_text()
