"""One shape for everything that can be wrong: a `Problem` says what, where and how to mend it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """A place in a text: `start` and `length` in characters, `line` and `column` counted from 1."""

    start: int
    length: int
    line: int
    column: int

    def of(self, text: str) -> str:
        """What stands there in the text that it is a place of."""
        return text[self.start : self.start + self.length]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, in a user's words.

    `code` is the documented code of the surface that reports it, `target` the field or parameter it is
    about (`properties.dataFlows[0]`), `span` its place in a KQL text, `hint` the cure, `details` the causes.
    `inner` is the one closer cause, for surfaces that nest it.
    """

    code: str
    message: str
    target: str | None = None
    span: Span | None = None
    hint: str | None = None
    details: tuple[Problem, ...] = ()
    inner: Problem | None = None

    @property
    def told(self) -> str:
        """What is wrong, and the cure behind it."""
        return f"{self.message} {self.hint or ''}".rstrip()


class ProblemError(Exception):
    """Raised where one or more problems end the work; `problems` is never empty."""

    def __init__(self, problems: Problem | Sequence[Problem]) -> None:
        self.problems: tuple[Problem, ...] = (problems,) if isinstance(problems, Problem) else tuple(problems)
        if not self.problems:
            raise ValueError("a ProblemError needs a problem")
        super().__init__("; ".join(problem.message for problem in self.problems))
