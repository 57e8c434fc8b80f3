"""Resource ids in any letter case and form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.arm.ids import (
    GROUP_TYPE,
    RULE_TYPE,
    SUBSCRIPTION_TYPE,
    TABLE_TYPE,
    is_arm_path,
    parse_id,
    parse_path,
    split_path,
)
from headrace.wire.problems import HttpError

SUB = "/subscriptions/aaaaaaaa-0000-0000-0000-000000000001"


@pytest.mark.parametrize(
    ("path", "kind", "identity"),
    [
        ("/subscriptions", SUBSCRIPTION_TYPE, "/subscriptions"),
        (SUB.upper(), SUBSCRIPTION_TYPE, SUB),
        (f"{SUB}/resourcegroups", GROUP_TYPE, f"{SUB}/resourceGroups"),
        (f"{SUB}/RESOURCEGROUPS/My-Rg", GROUP_TYPE, f"{SUB}/resourceGroups/My-Rg"),
        (
            f"{SUB}/resourcegroups/g//providers/microsoft.insights//DATACOLLECTIONRULES/Dcr/",
            RULE_TYPE,
            f"{SUB}/resourceGroups/g/providers/Microsoft.Insights/dataCollectionRules/Dcr",
        ),
        (
            f"{SUB}/resourceGroups/g/providers/microsoft.operationalinsights/WORKSPACES/W/TABLES/T_CL",
            TABLE_TYPE,
            f"{SUB}/resourceGroups/g/providers/Microsoft.OperationalInsights/workspaces/W/tables/T_CL",
        ),
        (
            f"{SUB}/resourceGroups/g/providers/microsoft.operationalinsights/WORKSPACES/W/TABLES/T_CL/Migrate",
            f"{TABLE_TYPE}/Migrate",
            f"{SUB}/resourceGroups/g/providers/Microsoft.OperationalInsights/workspaces/W/tables/T_CL/Migrate",
        ),
        (f"{SUB}/providers", "Microsoft.Resources/providers", f"{SUB}/providers"),
        (
            f"{SUB}/providers/microsoft.insights",
            "Microsoft.Resources/providers",
            f"{SUB}/providers/Microsoft.Insights",
        ),
        (
            f"{SUB}/providers/microsoft.insights/Register",
            "Microsoft.Resources/providers/register",
            f"{SUB}/providers/Microsoft.Insights",
        ),
        (
            f"{SUB}/providers/No.Such/a/b/c/d",
            "No.Such/a/c",
            f"{SUB}/providers/No.Such/a/b/c/d",
        ),
    ],
)
def test_ids_come_out_in_azures_casing(path: str, kind: str, identity: str) -> None:
    target = parse_path(path)
    assert (target.type, target.id) == (kind, identity)


def test_an_extension_stands_in_a_scope() -> None:
    rule = f"{SUB}/resourceGroups/g/providers/microsoft.insights/datacollectionrules/d"
    target = parse_path(f"{rule}/providers/microsoft.authorization/roleassignments/x")
    assert target.type == "Microsoft.Authorization/roleAssignments"
    assert target.scope == f"{SUB}/resourceGroups/g/providers/Microsoft.Insights/dataCollectionRules/d"
    assert target.parent_id == target.scope
    assert (target.subscription, target.group) == (SUB.rpartition("/")[2], "g")
    root = parse_path("/providers/Microsoft.Authorization/roleDefinitions")
    assert (root.scope, root.id) == ("", "/providers/Microsoft.Authorization/roleDefinitions")


def test_only_table_names_keep_their_case_in_keys() -> None:
    base = f"{SUB}/resourceGroups/G/providers/Microsoft.OperationalInsights/workspaces/W"
    assert parse_path(base).key == base.lower()
    assert parse_path(f"{base}/tables/T_CL").key == f"{base.lower()}/tables/T_CL"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        f"{SUB}/providers/Microsoft.Resources/providers/Microsoft.Insights",
        f"{SUB}/resourceGroups/g/providers/Microsoft.Insights",
        f"{SUB}/providers/x/y/providers/z/t/n",
        f"{SUB}/a/b",
        f"{SUB}/resourceGroups/g/providers/n/t/x/providers",
        "/tenants/x",
        "/else",
        "/providers/Microsoft.Resources/subscriptions/a",
        f"{SUB}/providers/Microsoft.Resources/subscriptions/b/resourceGroups/c",
        f"{SUB}/resourceGroups/g/providers/Microsoft.Resources/Resources",
        "/providers/microsoft.resources/tenants",
    ],
)
def test_paths_of_no_form_are_404(path: str) -> None:
    with pytest.raises(HttpError) as raised:
        parse_path(path)
    assert raised.value.status == 404


@pytest.mark.parametrize(
    "segment", ["a%2Fb", "a%00", "%FF", "..", "%2e%2e", "a%5Cb", "x" * 300, "a%23", "%3F", "a%0Ab"]
)
def test_segments_that_are_no_names_are_400(segment: str) -> None:
    with pytest.raises(HttpError) as raised:
        parse_path(f"{SUB}/resourceGroups/{segment}")
    assert raised.value.status == 400


@given(st.binary(max_size=80))
def test_any_path_is_read_or_refused(raw: bytes) -> None:
    try:
        segments = split_path(b"/subscriptions/" + raw)
    except HttpError as error:
        assert error.status == 400
        return
    assert all(segment and "/" not in segment for segment in segments)


WORDS = st.sampled_from(
    ["subscriptions", "resourceGroups", "providers", "Microsoft.Insights", "dataCollectionRules", "a", "tables",
     "Microsoft.OperationalInsights", "workspaces", "tenants", "Microsoft.Resources", "deployments", "tags"]
)  # fmt: skip


def test_a_subscription_holds_no_subscriptions() -> None:
    with pytest.raises(HttpError) as raised:
        parse_path("/subscriptions/a/subscriptions")
    assert raised.value.status == 404


@given(st.lists(WORDS, max_size=12), st.data())
def test_an_id_read_again_is_the_same_in_every_case(words: list[str], data: st.DataObject) -> None:
    path = "/" + "/".join(words)
    try:
        target = parse_path(path)
    except HttpError as error:
        assert error.status == 404
        assert parse_id(path) is None
        return
    assert parse_path(target.id) == target
    assert (target.parent_id or "/").startswith("/") and target.short
    swapped = "".join(data.draw(st.sampled_from([c.lower(), c.upper()])) for c in path)
    assert parse_path(swapped).id.lower() == target.id.lower()
    assert is_arm_path(path)
