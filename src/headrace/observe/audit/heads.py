"""Signed heads of the audit log's chains: what the log was at a time, kept beside the tables.

A row that was changed breaks its chain; rows that were cut off its end are missed by its head. Who can read the
signing key can forge both, so an operator who must not trust this machine keeps heads elsewhere.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from headrace.disk import Disk, RealDisk, replace_durably
from headrace.observe.audit.events import FIRST, Link, row_hash

_LOG = logging.getLogger(__name__)


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a chain at a time (UTC microseconds), and the head that was the newest when it began."""

    chain: str
    sequence: int
    hash: str
    time: int
    before_chain: str = ""
    before_sequence: int = -1
    before_hash: str = ""
    signature: str = ""

    def signed_text(self) -> bytes:
        """What the signature is of."""
        said = [
            self.chain,
            self.sequence,
            self.hash,
            self.time,
            self.before_chain,
            self.before_sequence,
            self.before_hash,
        ]
        return msgspec.json.encode(said)


class Heads:
    """The heads in a folder, one file a chain, and the key that signs them."""

    def __init__(self, folder: Path, disk: Disk | None = None) -> None:
        """Makes the folder and the key where they are missing. Raises `OSError`."""
        self._folder = folder
        self._disk = disk or RealDisk()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._key = _load_key(folder / "key.pem", self._disk)

    @property
    def public_key(self) -> str:
        """The key that heads are verified with: raw Ed25519, base64."""
        raw = self._key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return base64.b64encode(raw).decode()

    def all(self) -> list[Head]:
        """Every head, oldest first; files that cannot be read are left out and so missed by the others."""
        found = []
        for path in self._folder.glob("*.head"):
            try:
                found.append(msgspec.json.decode(path.read_bytes(), type=Head))
            except (OSError, msgspec.DecodeError, UnicodeDecodeError):
                continue
        return sorted(found, key=lambda head: (head.time, head.chain))

    def write(self, link: Link, time: int, before: Head | None) -> Head:
        """Sign and keep the head of a chain. Raises `OSError`."""
        head = Head(
            chain=link.chain,
            sequence=link.sequence,
            hash=link.hash,
            time=time,
            before_chain=before.chain if before else "",
            before_sequence=before.sequence if before else -1,
            before_hash=before.hash if before else "",
        )
        signature = base64.b64encode(self._key.sign(head.signed_text())).decode()
        signed = msgspec.structs.replace(head, signature=signature)
        path = self._folder / f"{head.chain}.head"
        replace_durably(self._disk, path, msgspec.json.encode(signed), "audit.head")
        return signed


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about a chain that is not as it was written."""

    chain: str
    sequence: int
    message: str


def check(
    rows: Iterable[tuple[Mapping[str, Any], int]], heads: Sequence[Head], public_key: str
) -> list[Finding]:
    """What was changed, left out, added or cut off; empty when all is as it was written.

    `rows` are all rows of the table with their times (UTC microseconds), in any order.
    """
    chains: dict[str, list[tuple[Mapping[str, Any], int]]] = {}
    for row, time in rows:
        chains.setdefault(str(row["ChainId"]), []).append((row, time))
    known = {head.chain: head for head in heads}
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key))
    findings: list[Finding] = []
    for chain in sorted({*chains, *known}):
        listed = sorted(chains.get(chain, []), key=lambda item: int(item[0]["Sequence"]))
        findings += _check_chain(chain, listed, known.get(chain), known, key)
    return findings


def _check_chain(
    chain: str,
    rows: Sequence[tuple[Mapping[str, Any], int]],
    head: Head | None,
    heads: Mapping[str, Head],
    key: Ed25519PublicKey,
) -> list[Finding]:
    findings: list[Finding] = []
    before, expected = FIRST, 0
    hashes: dict[int, str] = {}
    for row, time in rows:
        sequence = int(row["Sequence"])
        if sequence < expected:
            findings.append(Finding(chain, sequence, "The row is there more than once."))
            continue
        if sequence > expected:
            findings.append(Finding(chain, expected, f"{sequence - expected} rows before this are missing."))
        elif row["PreviousHash"] != before:
            findings.append(Finding(chain, sequence, "The row does not follow the one before it."))
        if row_hash(row, time) != row["Hash"]:
            findings.append(Finding(chain, sequence, "The row was changed."))
        before, expected = str(row["Hash"]), sequence + 1
        hashes[sequence] = before
    if head is None:
        return [
            *findings,
            Finding(chain, expected - 1, "The chain has no signed head: it was not written here."),
        ]
    return [*findings, *_check_head(head, hashes, heads, key)]


def _check_head(
    head: Head, hashes: Mapping[int, str], heads: Mapping[str, Head], key: Ed25519PublicKey
) -> list[Finding]:
    findings: list[Finding] = []
    try:
        key.verify(base64.b64decode(head.signature), head.signed_text())
    except (InvalidSignature, ValueError):
        findings.append(Finding(head.chain, head.sequence, "The head's signature is wrong."))
    found = hashes.get(head.sequence)
    if head.sequence >= 0 and found is None:
        findings.append(Finding(head.chain, head.sequence, "The row that the signed head names is missing."))
    elif found is not None and found != head.hash:
        findings.append(Finding(head.chain, head.sequence, "The row is another than the signed head names."))
    before = heads.get(head.before_chain)
    if head.before_chain and (before is None or before.sequence < head.before_sequence):
        findings.append(
            Finding(head.before_chain, head.before_sequence, "The chain's signed head is missing.")
        )
    return findings


def _load_key(path: Path, disk: Disk) -> Ed25519PrivateKey:
    try:
        loaded = serialization.load_pem_private_key(path.read_bytes(), password=None)
        if isinstance(loaded, Ed25519PrivateKey):
            return loaded
    except FileNotFoundError:
        pass
    except ValueError:
        # The heads that it signed tell so when they are checked.
        _LOG.error("%s is no key: the audit log's heads are signed with a new one from now on", path)
    made = Ed25519PrivateKey.generate()
    pem = made.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    replace_durably(disk, path, pem, "audit.key", 0o600)
    return made
