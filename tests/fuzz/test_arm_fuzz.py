"""Hostile paths, queries, bodies and roles at the control plane's readers: a value, or a problem that says why."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.arm.conftest import SUBSCRIPTION, World, started, world  # noqa: F401 - fixtures

from headrace.arm.body import parse_object
from headrace.arm.ids import MAX_PATH, parse_id, parse_path
from headrace.arm.routes import read_query
from headrace.identity.assignments import parse_filter
from headrace.wire.problems import HttpError

FEW = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
MANY = settings(FEW, max_examples=300)
ROOT = f"/subscriptions/{SUBSCRIPTION}"

words = st.sampled_from(
    [
        "subscriptions",
        SUBSCRIPTION,
        "resourceGroups",
        "providers",
        "Microsoft.Insights",
        "Microsoft.Authorization",
        "dataCollectionRules",
        "roleDefinitions",
        "..",
        "",
        "%2e%2e",
        "%00",
        "a" * 300,
    ]
)
paths = st.lists(words | st.text(max_size=12), max_size=14).map("/".join).map(lambda text: f"/{text}")
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


@MANY
@given(path=paths, raw=st.booleans())
def test_any_path(path: str, raw: bool) -> None:
    sent = path.encode("utf-8", "replace") if raw else quote(path, safe="/%", errors="replace")
    try:
        target = parse_path(sent)
    except HttpError as error:
        assert error.status in (400, 404)
    else:
        # What is understood is understood again by its own id, and never leaves its scope.
        again = parse_id(target.id)
        assert again is not None and again.key == target.key
        assert ".." not in target.id.split("/") and len(target.id) <= MAX_PATH
        assert target.id.lower().startswith(target.scope.lower())


@MANY
@given(raw=st.binary(max_size=200) | st.text(max_size=100).map(lambda text: quote(text).encode()))
def test_any_query(raw: bytes) -> None:
    try:
        found = read_query(raw)
    except HttpError as error:
        assert error.status == 400
    else:
        assert all(name == name.lower() for name in found)


@MANY
@given(body=st.binary(max_size=200) | json_values.map(lambda value: repr(value).encode("utf-8", "replace")))
def test_any_body(body: bytes) -> None:
    try:
        assert isinstance(parse_object(body), dict)
    except HttpError as error:
        assert (error.status, error.problem.code) == (400, "InvalidRequestContent")


@MANY
@given(
    text=st.text(max_size=80)
    | st.from_regex(r"(principalId eq '[^']*'|atScope\(\)| and ){0,4}", fullmatch=True)
)
def test_any_filter(text: str) -> None:
    try:
        found = parse_filter(text)
    except HttpError as error:
        assert error.problem.code == "UnsupportedQuery"
    else:
        assert found.principal_id is None or found.principal_id == found.principal_id.lower()


role_parts = st.fixed_dictionaries(
    {},
    optional={
        "roleName": st.text(max_size=12) | json_values,
        "description": json_values,
        "type": st.sampled_from(["CustomRole", "BuiltInRole", 7]),
        "permissions": json_values
        | st.lists(
            st.dictionaries(
                st.sampled_from(["actions", "dataActions", "notActions"]), json_values, max_size=3
            ),
            max_size=3,
        ),
        "assignableScopes": json_values | st.just([ROOT]),
    },
)


@FEW
@given(properties=role_parts | json_values, method=st.sampled_from(["PUT", "POST", "PATCH"]))
def test_any_role(world: World, properties: Any, method: str) -> None:  # noqa: F811
    path = f"{ROOT}/providers/Microsoft.Authorization/roleDefinitions/11111111-0000-0000-0000-000000000001"
    answer = world.call(method, path, {"properties": properties})
    assert answer.status_code in (200, 201, 400, 403, 404, 405, 409), answer.text
    if answer.status_code >= 400:
        assert answer.json()["error"]["message"]


@FEW
@given(path=paths, body=json_values, method=st.sampled_from(["GET", "PUT", "PATCH", "DELETE", "POST"]))
def test_any_call(world: World, path: str, body: Any, method: str) -> None:  # noqa: F811
    answer = world.call(method, f"{ROOT}{quote(path, safe='/%', errors='replace')}", body)
    assert answer.status_code < 500, (method, path, body, answer.text)


@pytest.mark.parametrize("depth", [63, 64, 65, 1000, 100_000])
def test_depth_is_bounded(depth: int) -> None:
    body = b'{"a":' * depth + b"1" + b"}" * depth
    if depth <= 64:
        assert parse_object(body)
    else:
        with pytest.raises(HttpError, match="nested"):
            parse_object(body)
