"""What every part of the binder shares: problems, column identities, budgets, the environment."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import NoReturn

from headrace.errors import Problem
from headrace.kql.bind.functions import FUNCTIONS
from headrace.kql.bind.functions.gaps import GAPS
from headrace.kql.bind.scope import Environment, FunctionBinding, NamedRows, QueryBinding, Relation
from headrace.kql.model import Database, QueryOptions, Render
from headrace.kql.plan.expressions import Apply, Column, Expr, Literal, Poison
from headrace.kql.profile import Profile
from headrace.kql.syntax import nodes as n
from headrace.kql.syntax.lexer import SourceText
from headrace.kql.types import KustoType

MAX_PROBLEMS = 50
MAX_BOUND = 60_000
"""How many expressions and operators a text may come to once its functions and names are put in."""
MAX_CALLS = 32
"""How deep functions and `let` names may use each other."""


class BindProblem(Exception):
    """Ends the construct at hand; the problem itself is already recorded."""


class TooLarge(BindProblem):
    """The text grew past a bound; nothing more is bound."""


POISON = Poison(KustoType.DYNAMIC)
"""What stands for a value that has a problem."""
AUTO_BIN = ("query_bin_auto_size", "query_bin_auto_at")
"""The `set` options that `bin_auto` reads."""


class BinderBase:
    """State of one compilation."""

    def __init__(
        self, source: SourceText, database: Database, options: QueryOptions, profile: Profile, now: int
    ) -> None:
        self.source = source
        self.database = database
        self.options = options
        self.profile = profile
        self.functions = FUNCTIONS
        self.now = now
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.environment = Environment()
        self.rows: Relation | None = None
        self.other_rows: Relation | None = None
        self.render: Render | None = None
        self.shared = 0
        self.named_rows: dict[QueryBinding | FunctionBinding, NamedRows] = {}
        self.saved_functions: dict[str, FunctionBinding] = {}
        """Those of the workspace that the text uses, by name."""
        self.received: Column | None = None
        self.poisoned: set[Column] = set()
        self.untyped: set[Column] = set()
        """Those that are null whatever their type: what they name may turn up when the query runs."""
        self.auto_bin: dict[str, Expr] = {}
        self._columns = 0
        self._unnamed = 0
        self._size = 0
        self._calls = 0
        self._reported: set[tuple[str, int, int, str]] = set()

    def new_column(self, name: str, type: KustoType, hidden: bool = False) -> Column:
        """A column with an identity of its own."""
        self._columns += 1
        return Column(self._columns, name, type, hidden)

    def default_name(self, taken: Container[str] = ()) -> str:
        """A name for a column that the text leaves unnamed; numbers run through the text, past names that are there."""
        while True:
            self._unnamed += 1
            name = f"Column{self._unnamed}"
            if name not in taken and self.environment.find(name) is None:
                return name

    def column_for(self, name: str, value: Expr) -> Column:
        """A column for a value; one that stands for a problem makes no further problems."""
        column = self.new_column(name, value.type)
        if isinstance(value, Poison):
            self.poisoned.add(column)
        elif value.argument.untyped:
            self.untyped.add(column)
        return column

    def charge(self, amount: int = 1) -> None:
        """Charge the budget that bounds how large a text can grow."""
        self._size += amount
        if self._size > MAX_BOUND:
            if not any(problem.code == "KQL0004" for problem in self.problems):
                message = "The query is too large once its functions and names are put in."
                self.problems.append(Problem("KQL0004", message, span=self.source.span(0, 1)))
            raise TooLarge

    def report(self, code: str, message: str, node: n.Node, hint: str | None = None) -> None:
        """Record a problem and go on."""
        key = (code, node.start, node.end, message)
        if key not in self._reported and len(self.problems) < MAX_PROBLEMS:
            self._reported.add(key)
            self.problems.append(
                Problem(code, message, span=self.source.span(node.start, node.end), hint=hint)
            )

    def fail(self, code: str, message: str, node: n.Node, hint: str | None = None) -> NoReturn:
        """Record a problem and give up the construct."""
        self.report(code, message, node, hint)
        raise BindProblem

    def warn(self, code: str, message: str, node: n.Node, hint: str | None = None) -> None:
        """Record what is legal but a trap."""
        key = (code, node.start, node.end, message)
        if key not in self._reported and len(self.warnings) < MAX_PROBLEMS:
            self._reported.add(key)
            self.warnings.append(
                Problem(code, message, span=self.source.span(node.start, node.end), hint=hint)
            )

    @contextmanager
    def row_scope(self, rows: Relation | None, other: Relation | None = None) -> Iterator[None]:
        """Let names mean the columns of `rows` (and `$right` those of `other`)."""
        before = self.rows, self.other_rows
        self.rows, self.other_rows = rows, other
        try:
            yield
        finally:
            self.rows, self.other_rows = before

    @contextmanager
    def environment_scope(self, environment: Environment, *, body: bool = False) -> Iterator[None]:
        """Let names mean what they do in `environment`; bounds how deep names use each other.

        `body`: it is a function's, which numbers its unnamed columns for itself.
        """
        before, unnamed = self.environment, self._unnamed
        self.environment = environment
        if body:
            self._unnamed = 0
        self._calls += 1
        try:
            if self._calls > MAX_CALLS:
                message = f"Functions and names use each other deeper than {MAX_CALLS} levels."
                self.problems.append(Problem("KQL0004", message, span=self.source.span(0, 1)))
                raise TooLarge
            yield
        finally:
            self.environment = before
            if body:
                self._unnamed = unnamed
            self._calls -= 1

    def did_you_mean(self, name: str, known: Iterable[str]) -> str | None:
        """A hint with the nearest known name."""
        names = list(dict.fromkeys(known))[:5000]
        for candidate in names:
            if candidate.lower() == name.lower():
                return f"Did you mean `{candidate}`? Names are case-sensitive."
        close = get_close_matches(name, names, 1, 0.7)
        return f"Did you mean `{close[0]}`?" if close else None

    def no_function(self, node: n.Call, known: Iterable[str]) -> None:
        """Report a call of what is no function, or of one that is left out on purpose."""
        at = n.Name(node.start, node.name_end, node.name)
        reason = GAPS.get(node.name)
        if reason is not None:
            self.report("KQL0203", f"`{node.name}` is refused: {reason}.", at)
            return
        hint = self.did_you_mean(node.name, known)
        if hint is None and node.name.startswith("_"):
            hint = "A function of a solution is there once it is saved in the workspace."
        self.report("KQL0107", f"There is no function `{node.name}`.", at, hint)

    def call(self, name: str, *arguments: Expr) -> Apply:
        """A call that the compiler itself makes of a declared function."""
        function = self.functions.find(name)
        if function is None:
            raise LookupError(name)
        resolution = function.resolve([argument.argument for argument in arguments])
        return Apply(resolution.result, function, arguments, resolution)


def text_literal(value: str) -> Literal:
    """A string constant."""
    return Literal(KustoType.STRING, value)


def long_literal(value: int) -> Literal:
    """A long constant."""
    return Literal(KustoType.LONG, value)
