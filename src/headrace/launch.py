"""Starts a whole server: data folder, certificates, store and sample, port, processes, env file."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import msgspec

from headrace import env_file
from headrace.data_folder import DataFolder, Part, open_data_folder
from headrace.disk import RealDisk, replace_durably
from headrace.env_file import Endpoint, Sample
from headrace.errors import Problem, ProblemError
from headrace.process import ProcessConfig, Role
from headrace.processors import disk_processor, processors_for_gateways
from headrace.service_manager import told_of_readiness
from headrace.settings import ServerSettings, Settings, is_host_name
from headrace.supervisor import Supervisor, reserved_port
from headrace.tls import TlsFiles, ensure_tls_files, given_tls_files, with_client_certificate

_log = logging.getLogger(__name__)

_LOCAL = ("127.0.0.1", "localhost")
_RENEW_SECONDS = 86_400.0
_EVERYWHERE = ("0.0.0.0", "::")
_PARTS: Mapping[Role, Part] = {"engine": "pipeline", "query": "query", "gateway": "gateway"}
_SAMPLE_SECONDS = 120.0
_LOOK_SECONDS = 0.1

PrepareStore = Callable[[DataFolder, Settings, Sample | None], Sample]
"""Brings the store up to date and makes the sample resources at first start."""


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that answers: its address, sample, variables of the env file, and processes."""

    base_url: str
    folder: DataFolder
    sample: Sample
    variables: dict[str, str]
    supervisor: Supervisor


@contextlib.asynccontextmanager
async def running_server(
    settings: Settings,
    prepare_store: PrepareStore,
    stop: asyncio.Event,
    *,
    part: Part | None = None,
    extra_env_file: Path | None = None,
    verbose: bool = False,
) -> AsyncIterator[RunningServer | None]:
    """A server, or the `part` of one, that runs inside the block and has stopped cleanly at its end.

    The env files are written once the server answers, by whoever has the gateways. None when `stop` came before
    that. Raises `ProblemError` when it cannot start.
    """
    with contextlib.ExitStack() as stack:
        with _disk_problems_told():
            folder, locks = open_data_folder(settings.data_dir.absolute(), RealDisk(), part)
        if part in (None, "pipeline"):
            with _disk_problems_told():
                sample = _sample(folder, settings, prepare_store)
        else:
            made = await _sample_before(stop, folder)
            if made is None:
                yield None
                return
            sample = made
        ports = _Ports.reserve(settings.server, part, stack)
        if extra_env_file is not None:
            # Whoever waits for it shall not find that of an earlier server.
            with _disk_problems_told():
                extra_env_file.unlink(missing_ok=True)
        with _disk_problems_told():
            tls = _tls_files(settings, folder, part)
        base_url = _base_url(settings.server, ports.public)
        processors = _gateway_processors(settings.server, part, folder)
        configs = _processes(settings, ports, base_url, tls, processors, verbose)
        supervisor = Supervisor([one for one in configs if part in (None, _PARTS[one.role])], locks)
        variables = env_file.environment(sample, _endpoint(base_url, tls, ports))
        async with supervisor.running(), _renewing(settings, folder, part):
            if not await _ready_before(stop, supervisor, *_door(part, settings, folder, ports, tls)):
                yield None
                return
            serves = part in (None, "gateway")
            with (
                _env_files(variables, folder.env_file, extra_env_file)
                if serves
                else contextlib.nullcontext(),
                told_of_readiness(),
            ):
                _log.info("ready at %s, data is in %s", base_url, folder.root)
                yield RunningServer(base_url, folder, sample, variables, supervisor)
                _log.info("stopping: finishing what was accepted")
        _log.info("stopped")


@contextlib.contextmanager
def _env_files(variables: dict[str, str], own: Path, extra: Path | None) -> Iterator[None]:
    """`own` is there only inside the block; another gateway's that has taken its place stays."""
    with _disk_problems_told():
        for path in (own, extra):
            if path is not None:
                env_file.write(path, variables)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if own.read_text() == env_file.render(variables):
                own.unlink()


@dataclass(frozen=True, slots=True)
class _Ports:
    """The ports of a server or its part, and the secret of the managed identity's App Service form."""

    public: int
    http_authority: int | None = None
    managed: int | None = None
    managed_header: str = ""

    @classmethod
    def reserve(cls, server: ServerSettings, part: Part | None, stack: contextlib.ExitStack) -> _Ports:
        """Hold the ports that the part serves. Raises `ProblemError` when one is taken."""
        has_gateways, has_engine = part in (None, "gateway"), part in (None, "pipeline")
        public = stack.enter_context(_port(server.host, server.port)) if has_gateways else server.port
        http = managed = None
        if has_engine and server.http_authority is not None:
            http = stack.enter_context(_port("127.0.0.1", server.http_authority))
        if has_engine and server.managed_identity is not None:
            managed = stack.enter_context(_port("127.0.0.1", server.managed_identity))
        return cls(public, http, managed, secrets.token_urlsafe(24) if managed is not None else "")


