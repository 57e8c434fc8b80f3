from __future__ import annotations

import uuid

import pytest

from headrace.wire.correlation import client_request_id, new_request_id, wants_client_request_id


def test_new_ids_are_distinct_guids_of_version_4() -> None:
    made = {new_request_id() for _ in range(1000)}
    assert len(made) == 1000
    for each in made:
        parsed = uuid.UUID(each)
        assert (str(parsed), parsed.version, parsed.variant) == (each, 4, uuid.RFC_4122)


@pytest.mark.parametrize(
    ("header", "kept"),
    [
        (None, ""),
        (b"", ""),
        (b"  id-1 ", "id-1"),
        (b"0123456789ABCDEF0123456789abcdef", "01234567-89ab-cdef-0123-456789abcdef"),
        (b"0123456789ABCDEF0123456789abcdeg", "0123456789ABCDEF0123456789abcdeg"),
        (b"a b", ""),
        (b"a\r\nx: y", ""),
        (b"\xe9", ""),
        (b"x" * 128, "x" * 128),
        (b"x" * 129, ""),
    ],
)
def test_client_ids(header: bytes | None, kept: str) -> None:
    assert client_request_id(header) == kept


def test_who_asks_for_the_id() -> None:
    assert wants_client_request_id(b"true")
    assert wants_client_request_id(b" True ")
    assert not any(wants_client_request_id(value) for value in (None, b"", b"false", b"1"))
