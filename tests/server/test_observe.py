"""What the server says of itself: error rows, metrics, receipts, and dead letters that are sent again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.server.kit import TABLES, Api, Rule, api_of, eventually
from tests.servers import running_server

pytestmark = [pytest.mark.server, pytest.mark.slow]

ERRORS = (
    "DCRLogErrors | where InputStreamId == 'Custom-In' and _ResourceId == '{rule}'"
    " | project OperationName, Message, ClientRequestId, CorrelationId, SourceSystem, Type"
)


@pytest.fixture(scope="module")
def compatible(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("compatible")
    variables = {"HEADRACE_MODE": "compatible"}
    with (
        running_server(
            folder, "--data-dir", str(folder / "data"), "--port", "0", variables=variables
        ) as server,
        api_of(server) as opened,
    ):
        yield opened


def broken_rule(api: Api, name: str) -> Rule:
    """A rule whose output table is gone, so that all it takes becomes dead letters."""
    path = api.make_table(f"{name}_CL", {"Id": "string"})
    rule = api.make_rule(name, {"Id": "string"}, f"{name}_CL")
    api.delete(path, TABLES)
    return rule


def test_what_compatible_mode_leaves_out_is_told_in_the_workspace(compatible: Api) -> None:
    compatible.make_table("Kept_CL", {"Id": "string"})
    rule = compatible.make_rule("Kept", {"Id": "string"}, "Kept_CL")
    bare = rule.post(b'{"Id": "lost"}', x_ms_client_request_id="my-call")
    assert bare.status_code == 204
    assert rule.post(b'[{"Id": "kept"}, 1, null]').status_code == 204
    told = eventually(
        lambda: compatible.rows(ERRORS.format(rule=rule.path.lower())), lambda rows: len(rows) == 2
    )
    told.sort(key=lambda row: str(row[1]))
    assert told[0][:2] == [
        "Ingestion",
        "2 members of the array are not objects and were not stored; the objects were.",
    ]
    assert told[1] == [
        "Ingestion",
        "The body is a single object instead of an array of objects; it was not stored.",
        "my-call",
        bare.headers["x-ms-request-id"],
        "Azure",
        "DCRLogErrors",
    ]
    assert eventually(lambda: compatible.rows("Kept_CL | project Id"), bool) == [["kept"]]


def test_dead_letters_are_told_in_the_workspace(api: Api) -> None:
    rule = broken_rule(api, "ToldDead")
    rule.send([{"Id": "secret-1"}, {"Id": "secret-2"}])
    ((operation, message, *_),) = eventually(lambda: api.rows(ERRORS.format(rule=rule.path.lower())), bool)
    assert operation == "Transformation"
    assert message.startswith("2 rows could not be stored in ToldDead_CL (TableNotFound)")
    assert "secret" not in message
