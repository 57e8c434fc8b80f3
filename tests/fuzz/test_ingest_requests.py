"""Raw bytes in every part of a request: an ordinary answer, and nothing stored that was not accepted."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.ingest_kit import VERSION, Tenant, World

ANSWERS = {204, 400, 401, 404, 413, 415}
HEADER_TEXT = st.binary(max_size=60).filter(lambda value: not set(value) & set(b"\r\n\0"))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    tenant = Tenant(folder)
    with World(folder, tenant, ingest={"max_wire_bytes": 4096}) as made:
        yield made
    tenant.close()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tail=st.binary(max_size=60),
    query=st.one_of(st.just(VERSION), st.binary(max_size=60)),
    pieces=st.lists(
        st.one_of(st.binary(max_size=3000), st.sampled_from([b"[{}", b",{}", b"]", b"[]"])),
        min_size=1,
        max_size=4,
    ),
    encoding=st.one_of(st.sampled_from([b"", b"gzip"]), HEADER_TEXT),
    kind=st.one_of(st.just(b"application/json"), HEADER_TEXT),
    extra=st.dictionaries(
        st.sampled_from(
            [b"x-ms-client-request-id", b"x-ms-return-client-request-id", b"content-length", b"host"]
        ),
        HEADER_TEXT,
    ),
    good_path=st.booleans(),
    squeeze=st.booleans(),
)
def test_any_request_has_an_ordinary_answer(
    world: World,
    tail: bytes,
    query: bytes,
    pieces: list[bytes],
    encoding: bytes,
    kind: bytes,
    extra: dict[bytes, bytes],
    good_path: bool,
    squeeze: bool,
) -> None:
    before = len(world.notes.records)
    headers = dict(world.headers()) | {b"content-type": kind, b"content-encoding": encoding} | extra
    path = world.path() if good_path else b"/dataCollectionRules/" + tail
    if squeeze:
        pieces = [gzip.compress(b"".join(pieces))]
    answer = world.post(*pieces, path=path, query=query, headers=list(headers.items()))
    assert answer.status in ANSWERS
    assert answer.header("retry-after") is None
    if answer.status == 204:
        assert answer.body == b""
    else:
        assert answer.error["message"].isprintable()
        assert len(world.notes.records) == before


@settings(max_examples=200, deadline=None)
@given(authorization=st.one_of(HEADER_TEXT, HEADER_TEXT.map(lambda value: b"Bearer " + value)))
def test_no_bytes_are_a_token(world: World, authorization: bytes) -> None:
    headers = dict(world.headers()) | {b"authorization": authorization}
    assert world.post(b"[{}]", headers=list(headers.items())).status == 401


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_no_changed_token_lets_in(world: World, data: st.DataObject) -> None:
    token = bytearray(world.token.encode())
    place = data.draw(st.integers(0, len(token) - 3))
    replacement = data.draw(st.sampled_from([c for c in b"AZaz09-_.=" if c != token[place]]))
    token[place] = replacement
    headers = dict(world.headers()) | {b"authorization": b"Bearer " + bytes(token)}
    assert world.post(b"[{}]", headers=list(headers.items())).status == 401
