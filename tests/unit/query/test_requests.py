"""The query API's requests, as clients really send them and as nobody should."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.query.requests import read_batch, read_preferences, read_query, read_url_query
from headrace.settings import QuerySettings
from headrace.wire.problems import HttpError, error_object

NOW = 1_700_000_000_000_000


def test_the_python_clients_body() -> None:
    request = read_query(b'{"query":"T","timespan":"PT86400.0S","workspaces":null}', {}, NOW)
    assert (request.text, request.time_range, request.workspaces) == ("T", (NOW - 86_400_000_000, NOW), ())


def test_names_of_properties_have_any_case() -> None:
    body = b'{"Query":"T","timeSpan":"PT1H","WORKSPACES":["w"],"resources":["/subscriptions/s"],"options":{"A":[1]}}'
    request = read_query(body, {}, NOW)
    assert (request.text, request.time_range) == ("T", (NOW - 3_600_000_000, NOW))
    assert request.workspaces == ("w", "/subscriptions/s")
    batch = b'{"Requests":[{"ID":"1","Workspace":"w","Body":{"Query":"T"},"Headers":{"Prefer":"wait=5"}}]}'
    (item,) = read_batch(batch)
    assert (item.id, item.workspace, item.headers) == ("1", "w", {"prefer": "wait=5"})


def test_a_span_in_the_url_and_one_in_the_body_both_hold() -> None:
    request = read_query(b'{"query":"T","timespan":"P1D"}', {"timespan": "PT1H"}, NOW)
    assert request.time_range == (NOW - 3_600_000_000, NOW)


def test_workspaces_of_a_url() -> None:
    assert read_url_query({"query": "T", "workspaces": "a,b,"}, NOW).workspaces == ("a", "b")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b'{"query":1}',
        b'{"query":" "}',
        b"\xff",
        b"[" * 100_000,
        b'{"query":"T","timespan":"x"}',
    ],
)
def test_a_wrong_body_is_400(content: bytes) -> None:
    with pytest.raises(HttpError) as refused:
        read_query(content, {}, NOW)
    assert refused.value.status == 400 and refused.value.problem.code == "BadArgumentError"


@pytest.mark.parametrize(
    ("content", "inner", "message"),
    [
        (b'{"query":', "InvalidJsonBody", "The body is not JSON: Input data was truncated."),
        (
            b'{"query":1}',
            None,
            "The body is not what a query takes: Expected `str`, got `int` - at `$.query`.",
        ),
    ],
)
def test_the_cause_is_nested_as_clients_unwrap_it(content: bytes, inner: str | None, message: str) -> None:
    with pytest.raises(HttpError) as refused:
        read_query(content, {}, NOW)
    cause = error_object(refused.value.problem)["innererror"]
    assert cause["code"] == "QueryValidationError"
    details = cause.get("details", [])
    assert [detail["code"] for detail in details] == ([inner] if inner else [])
    assert (details[0] if details else cause)["message"] == message


@given(st.binary(max_size=300))
def test_any_bytes_are_a_query_or_400(content: bytes) -> None:
    try:
        read_query(content, {}, NOW)
    except HttpError as error:
        assert error.status == 400


def test_a_batchs_ids_are_unique() -> None:
    item = {"id": "1", "workspace": "w", "body": {"query": "T"}}
    with pytest.raises(HttpError):
        read_batch(json.dumps({"requests": [item, item]}).encode())


@pytest.mark.parametrize(
    ("headers", "wait", "statistics", "render"),
    [
        ([], 180, False, False),
        ([""], 180, False, False),
        (["wait=60,include-statistics=true,include-render=true"], 60, True, True),
        (["wait=60", "include-statistics=true", "include-render=true"], 60, True, True),
        (["wait=100000"], 600, False, False),
        (["wait=0"], 1, False, False),
        (["wait=-5, ai.response-thinning=false"], 180, False, False),
    ],
)
def test_the_prefer_headers(headers: list[str], wait: int, statistics: bool, render: bool) -> None:
    found = read_preferences(headers, QuerySettings())
    assert (found.wait, found.statistics, found.render) == (wait, statistics, render)
