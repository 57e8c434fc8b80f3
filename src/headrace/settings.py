"""All settings, typed, in one object. Rooms are handed their own section and never look further.

Order of precedence: flag, `HEADRACE_*` variable, `headrace.toml`, default.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from headrace.errors import Problem, ProblemError
from headrace.machine import memory_bytes

MIB = 1024 * 1024
_GIB = 1024 * MIB
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(:\d{1,5})?|https?://\[[0-9A-Fa-f:.]+\](:\d{1,5})?")

AZURE_LIMITS: Mapping[str, object] = {
    "ingest.max_wire_bytes": MIB,
    "ingest.max_inflated_bytes": 50 * MIB,
    "ingest.rule_bytes_per_minute": 2_000_000_000,
    "ingest.rule_requests_per_minute": 12_000,
}
"""Azure's documented limits: the defaults under `profile = "azure"`."""


_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*")
_LONGEST_HOST_NAME = 253


def is_host_name(text: str) -> bool:
    """Whether a text is a host name of ASCII letters, as certificates have them, or an address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return len(text) <= _LONGEST_HOST_NAME and _HOST_NAME.fullmatch(text) is not None
    return True


_AMPLE_MEMORY = 4 * _GIB
_LEAST_SHARE = 0.25
_MEMORY_SETTINGS: Mapping[str, float] = {
    "ingest.max_pending_bytes": _LEAST_SHARE,
    "journal.inflated_bytes": _LEAST_SHARE,
    "transform.batch_bytes": _LEAST_SHARE,
    "transform.queue_bytes": _LEAST_SHARE,
    # A batch that does not fit fails for good, where a query can be asked again.
    "transform.memory_limit": 0.5,
    "query.memory_limit": _LEAST_SHARE,
}
"""Settings whose defaults take memory, and the least share of it that is left to each where there is little."""


class Section(BaseModel):
    """A group of settings; unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ServerSettings(Section):
    """Where Headrace listens and keeps its data."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8443, ge=0, le=65535, description="port to listen on; 0 picks a free one")
    public_url: str | None = Field(None, description="base address that clients use, if another")
    names: tuple[str, ...] = Field(
        (),
        description="further host names and addresses that clients reach it by: the server's own certificate names "
        "them, and answers carry the one that was asked. As a variable: joined by commas",
    )
    http_authority: int | None = Field(
        None, ge=0, le=65535, description="loopback port that serves the token endpoint over plain HTTP"
    )
    managed_identity: int | None = Field(
        None, ge=0, le=65535, description="loopback port that gives local apps tokens as a managed identity"
    )
    metrics: Literal["open", "local", "off"] = Field(
        "open", description="who may read /metrics without a token: anyone, callers on this machine, nobody"
    )
    gateways: int = Field(1, ge=1, le=64, description="gateway processes, each with a journal of its own")
    processors: Literal["own", "shared"] = Field(
        "own",
        description="own: a processor for each gateway, where there are more than gateways, which the engine uses "
        "only when it falls behind; shared: as the operating system decides",
    )
    allowed_origins: tuple[str, ...] = Field(
        (),
        description="origins whose web pages may call this server from a browser (CORS), such as "
        "`https://app.example`; `*` is any. As a variable: joined by commas",
    )

    @field_validator("names", "allowed_origins", mode="before")
    @classmethod
    def _of_a_variable(cls, value: object) -> object:
        return (
            [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        )

    @field_validator("allowed_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"'{origin}' is no origin: give the scheme, the host and the port if it has one, as in "
                    "https://app.example:8080, and no path"
                )
        return tuple(origin.lower() for origin in value)

    @field_validator("names")
    @classmethod
    def _are_host_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not is_host_name(name):
                raise ValueError(f"'{name}' is no host name or address: leave out scheme, port and path")
        return value


class TlsSettings(Section):
    """The server's certificate, if it is not to make one, and who may connect at all."""

    certificate: Path | None = Field(
        None, description="PEM file with the server's certificate and its chain; read again when it changes"
    )
    key: Path | None = Field(None, description="PEM file with the certificate's private key")
    ca: Path | None = Field(
        None,
        description="PEM file with the CA that clients need to trust the certificate; goes into the env file",
    )
    client_ca: Path | None = Field(
        None, description="PEM file of CAs: clients must show a certificate by one of them (mutual TLS)"
    )

    @model_validator(mode="after")
    def _certificate_and_key_come_together(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("tls.certificate and tls.key must be set together")
        return self


class TrustedIssuerSettings(Section):
    """An outside issuer of tokens that this server takes."""

    issuer: str = Field(min_length=1, description="the issuer exactly as its tokens' `iss` has it")
    audiences: tuple[str, ...] = Field(
        (), description="audiences that its tokens must have one of; empty: ours"
    )
    jwks_uri: str | None = Field(None, description="address of its keys; unset: by its discovery document")
    keys_file: Path | None = Field(None, description="file with its key set, read instead of an address")
    principal_claim: str = Field("oid", description="the claim that says who it is")
    principals: dict[str, str] = Field({}, description="object ids for values of that claim")
    groups_claim: str = Field("groups", description="the claim with the groups")
    users: bool = Field(False, description="take tokens issued to users, for management and queries")
    object_ids: Literal["own", "derived"] = Field(
        "own",
        description="with the claim `oid`: its values are object ids (own, of one issuer only), or follow from them",
    )


class IdentitySettings(Section):
    """Tokens, keys and trusted outside issuers."""

    key_days: float = Field(90.0, gt=0, description="age at which a new signing key takes over by itself")
    key_overlap_hours: float = Field(
        24.0, ge=2, description="how long a signing key that was replaced goes on verifying tokens"
    )
    tokens_per_minute: int = Field(
        1200, ge=1, description="token requests that one client address may make a minute"
    )
    failures_per_minute: int = Field(
        30, ge=1, description="failed token requests for one app that a client address may make a minute"
    )
    trusted_issuers: tuple[TrustedIssuerSettings, ...] = Field(
        (), description="outside issuers whose tokens are taken; as a variable: JSON"
    )
    issuer_ca: Path | None = Field(
        None, description="CA file that outside issuers' addresses are verified with; unset: the system's"
    )
    issuer_refresh_seconds: float = Field(
        3600.0, ge=1, description="how often the keys of outside issuers are fetched"
    )
    issuer_keep_seconds: float = Field(
        7 * 86400.0, ge=60, description="how long an outside issuer's keys count while it does not answer"
    )

    @field_validator("trusted_issuers", mode="before")
    @classmethod
    def _from_a_variable(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except ValueError:
            raise ValueError("this is a JSON array of objects with at least `issuer`") from None

    @field_validator("trusted_issuers")
    @classmethod
    def _no_two_with_the_same_ids(
        cls, value: tuple[TrustedIssuerSettings, ...]
    ) -> tuple[TrustedIssuerSettings, ...]:
        names = [one.issuer for one in value]
        if len(set(names)) < len(names):
            raise ValueError("an issuer stands there twice: give it once, with all its audiences")
        raw = [one.issuer for one in value if one.principal_claim == "oid" and one.object_ids == "own"]
        if len(raw) > 1:
            raise ValueError(
                f'{" and ".join(raw)} could each name the other\'s object ids: set `object_ids = "derived"` for '
                "all of them but one, or another `principal_claim`"
            )
        return value


class AuditSettings(Section):
    """The audit log."""

    enabled: bool = Field(True, description="write the table HeadraceAudit")
    workspace: str | None = Field(
        None, description="customer id or resource id of the workspace that has it; unset: the sample's"
    )


class IngestSettings(Section):
    """What the gateway takes."""

    max_wire_bytes: int = Field(4 * MIB, ge=1024, description="largest body as sent")
    max_inflated_bytes: int = Field(8 * MIB, ge=1024, description="largest body after inflate")
    max_depth: int = Field(64, ge=2, le=500, description="deepest nesting of a body's JSON")
    max_rows: int = Field(1_000_000, ge=1, description="most members of a body's array")
    max_pending_bytes: int = Field(
        256 * MIB, ge=MIB, description="bytes of bodies that one gateway holds in memory; then 429"
    )
    rule_bytes_per_minute: int | None = Field(None, description="bytes a minute one rule may send")
    rule_requests_per_minute: int | None = Field(None, description="requests a minute one rule may send")
    repeat_window_seconds: float = Field(
        600.0,
        ge=0,
        le=86_400,
        description="a call repeated so soon, with its x-ms-client-request-id and body, is stored once; 0: again",
    )
    endpoint_template: str | None = Field(
        None, description="form of logsIngestion addresses, with {name} and {base}; unset: the base address"
    )
    feed_timeout_seconds: float = Field(
        5.0, gt=0, description="a gateway without the rules for so long answers 503"
    )
    body_timeout_seconds: float = Field(
        60.0, gt=0, description="longest time that a client may take to send a body"
    )


class JournalSettings(Section):
    """The durable journal in front of the pipeline."""

    segment_bytes: int = Field(128 * MIB, ge=64 * 1024, description="size of a preallocated segment file")
    max_bytes: int = Field(8 * 1024 * MIB, ge=MIB, description="most disk one journal may hold; then 429")
    group_bytes: int = Field(16 * MIB, ge=64 * 1024, description="most bytes that share one sync")
    inflated_bytes: int = Field(
        128 * MIB,
        ge=0,
        description="memory in which a gateway leaves the last bodies without compression for the engine; 0: none",
    )


class TransformSettings(Section):
    """How rules are compiled and run."""

    functions: Literal["extended", "documented"] = Field(
        "extended",
        description="extended: more KQL than Azure's list, with a warning; documented: only Azure's list",
    )
    batch_bytes: int = Field(
        12 * MIB, ge=1024, description="JSON bytes that one run of a transform takes at most"
    )
    batch_seconds: float = Field(0.25, ge=0, description="longest wait for a batch to fill")
    threads: int = Field(2, ge=1, le=64, description="transforms that run at once")
    queue_bytes: int = Field(
        160 * MIB, ge=MIB, description="JSON bytes held in memory between journal and transform"
    )
    memory_limit: str = Field("512MB", description="memory of the pipeline's SQL engine")
    max_field_bytes: int = Field(64 * 1024, ge=16, description="longer values are cut")
    dead_letter_bytes: int = Field(
        8 * 1024 * MIB,
        ge=MIB,
        description="most disk that dead letters take; then the oldest go, and it is told",
    )
    geo_database: Path | None = Field(
        None, description="MaxMind-format database that geo_location() answers from"
    )


class TableSettings(Section):
    """Table files and their commits."""

    commit_bytes: int = Field(32 * MIB, ge=1024, description="published bytes that make a table commit")
    commit_seconds: float = Field(
        60.0, gt=0, description="longest time that rows stay published and not committed"
    )
    small_file_bytes: int = Field(
        16 * MIB, ge=0, description="published files below this are put together at the commit"
    )
    rewrite_below_rows: int = Field(
        4096,
        ge=0,
        description="of the small files, those with fewer rows are rewritten and sorted, others copied as they are",
    )
    checkpoint_commits: int = Field(50, ge=2, description="commits between checkpoints of a table's log")
    vacuum_seconds: float = Field(
        900.0, gt=0, description="how long a replaced file stays for running queries"
    )


class QuerySettings(Section):
    """Limits of one query."""

    max_rows: int = Field(500_000, ge=1, description="most rows in a result; more is a partial answer")
    max_bytes: int = Field(
        64_000_000, ge=1024, description="most bytes in a result; more is a partial answer"
    )
    default_wait_seconds: int = Field(180, ge=1, description="time limit when Prefer: wait is not sent")
    max_wait_seconds: int = Field(600, ge=1, description="largest time limit that Prefer: wait may ask for")
    concurrency: int = Field(5, ge=1, description="queries that run at once")
    queue: int = Field(200, ge=0, description="queries that may wait; more are answered 429")
    memory_limit: str = Field("1GB", description="memory of the query engine")
    threads: int = Field(2, ge=1, description="threads of the query engine")
    spill_bytes: int = Field(8 * 1024 * MIB, ge=0, description="disk that a query may spill to")
    niceness: int = Field(
        5, ge=0, le=19, description="how far queries stand back when processors are short; 0 is level"
    )


class CollectorSettings(Section):
    """The retired HTTP Data Collector API."""

    enabled: bool = Field(True, description="whether /api/logs takes posts")
    create_tables: bool = Field(
        True,
        description="whether tables are made and widened for what is posted; else it finds its columns or none",
    )
    max_bytes: int = Field(30 * MIB, ge=1024, description="largest post")


class FaultSettings(Section):
    """Faults on purpose, for tests of ingestion clients."""

    enabled: bool = Field(
        False, description="whether tests may ask for faults at /headrace/faults; never where data counts"
    )


class Settings(Section):
    """Everything that can be set."""

    data_dir: Path = Field(description="folder of journal, tables and resource store")
    mode: Literal["headrace", "compatible"] = Field(
        "headrace",
        description="headrace: say what is wrong; compatible: Azure's answer where Azure loses data",
    )
    profile: Literal["headrace", "azure"] = Field("headrace", description="azure: Azure's documented limits")
    server: ServerSettings = ServerSettings()
    tls: TlsSettings = TlsSettings()
    identity: IdentitySettings = IdentitySettings()
    audit: AuditSettings = AuditSettings()
    ingest: IngestSettings = IngestSettings()
    journal: JournalSettings = JournalSettings()
    transform: TransformSettings = TransformSettings()
    tables: TableSettings = TableSettings()
    query: QuerySettings = QuerySettings()
    collector: CollectorSettings = CollectorSettings()
    faults: FaultSettings = FaultSettings()

    @model_validator(mode="after")
    def _replaced_files_outlive_queries(self) -> Self:
        if self.tables.vacuum_seconds <= self.query.max_wait_seconds:
            raise ValueError(
                "tables.vacuum_seconds must be more than query.max_wait_seconds: a running query may still read "
                "a replaced file"
            )
        return self


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as `headrace settings` shows it."""

    name: str
    value: object
    origin: str
    description: str


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """The settings, and where each value that is not a default came from, by dotted name."""

    settings: Settings
    origins: Mapping[str, str]

    def each(self) -> Iterator[Setting]:
        """Every setting with its value, origin and description."""
        for path, info in setting_fields().items():
            value: object = self.settings
            for part in path.split("."):
                value = getattr(value, part)
            yield Setting(path, value, self.origins.get(path, "default"), info.description or "")


def setting_fields() -> dict[str, FieldInfo]:
    """Every single setting by its dotted name, such as `ingest.max_wire_bytes`."""
    fields: dict[str, FieldInfo] = {}
    for name, info in Settings.model_fields.items():
        section = info.annotation
        if isinstance(section, type) and issubclass(section, Section):
            fields |= {f"{name}.{inner}": field for inner, field in section.model_fields.items()}
        else:
            fields[name] = info
    return fields


def variable_name(setting: str) -> str:
    """The environment variable of a setting: `HEADRACE_INGEST_MAX_WIRE_BYTES`."""
    return "HEADRACE_" + setting.replace(".", "_").upper()


def default_data_dir() -> Path:
    """The platform's folder for a user's data."""
    return Path(platformdirs.user_data_dir("headrace"))


def configured_data_dir(environment: Mapping[str, str]) -> Path:
    """The data folder of a server that is started here without flags: so commands find it where it is.

    Raises `ProblemError` where the settings are wrong.
    """
    return load_settings({}, environment).settings.data_dir


def load_settings(
    flags: Mapping[str, object],
    environment: Mapping[str, str],
    file: Path | None = None,
    defaults: Mapping[str, object] | None = None,
) -> LoadedSettings:
    """The settings from flags (by dotted name; None: not given), variables, file and defaults.

    `defaults` take the place of the settings' own.

    Without `file`, `headrace.toml` in the working folder is read when it is there. Raises `ProblemError`
    that names the setting and where its value came from.
    """
    values: dict[str, object] = {"data_dir": default_data_dir(), **(defaults or {})}
    origins: dict[str, str] = {}
    layers: list[tuple[str, Mapping[str, object]]] = [
        *_from_file(file),
        *_from_environment(environment),
        ("flag", {name: value for name, value in flags.items() if value is not None}),
    ]
    for origin, found in layers:
        values |= found
        origins |= dict.fromkeys(found, origin)
    _apply_profile(values)
    _apply_machine(values, origins)
    try:
        settings = Settings.model_validate(_nested(values))
    except ValidationError as error:
        raise ProblemError([_problem(detail, origins) for detail in error.errors()]) from None
    return LoadedSettings(settings, origins)


def _from_environment(environment: Mapping[str, str]) -> list[tuple[str, Mapping[str, object]]]:
    named = {variable_name(name): name for name in setting_fields()}
    return [
        (variable, {named[variable]: environment[variable]}) for variable in named if variable in environment
    ]


def _from_file(file: Path | None) -> list[tuple[str, Mapping[str, object]]]:
    path = file or Path("headrace.toml")
    try:
        if file is None and not path.is_file():
            return []
        document = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ProblemError(Problem("SettingsFile", f"{path.absolute()}: {error.strerror}.")) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProblemError(Problem("SettingsFile", f"{path}: {error}.")) from None
    flat: dict[str, object] = {}
    for name, value in document.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{inner}": item for inner, item in value.items()}
        else:
            flat[name] = value
    return [(str(path), flat)]


def memory_defaults(memory: int | None) -> dict[str, object]:
    """Other defaults where there is less than 4 GiB of `memory`, in bytes: in proportion, down to those for 1 GiB."""
    share = memory / _AMPLE_MEMORY if memory is not None else 1.0
    if share >= 1:
        return {}
    fields = setting_fields()
    return {
        name: _share_of(fields[name].default, max(share, least)) for name, least in _MEMORY_SETTINGS.items()
    }


def _share_of(size: object, share: float) -> object:
    """A part of a default: bytes, or as the SQL engine has sizes."""
    if isinstance(size, int):
        return int(size * share)
    megabytes = int(str(size).removesuffix("GB")) * 1000 if str(size).endswith("GB") else int(str(size)[:-2])
    return f"{int(megabytes * share)}MB"


def _apply_machine(values: dict[str, object], origins: dict[str, str]) -> None:
    """Where memory is short, what takes it has smaller defaults; whatever is set stays."""
    memory = memory_bytes()
    for name, value in memory_defaults(memory).items():
        if name not in values:
            values[name] = value
            origins[name] = f"{(memory or 0) / _GIB:.1f} GiB of memory"


def _apply_profile(values: dict[str, object]) -> None:
    """Azure's documented limits are the defaults of its profile; whatever is set stays."""
    if values.get("profile") == "azure":
        for name, value in AZURE_LIMITS.items():
            values.setdefault(name, value)


def _nested(values: Mapping[str, object]) -> dict[str, object]:
    result: dict[str, object] = {}
    for name, value in values.items():
        section, _, inner = name.partition(".")
        if inner:
            group = result.setdefault(section, {})
            if isinstance(group, dict):
                group[inner] = value
        else:
            result[section] = value
    return result


def _problem(detail: ErrorDetails, origins: Mapping[str, str]) -> Problem:
    name = ".".join(str(part) for part in detail["loc"])
    known = setting_fields()
    # A fault inside a setting that holds a list is that setting's.
    setting = next((one for one in known if name == one or name.startswith(f"{one}.")), name)
    own = detail.get("ctx", {}).get("error") if detail["type"] == "value_error" else None
    text = own or detail["msg"]
    if setting in known:
        origin = origins.get(setting, "default")
        return Problem("InvalidSetting", f"{name} (from {origin}): {text}.", target=name)
    if own:
        # A section's check, which names the settings that it is about.
        return Problem("InvalidSetting", f"{text}.", target=name)
    origin = next((origins[one] for one in origins if one == name or one.startswith(f"{name}.")), "default")
    message = f"{name} (from {origin}): there is no such setting."
    return Problem("InvalidSetting", message, target=name, hint=_near_setting(name, known))


def _near_setting(name: str, known: Collection[str]) -> str:
    """What a name that is no setting's was probably to be."""
    section, _, own = name.rpartition(".")
    sections = {one.partition(".")[0] for one in known if "." in one}
    if name not in known and not section and (near := difflib.get_close_matches(name, sections, 1)):
        return f"Did you mean the section {near[0]}?"
    # What two names have in common by standing in one section makes them no more alike.
    inside = {one.partition(".")[2]: one for one in known if section and one.startswith(f"{section}.")}
    near = difflib.get_close_matches(own, inside, 1) or difflib.get_close_matches(name, known, 1, 0.8)
    return (
        f"Did you mean {inside.get(near[0], near[0])}?" if near else "`headrace settings` lists all settings."
    )
