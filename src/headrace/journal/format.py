"""The journal's bytes: a segment file is one header and then frames, one frame a record.

Every segment has a random marker, and every frame begins with it. Bytes that were on the disk before,
or that a client put into a payload, can therefore never be taken for a frame; and after damage the next
frame is found by looking for the marker. All numbers are little-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import msgspec
from isal import isal_zlib

from headrace.journal.model import Entry, Inflated, JournalFormatError, Record

SEGMENT_VERSION: Final = 1
RECORD_VERSION: Final = 1
HEADER_BYTES: Final = 4096
"""Room of the header: records never share a block of the disk with it."""
MARKER_BYTES: Final = 8

_MAGIC = b"HRJOURNL"
_HEADER = struct.Struct("<8sI16sQ8sq")
_HEADER_CHECK = struct.Struct("<I")
_FRAME = struct.Struct("<8sQQqIII")
_FRAME_CHECK = struct.Struct("<I")
_PIECE = 4 * 1024
_AT_ONCE = 64 * 1024
"""For more than 5 KB the library lets other threads in, and to be let in again takes longer than 64 KB do."""
FRAME_BYTES: Final = _FRAME.size + _FRAME_CHECK.size


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """What a segment says of itself. `floor` is the received time (µs) that its records cannot go below."""

    journal: str
    first: int
    marker: bytes
    floor: int


@dataclass(frozen=True, slots=True)
class FrameHead:
    """The fixed part of a frame.

    `group` is the first offset of the records that were written together with this one: when this frame was
    written, everything below `group` was durable.
    """

    offset: int
    group: int
    received: int
    meta_length: int
    body_length: int
    version: int
    crc: int
    checked: int
    """Checksum of the fixed part's own bytes, to be carried on over metadata and body."""

    @property
    def size(self) -> int:
        """Bytes of the whole frame."""
        return FRAME_BYTES + self.meta_length + self.body_length


class _Meta(msgspec.Struct, array_like=True, frozen=True):
    """A record's metadata; later formats may only append fields that have a default."""

    request_id: str
    client_request_id: str
    principal: str
    rule: str
    rule_version: int
    stream: str
    encoding: str
    length: int
    rows: int
    time_field: str = ""
    resource_id: str = ""


_encode_meta = msgspec.msgpack.Encoder().encode
_decode_meta = msgspec.msgpack.Decoder(_Meta).decode


def encode_header(header: SegmentHeader) -> bytes:
    """The first `HEADER_BYTES` of a segment file."""
    fixed = _HEADER.pack(
        _MAGIC, SEGMENT_VERSION, UUID(header.journal).bytes, header.first, header.marker, header.floor
    )
    return (fixed + _HEADER_CHECK.pack(_crc(fixed))).ljust(HEADER_BYTES, b"\0")


def decode_header(block: bytes) -> SegmentHeader | None:
    """The header in `block`, or None where it is not whole.

    Raises `JournalFormatError` for a header of a newer version.
    """
    if len(block) < _HEADER.size + _HEADER_CHECK.size:
        return None
    magic, version, journal, first, marker, floor = _HEADER.unpack_from(block)
    (check,) = _HEADER_CHECK.unpack_from(block, _HEADER.size)
    if magic != _MAGIC or check != _crc(block[: _HEADER.size]):
        return None
    if version > SEGMENT_VERSION:
        raise JournalFormatError(
            f"the journal has format {version}; this Headrace reads up to {SEGMENT_VERSION}"
        )
    return SegmentHeader(str(UUID(bytes=journal)), first, marker, floor)


def encode_meta(entry: Entry) -> bytes:
    """All of an entry but its body."""
    return _encode_meta(
        _Meta(
            entry.request_id,
            entry.client_request_id,
            entry.principal,
            entry.rule,
            entry.rule_version,
            entry.stream,
            entry.encoding,
            entry.length,
            entry.rows,
            entry.time_field,
            entry.resource_id,
        )
    )


def encode_frame(marker: bytes, offset: int, group: int, received: int, meta: bytes, body: bytes) -> bytes:
    """All of a frame but the body, which is to be written right after it."""
    fixed = _FRAME.pack(marker, offset, group, received, len(meta), len(body), RECORD_VERSION)
    return fixed + _FRAME_CHECK.pack(_crc(body, _crc(meta, _crc(fixed)))) + meta


def decode_frame_head(marker: bytes, block: bytes | memoryview, at: int) -> FrameHead | None:
    """The fixed part of a frame at `at` in `block`; None where there is none. Nothing is verified yet."""
    if len(block) - at < FRAME_BYTES:
        return None
    found, offset, group, received, meta_length, body_length, version = _FRAME.unpack_from(block, at)
    if found != marker:
        return None
    (crc,) = _FRAME_CHECK.unpack_from(block, at + _FRAME.size)
    checked = _crc(block[at : at + _FRAME.size])
    return FrameHead(offset, group, received, meta_length, body_length, version, crc, checked)


def verify(head: FrameHead, meta: bytes | memoryview, body: bytes) -> bool:
    """Whether the frame is what was written."""
    return _crc(body, _crc(meta, head.checked)) == head.crc


def decode_record(
    journal: str,
    head: FrameHead,
    meta: bytes | memoryview,
    body: bytes,
    memory: Inflated | None = None,
) -> Record:
    """The record of a verified frame, whose inflated body may be in `memory`.

    Raises `JournalFormatError` for a frame of a newer version.
    """
    if head.version > RECORD_VERSION:
        raise JournalFormatError(
            f"journal record {head.offset} has format {head.version}; "
            f"this Headrace reads up to {RECORD_VERSION}"
        )
    fields = _decode_meta(meta)
    entry = Entry(
        fields.request_id,
        fields.client_request_id,
        fields.principal,
        fields.rule,
        fields.rule_version,
        fields.stream,
        fields.encoding,
        body,
        fields.length,
        fields.rows,
        fields.time_field,
        fields.resource_id,
    )
    return Record(journal, head.offset, head.received, entry, memory)


def _crc(data: bytes | memoryview, start: int = 0) -> int:
    if not _PIECE < len(data) <= _AT_ONCE:
        return isal_zlib.crc32(data, start)
    view = memoryview(data)
    for at in range(0, len(view), _PIECE):
        start = isal_zlib.crc32(view[at : at + _PIECE], start)
    return start
