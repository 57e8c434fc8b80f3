"""The manifest file: how published rows become visible, at once and all together.

One small JSON file in the table's folder, replaced by rename. It is not synced: what a power cut takes of
it is replayed from the journal, so it must only be possible to *tell* that it is not whole. Hence the
checksum over its bytes, and one for each file it names.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import msgspec

from headrace.disk import write_replacement
from headrace.tables.model import DataFile, Manifest, ManifestError

NAME = "manifest.json"
FORMAT = 1
MAX_BYTES = 64 * 1024 * 1024
_BLOCK = 1024 * 1024


class _Envelope(msgspec.Struct, frozen=True):
    format: int
    checksum: int
    manifest: msgspec.Raw


_ENVELOPES = msgspec.json.Decoder(_Envelope)
_MANIFESTS = msgspec.json.Decoder(Manifest)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Make `manifest` the one that readers see. Raises `OSError`; the former manifest then stands."""
    write_replacement(folder / NAME, encode(manifest))


def read_manifest(folder: Path) -> Manifest | None:
    """The table's manifest, None when it has none. Raises `ManifestError` when it cannot be trusted."""
    try:
        with (folder / NAME).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    return decode(content)


def encode(manifest: Manifest) -> bytes:
    """The manifest's bytes."""
    body = msgspec.json.encode(manifest)
    return msgspec.json.encode(_Envelope(FORMAT, zlib.crc32(body), msgspec.Raw(body)))


def decode(content: bytes) -> Manifest:
    """A manifest from its bytes. Raises `ManifestError`."""
    if len(content) > MAX_BYTES:
        raise ManifestError("the manifest is too large to be one")
    try:
        envelope = _ENVELOPES.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ManifestError("the manifest is not whole") from error
    if envelope.format > FORMAT:
        raise ManifestError(f"the manifest has format {envelope.format}, newer than {FORMAT}")
    if zlib.crc32(envelope.manifest) != envelope.checksum:
        raise ManifestError("the manifest does not match its checksum")
    try:
        return _MANIFESTS.decode(envelope.manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
        raise ManifestError("the manifest does not have the form of one") from error


def checksum(path: Path) -> int:
    """CRC-32 of a file's bytes. Raises `OSError`."""
    value = 0
    with path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            value = zlib.crc32(block, value)
    return value


def is_whole(folder: Path, file: DataFile) -> bool:
    """Whether a published file is on disk as it was published."""
    if file.rows == 0:
        return True
    path = folder / file.path
    try:
        return path.stat().st_size == file.bytes and checksum(path) == file.checksum
    except OSError:
        return False
