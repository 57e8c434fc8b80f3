"""What is wrong with a rule before it may run: the same compiler as the live run says it.

Codes and messages are those of Azure's validation of data collection rules (`details` of `InvalidPayload`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from headrace.catalog import standard
from headrace.catalog.model import Catalog
from headrace.catalog.rules import DataFlow, Rule, RuleReading, Stream
from headrace.errors import Problem, ProblemError
from headrace.kql.api import KqlError, compile_transform
from headrace.kql.syntax.parser import parse
from headrace.kql.types import Schema
from headrace.settings import TransformSettings
from headrace.transform.compile import compile_flow, query_problem
from headrace.transform.model import find_table


def validate_rule(
    rule: Rule, catalog: Catalog, settings: TransformSettings | None = None
) -> tuple[Problem, ...]:
    """Every problem of the rule's data flows: streams, output tables, transforms and their output's types.

    Codes: `InvalidStream`, `InvalidOutputTable`, `InvalidTransformQuery`, `InvalidTransformOutput`; the
    target is `properties.dataFlows[i]`.
    """
    settings = settings or TransformSettings()
    return tuple(problem for flow in rule.flows for problem in _flow_problems(rule, flow, catalog, settings))


def unread_transforms(
    reading: RuleReading, document: Mapping[str, Any], settings: TransformSettings
) -> Iterator[Problem]:
    """Problems of the transforms of data flows that could not be read, so that their other faults hide none of these.

    A transform whose stream is declared is compiled for it, any other is only parsed.
    """
    properties = document.get("properties")
    flows = properties.get("dataFlows") if isinstance(properties, Mapping) else None
    read = {flow.place for flow in reading.rule.flows}
    for place, item in enumerate(flows if isinstance(flows, list) else ()):
        text = item.get("transformKql") if isinstance(item, Mapping) else None
        if place in read or not isinstance(text, str) or not text.strip():
            continue
        names = item.get("streams")
        name = names[0] if isinstance(names, list) and len(names) == 1 else None
        stream = reading.declared.get(name) if isinstance(name, str) else None
        target = f"properties.dataFlows[{place}]"
        yield from _transform_problems(text.strip(), stream, target, settings)


def _own_problems(rule: Rule, flow: DataFlow, settings: TransformSettings) -> Iterator[Problem]:
    """Problems of a flow's KQL, whatever its table."""
    stream = rule.streams.get(flow.streams[0])
    if stream is not None and not flow.stages:
        yield from _transform_problems(flow.transform.strip(), stream, flow.target, settings)


def _transform_problems(
    text: str, stream: Stream | None, target: str, settings: TransformSettings
) -> Iterator[Problem]:
    problems: Sequence[Problem] = ()
    if stream is None:
        problems = parse(text)[2]
    else:
        try:
            compile_transform(text, Schema(stream.columns), functions=settings.functions)
        except KqlError as error:
            problems = error.problems
    for problem in problems:
        yield query_problem(problem, target, text)


def _flow_problems(
    rule: Rule, flow: DataFlow, catalog: Catalog, settings: TransformSettings
) -> list[Problem]:
    problems = [
        _unknown_stream(stream, rule, flow.target) for stream in flow.streams if stream not in rule.streams
    ]
    if not flow.workspaces:
        problems.append(_unknown_table(flow))
    for workspace in flow.workspaces:
        table = find_table(catalog, workspace, flow.table)
        if table is None:
            # The fault of one field hides none of the other.
            problems += [_unknown_table(flow), *_own_problems(rule, flow, settings)]
        elif not problems:
            try:
                compile_flow(rule, flow, table, settings)
            except ProblemError as error:
                problems += error.problems
    return problems


def _unknown_stream(stream: str, rule: Rule, target: str) -> Problem:
    known = ",".join(f"Microsoft-{name}" for name in standard.names())
    declared = ", ".join(f"'{name}'" for name in rule.streams if name.startswith("Custom-"))
    hint = (
        f"Declare it in streamDeclarations; declared are {declared}."
        if declared
        else "Declare it in streamDeclarations."
    )
    message = f"'Streams' stream '{stream}' must be a custom stream or one of: {known}"
    return Problem("InvalidStream", message, target, hint=hint)


def _unknown_table(flow: DataFlow) -> Problem:
    destination = flow.destinations[0] if flow.destinations else ""
    message = (
        f"Table for output stream '{flow.output_stream}' is not available for destination '{destination}'."
    )
    hint = f"Create the table '{flow.table}' in the destination's workspace, or correct outputStream."
    return Problem("InvalidOutputTable", message, flow.target, hint=hint)
