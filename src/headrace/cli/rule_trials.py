"""Rules of files, checked and run on rows without a server."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.cli.documents import read_table
from headrace.clock import SystemClock, from_iso
from headrace.errors import Problem, ProblemError

if TYPE_CHECKING:
    from headrace.catalog.rules import Rule
    from headrace.transform.trial import FlowTrial, OpenTrial

_ANY_WORKSPACE = (
    "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/any/providers/"
    "Microsoft.OperationalInsights/workspaces/any"
)
"""Where tables are does not matter to a rule that is only tried."""


@dataclass(frozen=True, slots=True)
class TriedRule:
    """A rule with everything that is wrong with it; with `problems` nothing is to be run."""

    rule: Rule
    problems: tuple[Problem, ...]
    trial: OpenTrial

    def on(self, stream: str, rows: Sequence[bytes], received: int) -> list[FlowTrial]:
        """What becomes of the JSON texts of a stream's rows in each data flow that takes the stream."""
        return [one for one in self.trial.on({stream: rows}, received) if stream in one.flow.streams]

    def stream(self, name: str | None) -> str:
        """The stream of that name, or the rule's only one. Raises `ProblemError`."""
        inputs = list(dict.fromkeys(stream for flow in self.rule.flows for stream in flow.streams))
        if name is not None and name not in inputs:
            hint = f"There are: {', '.join(inputs)}."
            raise ProblemError(Problem("NoSuchStream", f"No data flow takes the stream '{name}'.", hint=hint))
        if name is None and len(inputs) != 1:
            hint = f"Choose one: {', '.join(inputs)}."
            raise ProblemError(Problem("StreamMissing", f"The rule has {len(inputs)} streams.", hint=hint))
        return name or inputs[0]


@contextlib.contextmanager
def tried_rule(document: Mapping[str, Any], tables: Sequence[Path]) -> Iterator[TriedRule]:
    """A rule's document read and compiled with all its faults told, the structural ones and the transforms' alike.

    `tables` are files of output tables' JSON. Raises `ProblemError` when one of them is none.
    """
    from headrace.catalog.rules import read_rule
    from headrace.settings import load_settings
    from headrace.transform.trial import Trial
    from headrace.transform.validate import unread_transforms

    whole = with_destinations(document)
    reading = read_rule(whole, "dcr-" + "0" * 32, 1)
    settings = load_settings({}, {}).settings.transform
    trial = Trial(dict(read_table(path) for path in tables), settings)
    with trial.opened(reading.rule) as opened:
        unread = unread_transforms(reading, whole, settings)
        problems = (*reading.problems, *opened.problems, *unread)
        yield TriedRule(reading.rule, problems, opened)


def with_destinations(document: Mapping[str, Any], workspace_id: str = _ANY_WORKSPACE) -> dict[str, Any]:
    """The rule with all its flows going to one workspace, if it has no destinations of its own."""
    properties = dict(document["properties"])
    if not properties.get("destinations"):
        flows = properties["dataFlows"] if isinstance(properties["dataFlows"], list) else []
        listed = [flow.get("destinations") for flow in flows if isinstance(flow, dict)]
        named = {str(one) for names in listed if isinstance(names, list) for one in names}
        properties["destinations"] = {
            "logAnalytics": [{"name": name, "workspaceResourceId": workspace_id} for name in sorted(named)]
        }
    return {**document, "properties": properties}


def microseconds(moment: str | None) -> int:
    """A moment in UTC microseconds; now where none is given. Raises `ProblemError`."""
    if moment is None:
        return SystemClock().now()
    try:
        return from_iso(moment)
    except ValueError:
        hint = "Write it like 2026-01-31T12:00:00Z."
        raise ProblemError(Problem("InvalidTime", f"'{moment}' is no time.", hint=hint)) from None
