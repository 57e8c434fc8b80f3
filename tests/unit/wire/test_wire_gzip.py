from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.wire.gzip import GzipError, TooLargeError, deflate, inflate, inflate_in_steps


@given(st.binary(max_size=5000), st.integers(0, 9))
def test_inflate_undoes_gzip(content: bytes, level: int) -> None:
    found = inflate(gzip.compress(content, level), len(content))
    assert (found.content, found.members) == (content, 1)


@given(st.binary(max_size=5000))
def test_inflate_undoes_deflate(content: bytes) -> None:
    assert inflate(deflate(content), 5000).content == content


@given(st.lists(st.binary(max_size=300_000), min_size=2, max_size=4))
def test_members_are_joined(parts: list[bytes]) -> None:
    found = inflate(b"".join(gzip.compress(part) for part in parts), 2_000_000)
    assert (found.content, found.members) == (b"".join(parts), len(parts))


@given(st.lists(st.binary(max_size=2000), min_size=1, max_size=3), st.integers(0, 6000))
def test_the_bound_is_exact(parts: list[bytes], limit: int) -> None:
    body = b"".join(gzip.compress(part) for part in parts)
    size = sum(map(len, parts))
    if size <= limit:
        assert len(inflate(body, limit).content) == size
        assert inflate_in_steps(body, limit, lambda: None) == inflate(body, limit)
    else:
        with pytest.raises(TooLargeError):
            inflate(body, limit)
        with pytest.raises(TooLargeError):
            inflate_in_steps(body, limit, lambda: None)


def test_others_come_to_turn_between_steps() -> None:
    body = gzip.compress(bytes(8_000_000))
    pauses: list[None] = []
    assert inflate_in_steps(body, 8_000_000, lambda: pauses.append(None)).content == bytes(8_000_000)
    assert len(pauses) >= 8_000_000 // (256 * 1024)
    with pytest.raises(GzipError):
        inflate_in_steps(body[:-1], 8_000_000, lambda: None)


@pytest.mark.parametrize(
    ("body", "cause"),
    [(b'\n [{"a": 1}]', "looks like plain JSON"), (zlib.compress(b"[]"), "zlib data are not taken")],
)
def test_what_is_no_gzip_is_told_by_its_name(body: bytes, cause: str) -> None:
    with pytest.raises(GzipError, match=cause):
        inflate(body, 100)
    with pytest.raises(GzipError, match=cause):
        inflate_in_steps(body, 100, lambda: None)


@given(st.binary(max_size=200), st.data())
def test_every_cut_is_refused(content: bytes, data: st.DataObject) -> None:
    whole = gzip.compress(content)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(GzipError):
        inflate(whole[:cut], 1000)


@given(st.binary(min_size=1, max_size=200), st.data())
def test_a_changed_byte_never_passes_as_other_content(content: bytes, data: st.DataObject) -> None:
    whole = bytearray(gzip.compress(content, mtime=0))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    try:
        found = inflate(bytes(whole), 100_000).content
    except (GzipError, TooLargeError):
        return
    assert found == content


@given(st.binary(max_size=2000))
def test_any_bytes_end_in_content_or_a_known_error(body: bytes) -> None:
    for candidate in (body, b"\x1f\x8b\x08" + body, gzip.compress(b"x") + body):
        try:
            assert len(inflate(candidate, 4096).content) <= 4096
        except (GzipError, TooLargeError) as error:
            assert str(error)
