"""Diagnostic settings of rules: where error rows go."""

from __future__ import annotations

from typing import Any

from tests.unit.arm.conftest import ENDPOINT, GROUP, RULE, WORKSPACE, World, rule_body

from headrace.arm.views import CatalogLoader

SETTING = f"{RULE}/providers/Microsoft.Insights/diagnosticSettings/errors"
OTHER = WORKSPACE.replace("work1", "work2")


def destinations(world: World) -> Any:
    with world.database.read() as connection:
        return CatalogLoader()(connection, 1).error_destinations


def setting(*, enabled: bool = True, workspace: str | None = OTHER, **more: Any) -> dict[str, Any]:
    sink = {"workspaceId": workspace} if workspace else {}
    return {"properties": {**sink, "logs": [{"category": "LogErrors", "enabled": enabled}], **more}}


def start(world: World) -> None:
    world.basics()
    world.put(RULE, rule_body())
    world.put(OTHER, {"location": "eastus", "properties": {}})


def test_a_setting_sends_error_rows_elsewhere_or_nowhere(world: World) -> None:
    start(world)
    assert destinations(world) == {}
    made = world.call("PUT", SETTING, setting())
    assert made.status_code == 200, made.text
    assert made.json()["properties"]["logs"] == [{"category": "LogErrors", "enabled": True}]
    assert destinations(world) == {RULE.lower(): (OTHER.lower(),)}
    world.put(SETTING, setting(enabled=False))
    assert destinations(world) == {RULE.lower(): ()}
    world.put(SETTING, setting(logs=[{"categoryGroup": "allLogs", "enabled": True}]))
    assert destinations(world) == {RULE.lower(): (OTHER.lower(),)}
    world.put(SETTING, setting(logs=[], metrics=[{"category": "AllMetrics", "enabled": True}]))
    assert destinations(world) == {}
    world.put(SETTING, setting())
    assert [item["name"] for item in world.get(SETTING.rpartition("/")[0])["value"]] == ["errors"]
    world.call("DELETE", OTHER)
    assert destinations(world) == {}
    assert world.call("DELETE", SETTING).status_code == 200
    assert world.call("DELETE", SETTING).status_code == 204


def test_a_deleted_rule_takes_its_settings_along(world: World) -> None:
    start(world)
    world.put(SETTING, setting())
    world.call("DELETE", RULE)
    assert destinations(world) == {}
    world.put(RULE, rule_body())
    assert world.call("GET", SETTING).status_code == 404


def test_settings_are_checked(world: World) -> None:
    start(world)
    cases: list[tuple[dict[str, Any], int, str]] = [
        (setting(workspace=None), 400, "needs a destination"),
        (setting(workspace=f"{GROUP}/no"), 400, "not the id of a Log Analytics workspace"),
        (setting(workspace=f"{WORKSPACE}9"), 400, "that there is"),
        (setting(logs=[{"category": "Other", "enabled": True}]), 400, "There are: LogErrors"),
        (setting(logs=[{"category": "LogErrors"}]), 400, "'enabled', true or false"),
        (setting(logs={}), 200, ""),
        (setting(logs="all"), 400, "is a list"),
    ]
    for body, status, words in cases:
        answer = world.call("PUT", SETTING, body)
        assert (answer.status_code, words in answer.text) == (status, True), answer.text
    world.put(SETTING, setting())
    twice = world.call("PUT", f"{SETTING}2", setting())
    assert (twice.status_code, twice.json()["error"]["code"]) == (409, "Conflict")
    for number in range(4):
        world.put(f"{SETTING}x{number}", setting(logs=[]))
    assert world.call("PUT", f"{SETTING}y", setting(logs=[])).status_code == 409
    token = world.other_app(("Monitoring Contributor", RULE))
    refused = world.call("PUT", SETTING, setting(), token=token)
    assert refused.json()["error"]["code"] == "LinkedAuthorizationFailed"


def test_categories_are_told_by_the_resource(world: World) -> None:
    start(world)
    path = f"{RULE}/providers/microsoft.insights/diagnosticSettingsCategories"
    names = {item["name"] for item in world.get(path, version="2021-05-01-preview")["value"]}
    assert names == {"LogErrors", "LogTroubleshooting", "AllMetrics"}
    both = [{"category": name, "enabled": True} for name in ("LogErrors", "LogTroubleshooting")]
    assert world.put(SETTING, setting(logs=both))["properties"]["logs"] == both
    assert destinations(world) == {RULE.lower(): (OTHER.lower(),)}
    assert world.get(f"{path}/logerrors")["properties"]["categoryType"] == "Logs"
    world.put(ENDPOINT, {"location": "eastus"})
    refused = world.call("GET", f"{ENDPOINT}/providers/Microsoft.Insights/diagnosticSettings")
    assert refused.json()["error"]["code"] == "ResourceTypeNotSupported"
