"""Signing keys of outside issuers: fetched in the background, remembered on disk, given from memory.

Nobody who asks for a key ever waits for the network, save the token endpoint, which may wait a bounded time.
"""

from __future__ import annotations

import hashlib
import logging
import ssl
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from headrace.clock import SECOND, Clock
from headrace.disk import write_replacement
from headrace.identity.tokens import UnverifiedToken

MOST_BYTES = 512 * 1024
MOST_KEYS = 200
MOST_ISSUERS = 1000
FETCH_SECONDS = 5.0
REPEAT_SECONDS = 30.0
"""Shortest time between two fetches of one issuer's keys, whoever asks."""

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_DISCOVERY = "/.well-known/openid-configuration"
_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVES = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "Ed25519": "EdDSA"}
_log = logging.getLogger(__name__)


class IssuerUnreachableError(Exception):
    """An issuer's keys could not be fetched; the message says why, without quoting what it answered."""


@dataclass(frozen=True, slots=True)
class IssuerKey:
    """A public key of an outside issuer, and the algorithms that it may be used with."""

    kid: str
    key: Any
    algorithms: frozenset[str]

    def signed(self, token: UnverifiedToken) -> bool:
        """Whether the key signed the token by the header's algorithm, which must fit the key."""
        return token.signed_by(self.key, self.algorithms)


@dataclass(frozen=True, slots=True)
class Source:
    """Where an issuer's keys come from: a key set's address or file; by default what its discovery names."""

    issuer: str
    jwks_uri: str | None = None
    keys_file: Path | None = None


@dataclass(frozen=True, slots=True)
class _Fetched:
    keys: Mapping[str, IssuerKey]
    at: int


class IssuerKeys:
    """The keys of all issuers that were ever asked for. Thread-safe.

    `sources` are the issuers to keep up to date; others come in by `require`. Keys older than `keep_seconds`
    (because their issuer has not answered for so long) count no more. `folder` remembers them over restarts.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        sources: Iterable[Source] = (),
        folder: Path | None = None,
        ca: Path | None = None,
        refresh_seconds: float = 3600.0,
        keep_seconds: float = 7 * 86400.0,
        repeat_seconds: float = REPEAT_SECONDS,
    ) -> None:
        self._clock = clock
        self._sources = {source.issuer: source for source in sources}
        self._folder = folder
        self._ca = ca
        self._refresh_seconds = refresh_seconds
        self._keep = int(keep_seconds * SECOND)
        self._repeat_seconds = repeat_seconds
        self._known: dict[str, _Fetched] = {}
        self._tried: dict[str, float] = {}
        self._wanted: set[str] = set()
        self._fetching: dict[str, threading.Lock] = {}
        self._wake = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None
        for issuer in self._sources:
            self._recall(issuer)

    def start(self) -> None:
        """Begin to keep the keys up to date in a thread."""
        self._thread = threading.Thread(target=self._run, name="issuer-keys", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread; a fetch under way is waited for, a few seconds at most."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        if self._thread is not None:
            self._thread.join(2 * FETCH_SECONDS)

    def find(self, issuer: str, kid: str) -> IssuerKey | None:
        """The issuer's key of this id, from memory."""
        known = self._known.get(issuer)
        if known is None or self._clock.now() - known.at > self._keep:
            return None
        return known.keys.get(kid)

    def want(self, issuer: str) -> bool:
        """Ask for a fetch of the keys; whether one is coming. False when the last one was just now."""
        with self._wake:
            if issuer in self._wanted:
                return True
            if self._stopping or self._thread is None or not self._may_fetch(issuer):
                return False
            self._wanted.add(issuer)
            self._wake.notify_all()
            return True

    def require(self, issuer: str, kid: str) -> IssuerKey | None:
        """The key, after a fetch if it is not known and the last one was not just now.

        Takes at most some seconds. Raises `IssuerUnreachableError` when no keys of the issuer are known.
        """
        found = self.find(issuer, kid)
        if found is not None:
            return found
        with self._wake:
            if len(self._fetching) >= MOST_ISSUERS and issuer not in self._fetching:
                raise IssuerUnreachableError("the keys of too many issuers were asked for")
            lock = self._fetching.setdefault(issuer, threading.Lock())
        with lock:
            self._recall(issuer)
            found = self.find(issuer, kid)
            if found is None and self._may_fetch(issuer):
                self._fetch(issuer)
                found = self.find(issuer, kid)
        if found is None and issuer not in self._known:
            raise IssuerUnreachableError("its keys could not be fetched a moment ago")
        return found

    def _may_fetch(self, issuer: str) -> bool:
        tried = self._tried.get(issuer)
        return tried is None or time.monotonic() - tried >= self._repeat_seconds

    def _run(self) -> None:
        while True:
            with self._wake:
                due = [issuer for issuer in self._sources if self._is_due(issuer)]
                if not due and not self._wanted and not self._stopping:
                    self._wake.wait(min(self._refresh_seconds, self._repeat_seconds))
                if self._stopping:
                    return
                work = {*self._wanted, *due}
            for issuer in work:
                try:
                    self._fetch(issuer)
                except IssuerUnreachableError as error:
                    _log.warning("the keys of issuer %s were not fetched: %s", issuer, error)
            with self._wake:
                self._wanted -= work

    def _is_due(self, issuer: str) -> bool:
        known = self._known.get(issuer)
        stale = known is None or self._clock.now() - known.at >= self._refresh_seconds * SECOND
        return stale and self._may_fetch(issuer)

    def _fetch(self, issuer: str) -> None:
        self._tried[issuer] = time.monotonic()
        source = self._sources.get(issuer, Source(issuer))
        document = self._key_set(source)
        keys = read_keys(document)
        if not keys:
            raise IssuerUnreachableError("it has no key that could sign tokens")
        self._known[issuer] = _Fetched(keys, self._clock.now())
        self._remember(issuer, document)

    def _key_set(self, source: Source) -> Any:
        if source.keys_file is not None:
            try:
                return _json(source.keys_file.read_bytes()[: MOST_BYTES + 1])
            except OSError as error:
                raise IssuerUnreachableError(f"{source.keys_file}: {error.strerror}") from None
        address = source.jwks_uri
        if address is None:
            found = self._get(source.issuer.rstrip("/") + _DISCOVERY)
            address = found.get("jwks_uri") if isinstance(found, dict) else None
            named = found.get("issuer") if isinstance(found, dict) else None
            if named != source.issuer or not isinstance(address, str):
                raise IssuerUnreachableError("its discovery document is not of this issuer")
            if not address.startswith("https://") and source.issuer.startswith("https://"):
                # Nobody elsewhere sends this server to a port of its own machine.
                raise IssuerUnreachableError("its key set's address must begin with https://")
        return self._get(address)

    def _get(self, url: str) -> Any:
        check_address(url)
        host = urlsplit(url).hostname
        deadline = time.monotonic() + FETCH_SECONDS
        try:
            trust = ssl.create_default_context(cafile=str(self._ca) if self._ca else None)
            with (
                httpx.Client(
                    verify=trust,
                    timeout=FETCH_SECONDS,
                    follow_redirects=False,
                    trust_env=host not in _LOOPBACK,
                ) as client,
                client.stream("GET", url, headers={"Accept": "application/json"}) as answer,
            ):
                if answer.status_code != 200:
                    raise IssuerUnreachableError(f"{host} answered {answer.status_code}")
                content = bytearray()
                for piece in answer.iter_bytes():
                    content += piece
                    if len(content) > MOST_BYTES or time.monotonic() > deadline:
                        raise IssuerUnreachableError(f"{host} answered too much or too slowly")
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
            raise IssuerUnreachableError(f"{host} cannot be reached: {type(error).__name__}") from None
        return _json(bytes(content))

    def _place(self, issuer: str) -> Path | None:
        name = hashlib.sha256(issuer.encode("utf-8", "surrogatepass")).hexdigest()[:40]
        return None if self._folder is None else self._folder / f"{name}.json"

    def _remember(self, issuer: str, document: Any) -> None:
        path = self._place(issuer)
        if path is None:
            return
        kept = {"issuer": issuer, "fetched": self._known[issuer].at, "keys": document}
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            write_replacement(path, msgspec.json.encode(kept))
        except OSError as error:
            _log.warning("the keys of issuer %s are not kept on disk: %s", issuer, error.strerror)

    def _recall(self, issuer: str) -> None:
        path = self._place(issuer)
        if path is None or issuer in self._known:
            return
        try:
            kept = msgspec.json.decode(path.read_bytes())
            if kept["issuer"] == issuer:
                self._known[issuer] = _Fetched(read_keys(kept["keys"]), int(kept["fetched"]))
        except FileNotFoundError:
            return
        except (OSError, msgspec.DecodeError, KeyError, TypeError, ValueError, IssuerUnreachableError):
            _log.warning("the kept keys of issuer %s cannot be read; they are fetched again", issuer)


