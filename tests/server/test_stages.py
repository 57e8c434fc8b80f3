"""A rule with a multi-stage transformation over the wire: taken, shown as sent, run, refused with the place."""

from __future__ import annotations

from typing import Any

import pytest

from tests.server.kit import Api, Rule, eventually

pytestmark = [pytest.mark.server]

VERSION = "2025-05-11"


def body(api: Api, *processors: dict[str, Any]) -> dict[str, Any]:
    header = {"processor": "header.CustomStream", "configuration": {"streamId": "Custom-Staged"}}
    names = ("Host", "Body")
    return {
        "location": api.env["HEADRACE_LOCATION"],
        "properties": {
            "streamDeclarations": {
                "Custom-Staged": {"columns": [{"name": name, "type": "string"} for name in names]}
            },
            "destinations": {"logAnalytics": [{"workspaceResourceId": api.workspace, "name": "there"}]},
            "dataFlows": [
                {
                    "streams": ["Custom-Staged"],
                    "destinations": ["there"],
                    "outputStream": "Custom-Staged_CL",
                    "transform": "orders",
                }
            ],
            "transformations": [
                {"name": "orders", "headerProcessor": header, "processors": list(processors)}
            ],
        },
    }


FILTER = {
    "processor": "filter.Basic",
    "configuration": {"any": [{"all": [{"columnName": "Host", "operator": "!=", "value": "noise"}]}]},
}
PARSE = {
    "processor": "parse.JsonPath",
    "configuration": {
        "columnName": "Body",
        "all": [{"path": "$.n", "nameAs": "Number", "typeAs": "long"}],
    },
}
RENAME = {"processor": "map.Rename", "configuration": {"all": [{"columnName": "Host", "nameAs": "Computer"}]}}
KQL = {
    "processor": "transform.KQL",
    "configuration": {"expression": "source | extend TimeGenerated = now() | project-away Body"},
}


def test_rows_go_through_the_stages(api: Api) -> None:
    api.make_table("Staged_CL", {"Computer": "string", "Number": "long"})
    path = api.rule_id("staged")
    sent = body(api, FILTER, PARSE, RENAME, KQL)
    made = api.put(path, sent, VERSION)
    assert made["properties"]["transformations"] == sent["properties"]["transformations"]
    api.grant(path)
    rule = Rule(api, path, made["properties"]["immutableId"], "Custom-Staged")
    rule.send([{"Host": "h1", "Body": '{"n": 5}'}, {"Host": "noise", "Body": '{"n": 6}'}])
    found = eventually(lambda: api.rows("Staged_CL | project Computer, Number"), lambda rows: rows != [])
    assert found == [["h1", 5]]


def test_a_fault_is_told_with_its_processor(api: Api) -> None:
    api.make_table("Staged_CL", {"Computer": "string", "Number": "long"})
    answer = api.arm("PUT", api.rule_id("staged-wrong"), body(api, RENAME, FILTER, KQL), version=VERSION)
    assert answer.status_code == 400
    (detail,) = answer.json()["error"]["details"]
    assert detail["code"] == "InvalidTransform"
    assert detail["target"] == "properties.transformations[0].processors[1]"
    assert "filter.Basic of transformation 'orders'" in detail["message"]
    assert "`Host`" in detail["message"]
