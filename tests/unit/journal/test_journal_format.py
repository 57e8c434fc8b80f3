from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headrace.journal.format import (
    FRAME_BYTES,
    HEADER_BYTES,
    SegmentHeader,
    decode_frame_head,
    decode_header,
    decode_record,
    encode_frame,
    encode_header,
    encode_meta,
    verify,
)
from headrace.journal.model import Entry, Record

JOURNAL = "0d9c3f5e-6a1b-4c2d-8e3f-405162738495"
MARKER = b"marker-1"

offsets = st.integers(0, 2**64 - 1)
times = st.integers(-(2**63), 2**63 - 1)
counts = st.integers(0, 2**63 - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
entries = st.builds(
    Entry, texts, texts, texts, texts, counts, texts, texts, st.binary(max_size=300), counts, counts
)


def decode(marker: bytes, block: bytes, at: int = 0) -> Record | None:
    head = decode_frame_head(marker, block, at)
    if head is None or at + head.size > len(block):
        return None
    meta = block[at + FRAME_BYTES : at + FRAME_BYTES + head.meta_length]
    body = block[at + FRAME_BYTES + head.meta_length : at + head.size]
    return decode_record(JOURNAL, head, meta, body) if verify(head, meta, body) else None


def encode(entry: Entry, offset: int = 3, group: int = 2, received: int = 1) -> bytes:
    return encode_frame(MARKER, offset, group, received, encode_meta(entry), entry.body) + entry.body


@given(entries, offsets, offsets, times, st.binary(max_size=20))
def test_a_frame_comes_back(entry: Entry, offset: int, group: int, received: int, before: bytes) -> None:
    block = before + encode(entry, offset, group, received)
    assert decode(MARKER, block, len(before)) == Record(JOURNAL, offset, received, entry)
    head = decode_frame_head(MARKER, block, len(before))
    assert head is not None
    assert head.group == group


@given(entries, st.data())
def test_any_changed_bit_is_noticed(entry: Entry, data: st.DataObject) -> None:
    block = bytearray(encode(entry))
    place = data.draw(st.integers(0, len(block) * 8 - 1))
    block[place // 8] ^= 1 << place % 8
    assert decode(MARKER, bytes(block)) is None


@given(entries, st.data())
def test_a_cut_frame_is_noticed(entry: Entry, data: st.DataObject) -> None:
    block = encode(entry)
    assert decode(MARKER, block[: data.draw(st.integers(0, len(block) - 1))]) is None


@given(entries, st.binary(min_size=8, max_size=8).filter(lambda other: other != MARKER))
def test_a_frame_of_another_segment_is_none(entry: Entry, other: bytes) -> None:
    assert decode(other, encode(entry)) is None


@given(offsets, st.binary(min_size=8, max_size=8), times)
def test_a_header_comes_back(first: int, marker: bytes, floor: int) -> None:
    header = SegmentHeader(JOURNAL, first, marker, floor)
    block = encode_header(header)
    assert len(block) == HEADER_BYTES
    assert decode_header(block) == header


@given(st.integers(0, 56 * 8 - 1))
def test_any_changed_bit_of_a_header_is_noticed(place: int) -> None:
    block = bytearray(encode_header(SegmentHeader(JOURNAL, 5, MARKER, 6)))
    block[place // 8] ^= 1 << place % 8
    assert decode_header(bytes(block)) is None


@given(st.binary(max_size=100))
def test_no_header_in_other_bytes(block: bytes) -> None:
    assert decode_header(block) is None


def test_zeros_are_no_frame() -> None:
    assert decode(bytes(8), bytes(1000)) is None
