"""A data collection rule, read from its ARM document into what the gateway, validation and pipeline need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.catalog.ruledocument import RuleReader
from headrace.catalog.rulemodel import FLOW_STRIDE, DataFlow, Rule, RuleLimits, Stream
from headrace.errors import ProblemError

__all__ = ["FLOW_STRIDE", "DataFlow", "Rule", "RuleLimits", "Stream", "parse_rule"]


def parse_rule(
    document: Mapping[str, Any],
    immutable_id: str,
    version: int,
    *,
    resource_id: str | None = None,
    limits: RuleLimits | None = None,
) -> Rule:
    """A rule's ARM document as a `Rule`.

    `resource_id` is the rule's ARM id, by default the document's own. Only what stands in the document is
    looked at: whether output tables exist and transforms compile is for the validation that follows. Parts
    for agents (data sources, other destinations, flows of streams without known columns) are left alone.

    Raises `ProblemError` with every structural problem, each with Azure's code and target.
    """
    reader = RuleReader(document, limits or RuleLimits())
    streams, flows = reader.read()
    if reader.problems:
        raise ProblemError(reader.problems)
    own_id = document.get("id")
    identity = resource_id if resource_id is not None else own_id if isinstance(own_id, str) else ""
    return Rule(immutable_id, version, identity.lower(), reader.kind, streams, flows)
