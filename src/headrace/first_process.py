"""The duties of the first process of a container, which the system gives no other process.

The kernel drops signals that process 1 has no handler for, so a stop during the first second would be lost, and hands
it every process whose parent has ended, to be waited for: nobody else will. So a command that is process 1 runs in a
child, and this one only passes signals on and waits, as `docker run --init` would have it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Final

_PASSED_ON: Final = frozenset(
    {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2}
)
_DIED_OF_SIGNAL = 128
"""A shell's way to say by which signal a process ended."""


def run_as_first(command: Callable[[], int]) -> int:
    """Run `command` and return its exit code; in a child process where this is the first process of a container.

    To be called before there are threads, and before the signals have handlers.
    """
    return run_in_child(command) if sys.platform == "linux" and os.getpid() == 1 else command()


def run_in_child(command: Callable[[], int]) -> int:
    """Run `command` in a child process and return its exit code, 128 and its number if a signal ended it.

    Meanwhile signals are passed on to it, and orphans that come to this process are waited for. In the child, it
    returns as `command` does.
    """
    assert sys.platform == "linux"
    watched = _PASSED_ON | {signal.SIGCHLD}
    # Held back from before the child is there, so that none is lost.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return command()
    try:
        while True:
            told = signal.sigwaitinfo(watched)
            if told.si_signo == signal.SIGCHLD:
                status = _wait_for_the_dead(child)
                if status is not None:
                    code = os.waitstatus_to_exitcode(status)
                    return code if code >= 0 else _DIED_OF_SIGNAL - code
            elif told.si_code <= 0:
                # Sent by a process; what a terminal's keys send, the child has got as well.
                os.kill(child, told.si_signo)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _wait_for_the_dead(child: int) -> int | None:
    """Wait for every process that has ended; the status of `child` if it is among them."""
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == child:
            found = status
