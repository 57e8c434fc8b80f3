from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.kql.types import KustoType
from headrace.tables.manifest import (
    FORMAT,
    NAME,
    checksum,
    decode,
    encode,
    is_whole,
    read_manifest,
    write_manifest,
)
from headrace.tables.model import (
    DataFile,
    FileColumn,
    FileSchema,
    Manifest,
    ManifestError,
    StoredFile,
    TableKey,
)

_TIMES = st.integers(-(2**50), 2**55)
_POSITIONS = st.dictionaries(st.text(max_size=20), st.integers(0, 2**62), min_size=1, max_size=3)


@st.composite
def data_files(draw: st.DrawFn) -> DataFile:
    positions = draw(_POSITIONS)
    if draw(st.booleans()):
        return DataFile("", 0, 0, draw(st.integers(0, 9)), None, None, positions)
    version = draw(st.integers(0, 999_999_999))
    low, high = sorted((draw(_TIMES), draw(_TIMES)))
    rows, size = draw(st.integers(1, 2**40)), draw(st.integers(1, 2**50))
    crc = draw(st.integers(0, 2**32 - 1))
    return DataFile(f"v{version}/{draw(st.uuids())}.parquet", rows, size, version, low, high, positions, crc)


_SCHEMAS = st.builds(
    FileSchema,
    st.integers(0, 99),
    st.lists(st.builds(FileColumn, st.text(max_size=8), st.sampled_from(KustoType)), max_size=3).map(tuple),
)
_MANIFESTS = st.builds(
    Manifest,
    st.integers(0, 2**60),
    st.integers(-1, 2**60),
    st.integers(-1, 2**60),
    st.lists(data_files(), max_size=4).map(tuple),
    st.lists(_SCHEMAS, max_size=2).map(tuple),
)


@given(_MANIFESTS)
def test_a_manifest_comes_back_as_it_was(manifest: Manifest) -> None:
    assert decode(encode(manifest)) == manifest


@given(_MANIFESTS, st.data())
def test_a_damaged_manifest_is_never_believed(manifest: Manifest, data: st.DataObject) -> None:
    content = encode(manifest)
    place = data.draw(st.integers(0, len(content) - 1))
    bit = data.draw(st.integers(0, 7))
    flipped = bytearray(content)
    flipped[place] ^= 1 << bit
    damaged = data.draw(st.sampled_from([content[:place], bytes(flipped), content[:place] + bytes(64)]))
    try:
        found = decode(damaged)
    except ManifestError:
        return
    assert found == manifest


@given(st.binary(max_size=300))
def test_rubbish_is_no_manifest(content: bytes) -> None:
    with pytest.raises(ManifestError):
        decode(content)


def test_a_newer_format_is_refused_by_name() -> None:
    content = encode(Manifest()).replace(b'"format":1', b'"format":9')
    with pytest.raises(ManifestError, match=f"format 9, newer than {FORMAT}"):
        decode(content)


def test_replacing_leaves_no_other_file(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None
    write_manifest(tmp_path, Manifest(serial=1))
    write_manifest(tmp_path, Manifest(serial=2))
    assert read_manifest(tmp_path) == Manifest(serial=2)
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_a_data_file_is_whole_only_with_its_very_bytes(tmp_path: Path) -> None:
    path = tmp_path / "v1" / "a.parquet"
    path.parent.mkdir()
    path.write_bytes(b"0123456789")
    file = DataFile("v1/a.parquet", 1, 10, 1, 0, 0, {"a": 1}, checksum(path))
    assert is_whole(tmp_path, file)
    path.write_bytes(b"0123456780")
    assert not is_whole(tmp_path, file)
    path.write_bytes(b"01234567890")
    assert not is_whole(tmp_path, file)
    path.unlink()
    assert not is_whole(tmp_path, file)


@pytest.mark.parametrize("part", ["..", ".", "a/b", "", "a\0b", "é", ".hidden", "-x"])
def test_no_name_leads_out_of_the_root(tmp_path: Path, part: str) -> None:
    for key in (TableKey(part, "t", "i"), TableKey("w", part, "i"), TableKey("w", "t", part)):
        with pytest.raises(ValueError, match="not a name"):
            key.folder(tmp_path)


@pytest.mark.parametrize(
    "file",
    [
        ("../v1/a.parquet", 1, 10, 1, 0, 0, {"a": 1}),
        ("v1/../a.parquet", 1, 10, 1, 0, 0, {"a": 1}),
        ("v2/a.parquet", 1, 10, 1, 0, 0, {"a": 1}),
        ("v1/a.parquet", 1, 10, 1, None, 0, {"a": 1}),
        ("v1/a.parquet", 1, 10, 1, 2, 1, {"a": 1}),
        ("v1/a.parquet", 0, 10, 1, 0, 0, {"a": 1}),
        ("", 1, 10, 1, 0, 0, {"a": 1}),
        ("v1/a.parquet", 1, 10, 1, 0, 0, {}),
    ],
)
def test_a_data_file_without_its_facts_is_refused(
    file: tuple[str, int, int, int, int | None, int | None, dict[str, int]],
) -> None:
    with pytest.raises(ValueError, match=r"data file|without rows"):
        DataFile(*file)


@given(_TIMES, _TIMES, st.none() | _TIMES, st.none() | _TIMES)
def test_overlap_is_that_of_closed_ranges(one: int, other: int, low: int | None, high: int | None) -> None:
    start, end = sorted((one, other))
    file = StoredFile("v1/a.parquet", 1, 1, start, end)
    assert file.overlaps(low, high) == ((low is None or low <= end) and (high is None or start <= high))
