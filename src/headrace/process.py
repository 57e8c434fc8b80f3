"""What a child process is told, and its frame: it starts one role and stops when told or orphaned.

The supervisor writes one line of JSON to the child's standard input and keeps the pipe open. When the pipe
ends, the supervisor is gone, however it ended, and the child stops too.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from headrace.settings import Settings

_log = logging.getLogger(__name__)

Role = Literal["gateway", "engine", "query"]

_COLLECT_AFTER = 20_000
"""Objects that the youngest generation may grow by."""


class ProcessConfig(BaseModel):
    """Everything a child needs to know."""

    model_config = ConfigDict(frozen=True)

    role: Role
    index: int = 0
    settings: Settings
    port: int
    base_url: str
    """Where clients reach the server when their request does not say."""
    hosts: tuple[str, ...]
    """Names and addresses in the certificate."""
    certificate: Path
    key: Path
    client_cas: tuple[Path, ...] = ()
    """Clients must show a certificate by one of these, where there are any."""
    http_authority_port: int | None = None
    managed_identity_port: int | None = None
    managed_identity_header: str = ""
    """What the App Service form of the managed identity asks for; made anew at each start."""
    gateway_processors: tuple[int, ...] = ()
    """The processor that each gateway has to itself; empty where they have none."""
    verbose: bool = False
    restarts: int = 0
    """How often this process was started again."""

    @property
    def name(self) -> str:
        """The process among its kind: `gateway-0`."""
        return f"{self.role}-{self.index}"


RoleMain = Callable[[ProcessConfig, asyncio.Event], Awaitable[None]]


def run_child(
    load: Callable[[ProcessConfig], RoleMain], told_plainly: tuple[type[Exception], ...] = (OSError,)
) -> int:
    """Run the role that standard input names until SIGTERM or the end of standard input; the exit code.

    Exceptions that are `told_plainly`, as those of a disk that refuses, take a line of the log: they can come again at
    every start.
    """
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):
        # The supervisor was gone before it could say.
        return 0
    config = ProcessConfig.model_validate_json(line)
    configure_logging(config.verbose, config.name)
    try:
        run_event_loop(_run(config, load(config)))
    except told_plainly as error:
        _log.error("%s cannot go on: %s", config.name, error, exc_info=config.verbose)
        return 1
    return 0


def run_event_loop(main: Awaitable[None]) -> None:
    """Run to the end on uvloop where there is one."""

    async def run() -> None:
        await main

    if sys.platform == "win32":
        asyncio.run(run())
        return
    import uvloop

    uvloop.run(run())


def configure_logging(verbose: bool, process: str) -> None:
    """Log lines go to standard error, with the process's name."""
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format=f"%(asctime)s {process} %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
        force=True,
    )
    for noisy in ("httpx", "alembic", "uvicorn.error"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    if process.startswith("gateway"):
        # Anyone can send what is no HTTP: not a line of log each.
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)


def rest_the_collector() -> None:
    """What has been made so far stays, and what comes makes few cycles: look for garbage seldom, and only there."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)


async def _run(config: ProcessConfig, main: RoleMain) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    watcher = asyncio.create_task(_stop_when_orphaned(stop))
    try:
        await main(config, stop)
    finally:
        watcher.cancel()


async def _stop_when_orphaned(stop: asyncio.Event) -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer
    )
    await reader.read()
    stop.set()
