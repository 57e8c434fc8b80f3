"""Refused calls become rows of `DCRLogErrors` once their rule is known, and no more than a few of a kind."""

from __future__ import annotations

from tests.ingest_kit import Tenant, World

from headrace.observe.log_errors import REPEATS

BAD = b'[{"Password": "secret", ]'


def test_a_refused_call_is_told_with_its_ids(world: World) -> None:
    answer = world.post(BAD, headers=world.headers(x_ms_client_request_id="mine"))
    assert answer.status == 400
    (row,) = world.error_rows()
    assert (row.OperationName, row.InputStreamId) == ("Ingestion", "Custom-MyTable_CL")
    assert (row.ClientRequestId, row.CorrelationId) == ("mine", answer.header("x-ms-request-id"))
    assert row.resource_id == world.rule.resource_id.lower()
    assert row.Message.startswith("A call was answered 400 MalformedJson, nothing of it was stored: ")
    assert answer.error["message"] in row.Message
    assert "secret" not in row.Message
    (record,) = world.records()
    assert (record.entry.rule, record.entry.rule_version) == (world.rule.immutable_id, world.rule.version)


def test_each_kind_is_told_a_few_times(world: World) -> None:
    for number in range(3 * REPEATS):
        world.post(BAD)
        world.post(BAD, headers=world.headers(content_type="text/csv"))
        world.post(BAD, path=world.path(f"Custom-Made-Up-{number}"))
    told = world.error_rows()
    assert len(told) == 3 * (REPEATS + 1)
    assert sum("more are not logged until" in row.Message for row in told) == 3


def test_no_role_and_too_large_are_told_of_who_may_be_known(world: World, tenant: Tenant) -> None:
    stranger = tenant.token(tenant.app())
    large = world.headers(content_length=str(1 << 30))
    assert world.post(BAD, headers=world.headers(authorization=f"Bearer {stranger}")).status == 403
    assert world.post(BAD, headers=large).status == 413
    assert [row.Message.split(",")[0] for row in world.error_rows()] == [
        "A call was answered 403 OperationFailed",
        "A call was answered 413 ContentLengthLimitExceeded",
    ]
    # Without a token, with one that has no right here, or for no rule, there is nobody to tell.
    for changes in ({"authorization": None}, {"authorization": f"Bearer {stranger}"}):
        assert world.post(BAD, headers=[*world.headers(**changes), large[-1]]).status == 413
    assert world.post(BAD, headers=world.headers(authorization=None)).status == 401
    assert world.post(BAD, path=world.path(rule="dcr-0")).status == 404
    assert len(world.error_rows()) == 2
