"""A deployment: what is to be done, and what came of it."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from headrace.arm.templates.document import Template
from headrace.arm.templates.evaluate import Evaluator, Place, Scope
from headrace.arm.templates.plan import Plan, Planned
from headrace.errors import Problem

Mode = Literal["Incremental", "Complete"]
NAME = re.compile(r"[\w().-]{1,64}", re.ASCII)
NAME_RULE = "A deployment's name has 1 to 64 letters, digits, '_', '-', '.', '(' and ')'."
MAX_LEVELS = 5
"""How deep deployments may be nested: ARM's bound."""


@dataclass(frozen=True, slots=True)
class Work:
    """A deployment to carry out. `id` is the deployment's own, `level` counts from 1."""

    id: str
    name: str
    place: Place
    template: Mapping[str, Any]
    parameters: Any
    mode: Mode = "Incremental"
    outer: Scope | None = None
    level: int = 1
    location: str = ""
    tags: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A deployment whose template was read, with its resources in order."""

    work: Work
    template: Template
    scope: Scope
    plan: Plan
    run: Evaluator


@dataclass(slots=True)
class Operation:
    """What became of one resource. `began` and `took` are seconds of a steady clock."""

    item: Planned
    status: int = 0
    problem: Problem | None = None
    began: float = field(default_factory=time.monotonic)
    took: float = 0.0


@dataclass(slots=True)
class Outcome:
    """What came of a deployment; `problem` is None when all of it is there.

    `kept` are the lower-case ids of what its template, and those of the deployments nested in it, want to be there.
    """

    prepared: Prepared
    kept: set[str]
    operations: list[Operation] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    problem: Problem | None = None
    took: float = 0.0

    @property
    def state(self) -> str:
        """ARM's provisioningState."""
        return "Succeeded" if self.problem is None else "Failed"
