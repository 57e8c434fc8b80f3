"""The supervisor: it owns the data folder's lock and the port, and keeps the processes running."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

import httpx

from headrace.machine import processor_limit
from headrace.process import ProcessConfig, Role

_log = logging.getLogger(__name__)

STOP_ORDER: tuple[Role, ...] = ("gateway", "query", "engine")
"""Gateways first, so that nothing new is accepted; the engine last, so that it finishes what was."""

STOP_SECONDS = 30.0
"""How long a process may take to stop; then it is killed."""
_READY_SECONDS = 120.0
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
_STEADY_SECONDS = 10.0
_SAID_AT_ONCE, _SAID_EVERY_SECONDS = 5, 60.0
"""So many ends of a process are told as they come, those after them once a minute."""
_ENVIRONMENT: Mapping[Role, Mapping[str, str]] = {
    "engine": {
        "MALLOC_TRIM_THRESHOLD_": str(256 * 2**20),
        "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
        "DUCKDB_JE_MALLOC_CONF": "dirty_decay_ms:10000,muzzy_decay_ms:10000",
    },
    "gateway": {"MALLOC_TRIM_THRESHOLD_": str(32 * 2**20), "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20)},
}
"""Variables by role that are not set otherwise. The engine's batches and the gateway's bodies take and free the same
memory many times a second: glibc, and the jemalloc within DuckDB, are to keep it for a while. A tenth of a batch's time
goes into fresh pages else."""


class Child:
    """One child process, started again whenever it ends unasked."""

    def __init__(self, config: ProcessConfig, locks: Sequence[int]) -> None:
        self.config = config
        self.restarts = 0
        self._told = 0.0
        self._locks = tuple(locks)
        self._process: asyncio.subprocess.Process | None = None
        self._starting = asyncio.Lock()
        self._stopping = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process is not None else None

    async def run(self) -> None:
        """Keep the process running until `stop`."""
        pause = _FIRST_PAUSE
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            started = loop.time()
            try:
                async with self._starting:
                    self._process = await self._start()
                code = str(await self._process.wait())
            except OSError as error:
                code = f"no start: {error.strerror}"
            self._process = None
            if self._stopping.is_set():
                return
            if loop.time() - started > _STEADY_SECONDS:
                pause = _FIRST_PAUSE
            self.restarts += 1
            self._tell(code, loop.time())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _tell(self, code: str, now: float) -> None:
        """Say that it ended; of one that does so again and again, once a minute."""
        if self.restarts <= _SAID_AT_ONCE or now - self._told >= _SAID_EVERY_SECONDS:
            self._told = now
            _log.warning(
                "%s ended with %s; starting it again, for the %d. time", self.config.name, code, self.restarts
            )

    async def stop(self) -> None:
        """Ask the process to finish; after a while, make it."""
        self._stopping.set()
        # One that is being started can be asked once it is there.
        async with self._starting:
            process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except TimeoutError:
            _log.error("%s did not stop in %d s; killing it", self.config.name, STOP_SECONDS)
            # Having been held up itself, it may hear of the end and of the time limit at once.
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _start(self) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "headrace.app",
            self.config.name,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            pass_fds=self._locks,
            env={**_ENVIRONMENT.get(self.config.role, {}), **_as_many_threads_as_processors(), **os.environ}
            | {"HEADRACE_ROLE": self.config.role},
            # A Ctrl-C in the terminal goes to the supervisor alone, which stops the children in order.
            start_new_session=True,
        )
        assert process.stdin is not None
        config = self.config.model_copy(update={"restarts": self.restarts})
        # One that is killed at once has closed its end by now.
        if not process.stdin.is_closing():
            process.stdin.write(config.model_dump_json().encode() + b"\n")
            with contextlib.suppress(ConnectionError):
                await process.stdin.drain()
        return process


class Supervisor:
    """All children of one server."""

    def __init__(self, configs: list[ProcessConfig], locks: Sequence[int]) -> None:
        self._children = [Child(config, locks) for config in configs]
        self._tasks: list[asyncio.Task[None]] = []

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Children run inside the block and are stopped, in order, at its end."""
        self._tasks = [asyncio.create_task(child.run()) for child in self._children]
        try:
            yield
        finally:
            for role in STOP_ORDER:
                await asyncio.gather(*(child.stop() for child in self._children if child.config.role == role))
            await asyncio.gather(*self._tasks)

    async def wait_until_ready(self, base_url: str, transport: httpx.AsyncBaseTransport) -> None:
        """Return once `/readyz` answers 200. Raises `TimeoutError`."""
        async with asyncio.timeout(_READY_SECONDS), httpx.AsyncClient(transport=transport) as client:
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    if (await client.get(f"{base_url}/readyz")).status_code == 200:
                        return
                await asyncio.sleep(0.05)


def _as_many_threads_as_processors() -> dict[str, str]:
    """For libraries that start a thread for each processor of the machine, such as Arrow, where fewer may be used."""
    limit = processor_limit()
    return {} if limit is None else {"OMP_NUM_THREADS": str(math.ceil(limit))}


@contextlib.contextmanager
def reserved_port(host: str, port: int) -> Iterator[int]:
    """Hold a port so that child processes, which share it, can come and go; 0 picks a free one.

    The socket is bound and never listens: connections go to the children's sockets alone. Raises `OSError`
    when the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    _refuse_if_taken(family, host, port)
    with socket.socket(family, socket.SOCK_STREAM) as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind((host, port))
        yield int(holder.getsockname()[1])


def _refuse_if_taken(family: int, host: str, port: int) -> None:
    """SO_REUSEPORT would let us join another server's port; without it, binding tells."""
    if port == 0:
        return
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
