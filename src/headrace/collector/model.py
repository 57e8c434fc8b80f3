"""What a post to the Data Collector API is, and the name that its records carry in the journal."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import Final

from headrace.journal.model import Entry

API_VERSION: Final = "2016-04-01"
RESERVED_PROPERTIES: Final = ("tenant", "TimeGenerated", "RawData")
"""Names that no property may have. Source: Azure Monitor, 'HTTP Data Collector API', reserved properties."""

MAX_LOG_TYPE: Final = 100
"""With `_CL` behind it, it is the longest name that a table may have."""

_PREFIX: Final = "collector"
_LOG_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9_]*", re.ASCII)
_TIME_FIELD = re.compile(r"[A-Za-z0-9_]{1,128}", re.ASCII)
_RESOURCE_ID = re.compile(r"/[A-Za-z0-9_.()/\-]{1,2000}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Source:
    """Where records come from and how they are read: all that a post says beside its body.

    `workspace` is a customerId in lower case; `time_field` names the property that gives `TimeGenerated`, and
    `resource_id` fills `_ResourceId`; both are empty when not given.
    """

    workspace: str
    log_type: str
    time_field: str = ""
    resource_id: str = ""

    @property
    def table(self) -> str:
        """The table that the records go to."""
        return f"{self.log_type}_CL"

    @property
    def stream(self) -> str:
        """The stream that metrics and receipts name."""
        return f"Custom-{self.table}"

    @property
    def rule(self) -> str:
        """What stands for a rule's immutable id in the journal: one for each table, whatever its senders invent."""
        return f"{_PREFIX}:{self.workspace}:{self.log_type}"

    @property
    def version(self) -> int:
        """What stands for the rule's version: records that are read alike have the same."""
        return zlib.crc32(self.time_field.encode()) & 0x7FFFFFFF

    @classmethod
    def of_entry(cls, entry: Entry) -> Source:
        """The source of a collected entry and of all that may be in a batch with it.

        Entries once had time field and resource id in the rule; now each row has its entry's resource id. Raises
        `ValueError` when the entry's rule is no source's.
        """
        prefix, workspace, log_type, *rest = entry.rule.split(":", 4)
        if prefix != _PREFIX:
            raise ValueError(entry.rule)
        return cls(workspace, log_type, *(rest or (entry.time_field,)))


def is_collected(rule: str) -> bool:
    """Whether a journal record's rule is a `Source`'s and not a data collection rule's."""
    return rule.startswith(f"{_PREFIX}:")


def is_log_type(text: str) -> bool:
    """Whether a `Log-Type` can be a table's name."""
    return len(text) <= MAX_LOG_TYPE and _LOG_TYPE.fullmatch(text) is not None


def is_time_field(text: str) -> bool:
    """Whether a `time-generated-field` can be a property's name."""
    return _TIME_FIELD.fullmatch(text) is not None


def is_resource_id(text: str) -> bool:
    """Whether an `x-ms-AzureResourceId` looks like a resource id."""
    return _RESOURCE_ID.fullmatch(text) is not None
