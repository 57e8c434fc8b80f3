"""The activity log, over events as the audit log hands them on."""

from __future__ import annotations

import pytest
from tests.unit.arm.conftest import GROUP, RULE, SUBSCRIPTION, World

from headrace.arm.model import Activity
from headrace.clock import SECOND, iso

PATH = f"/subscriptions/{SUBSCRIPTION}/providers/microsoft.insights/eventtypes/management/values"
START = 1_790_000_000 * SECOND
WRITE = "Microsoft.Insights/dataCollectionRules/write"


@pytest.fixture
def logged(world: World) -> World:
    world.activity += [
        Activity(START, WRITE, 201, "", "me", "app", "127.0.0.1", "one", RULE),
        Activity(START + SECOND, WRITE, 403, "AuthorizationFailed", "him", "app2", "::1", "two", RULE),
        Activity(START + 2 * SECOND, "Microsoft.X/y/delete", 200, "", "me", "app", "", "three", f"{GROUP}2"),
        Activity(
            START, WRITE, 201, "", "me", "app", "", "four", RULE.replace(SUBSCRIPTION, SUBSCRIPTION[::-1])
        ),
    ]
    return world


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ["three", "two", "one"]),
        ("resourceGroupName eq 'RG1'", ["two", "one"]),
        (f"eventTimestamp ge '{iso(START + SECOND)}'", ["three", "two"]),
        ("eventTimestamp ge 2020-01-01T00:00:00Z and eventTimestamp le 2020-01-02T00:00:00.1Z", []),
        (f"resourceUri eq '{RULE}' and status eq 'Failed'", ["two"]),
        ("resourceProvider eq 'Microsoft.X' and eventChannels eq 'Admin, Operation'", ["three"]),
        ("correlationId eq 'one'", ["one"]),
        ("caller eq 'him'", ["two"]),
    ],
)
def test_events_are_filtered_newest_first(logged: World, text: str, found: list[str]) -> None:
    query = f"?$filter={text.replace('+', '%2B')}" if text else ""
    listed = logged.get(PATH + query, version="2015-04-01")["value"]
    assert [item["correlationId"] for item in listed] == found


def test_an_event_says_who_did_what(logged: World) -> None:
    refused = logged.get(f"{PATH}?$filter=correlationId eq 'two'")["value"][0]
    assert refused["operationName"]["value"] == WRITE
    assert refused["status"]["value"] == "Failed"
    assert refused["subStatus"]["localizedValue"] == "AuthorizationFailed (HTTP Status Code: 403)"
    assert (refused["caller"], refused["claims"]) == ("him", {"appid": "app2"})
    assert refused["resourceGroupName"] == "rg1"
    assert logged.get(f"{PATH}?$filter=correlationId eq 'two'&$select=caller,level")["value"] == [
        {"caller": "him", "level": "Error"}
    ]


def test_odd_filters_and_callers_without_rights_are_refused(logged: World) -> None:
    for text in (
        "eventTimestamp ge 'yesterday'",
        "eventTimestamp ge '0001-01-01T00:00:00%2B14:00'",
        "colour eq 'red'",
    ):
        assert logged.call("GET", f"{PATH}?$filter={text}").status_code == 400
    token = logged.other_app(("Monitoring Metrics Publisher", GROUP))
    assert logged.call("GET", PATH, token=token).status_code == 403


def test_a_resources_events_are_its_own(logged: World) -> None:
    logged.put(GROUP, {"location": "eastus"})
    token = logged.other_app(("Reader", RULE))
    logged.activity.append(Activity(START, WRITE, 200, "", "me", "app", "", "near", f"{RULE}2"))
    path = f"{RULE}/providers/Microsoft.Insights/eventtypes/management/values"
    listed = logged.get(path, version="2015-04-01", token=token)["value"]
    assert [item["correlationId"] for item in listed] == ["two", "one"]
    assert logged.call("GET", PATH, token=token).status_code == 403
