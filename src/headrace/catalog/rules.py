"""A data collection rule, read from its ARM document into what the gateway, validation and pipeline need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headrace.catalog.ruledocument import RuleReader
from headrace.catalog.rulemodel import FLOW_STRIDE, DataFlow, Rule, RuleLimits, Stream
from headrace.errors import Problem, ProblemError

__all__ = [
    "FLOW_STRIDE",
    "DataFlow",
    "Rule",
    "RuleLimits",
    "RuleReading",
    "Stream",
    "parse_rule",
    "read_rule",
]


@dataclass(frozen=True, slots=True)
class RuleReading:
    """What could be read of a rule's document, and everything that is structurally wrong with it.

    With `problems`, `rule` is what was probably meant, and lacks the data flows that nothing could be made of;
    `declared` are all streams that the document declares.
    """

    rule: Rule
    declared: Mapping[str, Stream]
    problems: tuple[Problem, ...]


def read_rule(
    document: Mapping[str, Any],
    immutable_id: str,
    version: int,
    *,
    resource_id: str | None = None,
    limits: RuleLimits | None = None,
) -> RuleReading:
    """A rule's ARM document with its structural problems, each with Azure's code and target.

    `resource_id` is the rule's ARM id, by default the document's own. Only what stands in the document is
    looked at: whether output tables exist and transforms compile is for the validation that follows. Parts
    for agents (data sources, other destinations, flows of streams without known columns) are left alone.
    """
    reader = RuleReader(document, limits or RuleLimits())
    streams, flows = reader.read()
    own_id = document.get("id")
    identity = resource_id if resource_id is not None else own_id if isinstance(own_id, str) else ""
    rule = Rule(immutable_id, version, identity.lower(), reader.kind, streams, flows)
    return RuleReading(rule, reader.declared, tuple(reader.problems))


def parse_rule(
    document: Mapping[str, Any],
    immutable_id: str,
    version: int,
    *,
    resource_id: str | None = None,
    limits: RuleLimits | None = None,
) -> Rule:
    """A rule's ARM document as a `Rule`. See `read_rule`.

    Raises `ProblemError` with every structural problem.
    """
    reading = read_rule(document, immutable_id, version, resource_id=resource_id, limits=limits)
    if reading.problems:
        raise ProblemError(reading.problems)
    return reading.rule
