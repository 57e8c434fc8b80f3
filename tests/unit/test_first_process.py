"""What the first process of a container does for the others."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has containers' processes")

_PROGRAM = """
import ctypes, fcntl, os, signal, subprocess, sys, termios, time
from pathlib import Path
from headrace.first_process import run_as_first, run_in_child

{command}

sys.exit({run}(command))
"""


def start(
    command: str, run: str = "run_in_child", *before: str, stdin: int = subprocess.DEVNULL
) -> subprocess.Popen[str]:
    """A program whose function `command` is run so."""
    program = _PROGRAM.format(command=textwrap.dedent(command), run=run)
    return subprocess.Popen(
        [*before, sys.executable, "-c", program],
        stdin=stdin,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(process: subprocess.Popen[str]) -> int:
    process.communicate(timeout=60)
    return process.returncode


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("return 0", 0),
        ("return 3", 3),
        ("sys.exit(4)", 4),
        ("os.kill(os.getpid(), signal.SIGKILL)", 128 + signal.SIGKILL),
    ],
)
def test_the_exit_code_is_the_commands(body: str, code: int) -> None:
    assert ended(start(f"def command():\n    {body}")) == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_reach_the_command(number: signal.Signals) -> None:
    process = start(
        f"""
        def command():
            signal.signal({int(number)}, lambda *_: sys.exit(7))
            print("ready", flush=True)
            time.sleep(60)
            return 1
        """
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert ended(process) == 7


def test_a_command_that_takes_no_notice_ends_by_the_signal() -> None:
    process = start(
        """
        def command():
            print("ready", flush=True)
            time.sleep(60)
            return 1
        """
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert ended(process) == 128 + signal.SIGTERM


def test_the_keys_of_a_terminal_are_heard_once() -> None:
    terminal, end = pty.openpty()
    process = start(
        """
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        def command():
            heard = []
            signal.signal(signal.SIGINT, lambda *_: heard.append(1))
            print("ready", flush=True)
            while not heard:
                time.sleep(0.01)
            time.sleep(0.3)
            return len(heard)
        """,
        stdin=end,
    )
    os.close(end)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    os.write(terminal, b"\x03")
    assert ended(process) == 1
    os.close(terminal)


def test_orphans_are_waited_for() -> None:
    orphans = """
        # As the first process of a container does, this one gets the children of those that have ended.
        PR_SET_CHILD_SUBREAPER = 36
        assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0

        def command():
            told = subprocess.run(["sh", "-c", "sleep 0.1 >&- & echo $!"], stdout=subprocess.PIPE, text=True)
            orphan = Path("/proc", told.stdout.strip())
            deadline = time.monotonic() + 30
            while orphan.exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            return 9 if orphan.exists() else 0
        """
    assert ended(start(orphans)) == 0


def test_other_processes_run_the_command_themselves() -> None:
    process = start(
        f"""
        def command():
            return 0 if os.getppid() == {os.getpid()} else 5
        """,
        "run_as_first",
    )
    assert ended(process) == 0


def test_the_first_process_of_a_namespace_has_a_child_for_it() -> None:
    unshare = ["unshare", "--user", "--map-root-user", "--pid", "--fork"]
    if shutil.which("unshare") is None or subprocess.run([*unshare, "true"], check=False).returncode:
        pytest.skip("this system gives no namespaces to its users")
    process = start(
        """
        assert os.getpid() == 1

        def command():
            return 0 if os.getppid() == 1 else 6
        """,
        "run_as_first",
        *unshare,
    )
    assert ended(process) == 0
