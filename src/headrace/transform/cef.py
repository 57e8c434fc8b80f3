"""The keys of CEF extensions: what senders write, and the full names that people know them by.

Source: the CEF standard's table of extension keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_SHORT: Mapping[str, str] = MappingProxyType(
    {
        "deviceAction": "act",
        "applicationProtocol": "app",
        "baseEventCount": "cnt",
        "deviceEventCategory": "cat",
        "destinationHostName": "dhost",
        "destinationMacAddress": "dmac",
        "destinationNtDomain": "dntdom",
        "destinationProcessId": "dpid",
        "destinationUserPrivileges": "dpriv",
        "destinationProcessName": "dproc",
        "destinationPort": "dpt",
        "destinationAddress": "dst",
        "destinationUserId": "duid",
        "destinationUserName": "duser",
        "deviceAddress": "dvc",
        "deviceHostName": "dvchost",
        "deviceMacAddress": "dvcmac",
        "deviceProcessId": "dvcpid",
        "endTime": "end",
        "fileName": "fname",
        "fileSize": "fsize",
        "bytesIn": "in",
        "message": "msg",
        "bytesOut": "out",
        "eventOutcome": "outcome",
        "transportProtocol": "proto",
        "requestUrl": "request",
        "requestURL": "request",
        "deviceReceiptTime": "rt",
        "sourceHostName": "shost",
        "sourceMacAddress": "smac",
        "sourceNtDomain": "sntdom",
        "sourceProcessId": "spid",
        "sourceUserPrivileges": "spriv",
        "sourceProcessName": "sproc",
        "sourcePort": "spt",
        "sourceAddress": "src",
        "startTime": "start",
        "sourceUserId": "suid",
        "sourceUserName": "suser",
        "agentAddress": "agt",
        "agentHostName": "ahost",
        "agentId": "aid",
        "agentType": "at",
        "agentVersion": "av",
        **{f"deviceCustomString{n}": f"cs{n}" for n in range(1, 7)},
        **{f"deviceCustomString{n}Label": f"cs{n}Label" for n in range(1, 7)},
        **{f"deviceCustomNumber{n}": f"cn{n}" for n in range(1, 4)},
        **{f"deviceCustomNumber{n}Label": f"cn{n}Label" for n in range(1, 4)},
        **{f"deviceCustomFloatingPoint{n}": f"cfp{n}" for n in range(1, 5)},
        **{f"deviceCustomFloatingPoint{n}Label": f"cfp{n}Label" for n in range(1, 5)},
        **{f"deviceCustomIPv6Address{n}": f"c6a{n}" for n in range(1, 5)},
        **{f"deviceCustomIPv6Address{n}Label": f"c6a{n}Label" for n in range(1, 5)},
    }
)


def short_key(name: str) -> str:
    """The key that stands for a full name in a message; the name itself where it has none."""
    return _SHORT.get(name, name)
