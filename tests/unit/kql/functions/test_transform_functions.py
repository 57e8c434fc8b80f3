"""`parse_cef_dictionary` and `geo_location`, which exist in transforms."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import maxminddb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.kql.functions.calling import Caller, calling

from headrace.kql.sql.udf import library

MESSAGE = (
    r"CEF:0|Security|threat\|manager|1.0|100|worm stopped|10|src=10.0.0.1 dst=2.1.2.2 "
    r"msg=a \= b, c\nd request=http://x/?a=1 spt=1232"
)


def test_a_cef_message_is_taken_apart(call: Caller) -> None:
    found = json.loads(call("parse_cef_dictionary", "Sep 19 host " + MESSAGE))
    assert found == {
        "Version": "0",
        "DeviceVendor": "Security",
        "DeviceProduct": "threat|manager",
        "DeviceVersion": "1.0",
        "DeviceEventClassID": "100",
        "Name": "worm stopped",
        "Severity": "10",
        "Extension": {
            "src": "10.0.0.1",
            "dst": "2.1.2.2",
            "msg": "a = b, c\nd",
            "request": "http://x/?a=1",
            "spt": "1232",
        },
    }


@pytest.mark.parametrize("text", ["", "no message", "CEF:0|only|three"])
def test_what_is_no_cef_is_null(call: Caller, text: str) -> None:
    assert call("parse_cef_dictionary", text) is None


def test_without_a_database_locations_have_null_members(call: Caller) -> None:
    found = json.loads(call("geo_location", "1.2.3.4"))
    assert list(found) == ["Country", "Region", "State", "City", "Latitude", "Longitude"]
    assert set(found.values()) == {None}


def _encoded(value: Any) -> bytes:
    """A value in the data format of MaxMind DB files."""
    if isinstance(value, str):
        content = value.encode()
        size = len(content)
        return (bytes([0x40 | size]) if size < 29 else bytes([0x40 | 29, size - 29])) + content
    if isinstance(value, dict):
        return bytes([0xE0 | len(value)]) + b"".join(_encoded(k) + _encoded(v) for k, v in value.items())
    if isinstance(value, list):
        return bytes([len(value), 4]) + b"".join(_encoded(item) for item in value)
    if isinstance(value, float):
        return bytes([0x68]) + struct.pack(">d", value)
    kind, number = value
    return {"u16": b"\xa2", "u32": b"\xc4", "u64": b"\x08\x02"}[kind] + int(number).to_bytes(
        {"u16": 2, "u32": 4, "u64": 8}[kind], "big"
    )


def _database(path: Path, record: Any) -> Path:
    """A database that knows one record, for the lower half of IPv4."""
    nodes = 1
    tree = (nodes + 16).to_bytes(3, "big") + nodes.to_bytes(3, "big")
    metadata = {
        "node_count": ("u32", nodes),
        "record_size": ("u16", 24),
        "ip_version": ("u16", 4),
        "database_type": "Test-City",
        "languages": ["en"],
        "binary_format_major_version": ("u16", 2),
        "binary_format_minor_version": ("u16", 0),
        "build_epoch": ("u64", 1),
        "description": {"en": "made for a test"},
    }
    path.write_bytes(tree + bytes(16) + _encoded(record) + b"\xab\xcd\xefMaxMind.com" + _encoded(metadata))
    return path


def test_locations_come_from_the_database(tmp_path: Path) -> None:
    record = {
        "continent": {"names": {"en": "Europe"}},
        "country": {"names": {"en": "France"}},
        "subdivisions": [{"names": {"en": "Ile-de-France"}}],
        "city": {"names": {"en": "Paris"}},
        "location": {"latitude": 48.85, "longitude": 2.35},
    }
    with (
        maxminddb.open_database(str(_database(tmp_path / "geo.mmdb", record))) as reader,
        calling(reader) as call,
    ):
        found = json.loads(call("geo_location", "1.2.3.4"))
        assert found == {
            "Country": "France",
            "Region": "Europe",
            "State": "Ile-de-France",
            "City": "Paris",
            "Latitude": 48.85,
            "Longitude": 2.35,
        }
        assert json.loads(call("geo_info_from_ip_address", "1.2.3.4"))["city"] == "Paris"
        assert set(json.loads(call("geo_location", "200.1.1.1")).values()) == {None}
        assert set(json.loads(call("geo_location", "no address")).values()) == {None}


FUNCTIONS = library()
ANY_TEXT = st.one_of(
    st.none(),
    st.text(max_size=20),
    st.sampled_from(
        ["[1,2]", "{}", '"a"', "1", "-1", "1e400", "[[[", "2020-01-01", "1.2.3.4/33", "NaN", "true"]
    ),
)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
@settings(max_examples=30, deadline=None)
@given(values=st.lists(ANY_TEXT, min_size=7, max_size=7))
def test_python_functions_never_raise(name: str, values: list[str | None]) -> None:
    for count in range(8):
        found = FUNCTIONS[name](*values[:count])
        assert found is None or isinstance(found, str)