def _endpoint(base_url: str, tls: TlsFiles, ports: _Ports) -> Endpoint:
    return Endpoint(
        base_url,
        tls.ca,
        tls.bundle,
        _loopback(ports.http_authority),
        _loopback(ports.managed),
        ports.managed_header,
        tls.client_certificate,
        tls.client_key,
    )


async def _sample_before(stop: asyncio.Event, folder: DataFolder) -> Sample | None:
    """What the pipeline's part has made, once it has; None when `stop` comes first. Raises `ProblemError`."""
    for _ in range(int(_SAMPLE_SECONDS / _LOOK_SECONDS)):
        known = _known_sample(folder.sample)
        if known is not None or stop.is_set():
            return None if stop.is_set() else known
        await asyncio.sleep(_LOOK_SECONDS)
    raise ProblemError(
        Problem(
            "NoPipeline",
            f"Nothing has prepared {folder.root} yet.",
            hint="Start `headrace serve --role pipeline` on the same data folder.",
        )
    )


def _door(
    part: Part | None, settings: Settings, folder: DataFolder, ports: _Ports, tls: TlsFiles
) -> tuple[str, httpx.AsyncBaseTransport]:
    """Where a server or its part tells whether it is ready, and how that is reached."""
    if part in ("pipeline", "query"):
        name = "engine" if part == "pipeline" else "query"
        return "http://localhost", httpx.AsyncHTTPTransport(
            uds=str(folder.socket(name)), verify=False, trust_env=False
        )
    context = ssl.create_default_context(cafile=str(tls.ca))
    # It asks itself, by a name that a certificate from elsewhere need not have.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if tls.client_certificate is not None:
        context.load_cert_chain(tls.client_certificate, tls.client_key)
    return _origin(settings.server.host, ports.public), httpx.AsyncHTTPTransport(verify=context)


def _loopback(port: int | None) -> str | None:
    return f"http://127.0.0.1:{port}" if port else None


def _tls_files(settings: Settings, folder: DataFolder, part: Part | None) -> TlsFiles:
    own = settings.tls
    if own.certificate is not None and own.key is not None:
        files = given_tls_files(folder.tls, own.certificate, own.key, own.ca)
    else:
        serves = part in (None, "gateway")
        files = ensure_tls_files(folder.tls, _extra_hosts(settings.server), serves=serves)
    if own.client_ca is None:
        return files
    if not own.client_ca.is_file():
        message = f"tls.client_ca: {own.client_ca} is no file."
        raise ProblemError(Problem("InvalidSetting", message, target="tls.client_ca"))
    return with_client_certificate(files, folder.tls)


def _client_cas(settings: Settings, tls: TlsFiles) -> tuple[Path, ...]:
    """Who vouches for clients: the operator's CAs, and the local one for the server's own commands."""
    if settings.tls.client_ca is None or tls.client_certificate is None:
        return ()
    return settings.tls.client_ca, tls.client_certificate.parent / "ca.pem"


@contextlib.asynccontextmanager
async def _renewing(settings: Settings, folder: DataFolder, part: Part | None) -> AsyncIterator[None]:
    """Make the server's own certificate anew before it ends, inside the block; gateways take it by themselves."""

    async def renew() -> None:
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            try:
                await asyncio.to_thread(_tls_files, settings, folder, part)
            except (OSError, ProblemError) as error:
                _log.warning("the certificate was not looked at: %s", error)

    task = asyncio.create_task(renew())
    try:
        yield
    finally:
        task.cancel()