def check_address(url: str) -> None:
    """Raises `IssuerUnreachableError` unless keys may be fetched there: https, or http on this machine."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise IssuerUnreachableError("its address cannot be understood") from None
    loopback = parts.scheme == "http" and parts.hostname in _LOOPBACK
    if not parts.hostname or not (parts.scheme == "https" or loopback) or parts.username is not None:
        raise IssuerUnreachableError("its address must begin with https://")


def read_keys(document: Any) -> dict[str, IssuerKey]:
    """The usable keys of a JSON web key set by their ids. Raises `IssuerUnreachableError` for another document."""
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise IssuerUnreachableError("its key set is no JSON web key set")
    found: dict[str, IssuerKey] = {}
    for one in listed[:MOST_KEYS]:
        key = _read_key(one) if isinstance(one, dict) else None
        if key is not None:
            found.setdefault(key.kid, key)
    return found


def _read_key(document: dict[str, Any]) -> IssuerKey | None:
    kid, kind, use = document.get("kid"), document.get("kty"), document.get("use", "sig")
    curve = document.get("crv")
    algorithms = _RSA if kind == "RSA" else frozenset({_CURVES[curve]} if curve in _CURVES else ())
    if not isinstance(kid, str) or use != "sig" or not algorithms or kind not in ("RSA", "EC", "OKP"):
        return None
    named = document.get("alg")
    try:
        key = jwt.PyJWK({**document, "alg": min(algorithms)}).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    if isinstance(key, RSAPublicKey) and not 2048 <= key.key_size <= 8192:
        return None
    if hasattr(key, "private_bytes"):
        return None
    return IssuerKey(kid, key, algorithms & {named} if named in algorithms else algorithms)


def _json(content: bytes) -> Any:
    if len(content) > MOST_BYTES:
        raise IssuerUnreachableError("its key set is too large")
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise IssuerUnreachableError("it did not answer JSON") from None
