"""Client secrets: made, hashed with scrypt, and checked without making the token endpoint slow."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import string
import threading
from collections import OrderedDict
from dataclasses import dataclass

ALPHABET = string.ascii_letters + string.digits + "~_-."
LENGTH = 40
HINT = 3
LONGEST = 512
_N, _R, _P = 1 << 14, 8, 1
_MOST_MEMORY = 64 * 1024 * 1024


def new_secret() -> str:
    """A random secret of 40 characters that need no escaping in a form or an address."""
    while True:
        secret = "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
        # Tools and people mistake texts that start with a dash for options.
        if secret[0].isalnum():
            return secret


def hash_secret(secret: str) -> str:
    """The salted scrypt hash of a secret, with its parameters."""
    salt = secrets.token_bytes(16)
    digest = _scrypt(secret, salt, _N, _R, _P)
    return "$".join(("scrypt", str(_N), str(_R), str(_P), _text(salt), _text(digest)))


def matches(secret: str, stored: str) -> bool:
    """Whether the secret is the one that was hashed. Takes tens of milliseconds, without holding the GIL."""
    name, n, r, p, salt, digest = stored.split("$")
    if name != "scrypt":
        raise ValueError(f"unknown kind of secret hash: {name}")
    found = _scrypt(secret, base64.b64decode(salt), int(n), int(r), int(p))
    return hmac.compare_digest(found, base64.b64decode(digest))


def _scrypt(secret: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(
        secret.encode("utf-8", "surrogatepass"), salt=salt, n=n, r=r, p=p, maxmem=_MOST_MEMORY, dklen=32
    )


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


@dataclass(frozen=True, slots=True)
class StoredSecret:
    """A secret as it is kept. `starts` and `ends` are UTC microseconds."""

    key_id: str
    hint: str
    hash: str
    starts: int
    ends: int


class SecretChecker:
    """Finds which of an app's stored secrets a presented one is. Thread-safe.

    A secret that proved right is remembered as a keyed digest bound to the stored hash, so that the next
    check is quick; the key lives in this process alone. Wrong ones are never remembered.
    """

    def __init__(self, most_remembered: int = 1024) -> None:
        self._key = secrets.token_bytes(32)
        self._most = most_remembered
        self._lock = threading.Lock()
        self._known: OrderedDict[bytes, None] = OrderedDict()

    def quick(self, secret: str, stored: tuple[StoredSecret, ...]) -> StoredSecret | None:
        """The match, if it is remembered."""
        for candidate in stored:
            mark = self._mark(secret, candidate)
            with self._lock:
                if mark in self._known:
                    self._known.move_to_end(mark)
                    return candidate
        return None

    def slow(self, secret: str, stored: tuple[StoredSecret, ...]) -> StoredSecret | None:
        """The match, by hashing. Secrets of which the public hint differs are not hashed."""
        if len(secret) > LONGEST:
            return None
        for candidate in stored:
            if secret[:HINT] == candidate.hint and matches(secret, candidate.hash):
                with self._lock:
                    self._known[self._mark(secret, candidate)] = None
                    while len(self._known) > self._most:
                        self._known.popitem(last=False)
                return candidate
        return None

    def _mark(self, secret: str, candidate: StoredSecret) -> bytes:
        content = f"{candidate.key_id}\0{candidate.hash}\0{secret}".encode("utf-8", "surrogatepass")
        return hmac.digest(self._key, content, "sha256")