@contextlib.contextmanager
def ephemeral_folder() -> Iterator[Path]:
    """A data folder that is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="headrace-", ignore_cleanup_errors=True) as path:
        yield Path(path)


@contextlib.contextmanager
def _disk_problems_told() -> Iterator[None]:
    """A full disk or a folder without rights is a failure in one line."""
    try:
        yield
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        raise ProblemError(
            Problem(
                "CannotStart",
                f"Cannot start: {place}{error.strerror or error}.",
                hint="Make room or give rights there, or choose another place.",
            )
        ) from None


def _sample(folder: DataFolder, settings: Settings, prepare_store: PrepareStore) -> Sample:
    # Loaded only where a server starts: the other commands import this module, too.
    from headrace.store.database import StoreError

    known = _known_sample(folder.sample)
    if folder.sample.exists() and not (folder.store.exists() and folder.store.stat().st_size):
        raise ProblemError(
            Problem(
                "StoreMissing",
                f"{folder.store} is empty or gone, though the data folder was in use: it has all rules and roles.",
                hint=f"Put back a copy of it. To begin without what it had, remove {folder.sample}.",
            )
        )
    try:
        sample = prepare_store(folder, settings, known)
    except StoreError as error:
        raise ProblemError(
            Problem(
                "StoreUnreadable",
                f"The resource store cannot be used: {error}.",
                hint="Put back a copy of store.db, or give another --data-dir.",
            )
        ) from None
    if sample != known:
        replace_durably(RealDisk(), folder.sample, msgspec.json.encode(sample), "sample", 0o600)
    return sample


def _known_sample(path: Path) -> Sample | None:
    """What the env file was made from; None at the first start, and when it was torn: a secret is then made anew."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Sample)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError):
        _log.warning("%s cannot be read: the first app gets a new secret", path)
        return None


@contextlib.contextmanager
def _port(host: str, port: int) -> Iterator[int]:
    with contextlib.ExitStack() as stack:
        try:
            number = stack.enter_context(reserved_port(host, port))
        except OSError as error:
            raise ProblemError(
                Problem(
                    "PortTaken",
                    f"Cannot listen on {host}:{port}: {error.strerror or error}.",
                    hint="Choose another with --port, or --port 0 for any free one.",
                )
            ) from None
        yield number


async def _ready_before(
    stop: asyncio.Event, supervisor: Supervisor, base_url: str, transport: httpx.AsyncBaseTransport
) -> bool:
    """Wait until the server answers; whether it did before `stop`. Raises `ProblemError` if it never does."""
    ready = asyncio.create_task(supervisor.wait_until_ready(base_url, transport))
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({ready, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            return False
        ready.result()
    except TimeoutError:
        raise ProblemError(
            Problem("NotReady", "The server did not become ready in time.", hint="--verbose shows why.")
        ) from None
    finally:
        ready.cancel()
        stopped.cancel()
        await asyncio.gather(ready, stopped, return_exceptions=True)
    return True


def _gateway_processors(server: ServerSettings, part: Part | None, folder: DataFolder) -> tuple[int, ...]:
    """Empty for a part of a server: the others may be anywhere."""
    if part is not None or server.processors == "shared":
        return ()
    return processors_for_gateways(server.gateways, disk_processor(folder.root))


def _processes(
    settings: Settings,
    ports: _Ports,
    base_url: str,
    tls: TlsFiles,
    gateway_processors: tuple[int, ...],
    verbose: bool,
) -> list[ProcessConfig]:
    shared = ProcessConfig(
        role="engine",
        settings=settings,
        port=ports.public,
        base_url=base_url,
        hosts=tls.hosts,
        certificate=tls.certificate,
        key=tls.key,
        client_cas=_client_cas(settings, tls),
        http_authority_port=ports.http_authority,
        managed_identity_port=ports.managed,
        managed_identity_header=ports.managed_header,
        gateway_processors=gateway_processors,
        verbose=verbose,
    )
    gateways = [
        shared.model_copy(update={"role": "gateway", "index": index})
        for index in range(settings.server.gateways)
    ]
    return [shared, shared.model_copy(update={"role": "query"}), *gateways]


def _base_url(server: ServerSettings, port: int) -> str:
    if server.public_url:
        return server.public_url.rstrip("/")
    return _origin(server.host, port)


def _origin(host: str, port: int) -> str:
    name = "localhost" if host in _LOCAL + _EVERYWHERE else host
    return f"https://[{name}]:{port}" if ":" in name else f"https://{name}:{port}"


def _extra_hosts(server: ServerSettings) -> tuple[str, ...]:
    hosts = [*_machine_names()] if server.host in _EVERYWHERE else [server.host]
    hosts += server.names
    if server.public_url:
        name = urlsplit(server.public_url).hostname
        if name is None:
            raise ProblemError(
                Problem(
                    "InvalidSetting",
                    f"server.public_url: {server.public_url} is no address.",
                    target="server.public_url",
                    hint="It has the form https://HOST or https://HOST:PORT.",
                )
            )
        hosts.append(name)
    return tuple(hosts)


def _machine_names() -> Iterator[str]:
    """What others may call a machine whose every address is listened on."""
    name = socket.gethostname()
    if is_host_name(name):
        yield name
