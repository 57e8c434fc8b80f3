"""What is wrong with a rule before it may run: the same compiler as the live run says it.

Codes and messages are those of Azure's validation of data collection rules (`details` of `InvalidPayload`).
"""

from __future__ import annotations

from headrace.catalog import standard
from headrace.catalog.model import Catalog
from headrace.catalog.rules import DataFlow, Rule
from headrace.errors import Problem, ProblemError
from headrace.settings import TransformSettings
from headrace.transform.compile import compile_flow
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
            problems.append(_unknown_table(flow))
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
