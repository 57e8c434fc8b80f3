"""What the compiler knows about every function and operator: one declaration each.

A declaration feeds the binder (types, arity), the lowering (the types that arguments are brought to), the
documentation, the support matrix and the editor's hints. Operators are functions too, under names that no
text can spell (`__has`); `OPERATORS` maps the syntax to them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType

from headrace.kql.types import KustoType

Value = str | int | float | bool | Decimal | None
"""A constant: datetime and timespan as int ticks, guid as its lower-case text, dynamic as JSON text,
the null of any type (and of none but string) as None."""


@dataclass(frozen=True, slots=True)
class Constant:
    """A value known when the text is compiled."""

    value: Value


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument as the binder sees it: its type, and its value where that is known."""

    type: KustoType
    constant: Constant | None = None

    @property
    def untyped(self) -> bool:
        """Whether it is the dynamic null: that stands for a value of any type."""
        return self.type is KustoType.DYNAMIC and self.constant is not None and self.constant.value is None


class Kind(StrEnum):
    """Where a function may stand: anywhere, in `summarize`, or after `serialize`."""

    SCALAR = "scalar"
    AGGREGATE = "aggregate"
    WINDOW = "window"


class Surface(StrEnum):
    """Whether a transform may use a function: on Azure's list, beyond the list, or not at all."""

    DOCUMENTED = "documented"
    EXTENDED = "extended"
    NEVER = "never"


class Naming(StrEnum):
    """How a result column is named when the text gives no name.

    `COLUMN`: by its place (`Column1`, `print_0`). `FIRST`: as the first argument is. `PREFIX`: the prefix,
    `_` and the first argument's name (just `prefix_` if it has none). `PAIR`: the same with the first two
    arguments' names. `EACH`: one
    column an argument, as the argument is named. `PERCENTILE`: prefix, argument and each percentage.
    `SORTED`: each argument's name and `_sorted`.
    """

    COLUMN = "column"
    FIRST = "first"
    PREFIX = "prefix"
    PAIR = "pair"
    EACH = "each"
    PERCENTILE = "percentile"
    SORTED = "sorted"


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter: the types it takes as they are, the first of them preferred when a value is converted.

    `variadic` (the last parameter only) takes any number from `at_least` on. `constant`: the value must be
    known when the text is compiled. `loose`: any other type is converted to the first of `types` as well.
    """

    name: str
    types: tuple[KustoType, ...]
    optional: bool = False
    variadic: bool = False
    constant: bool = False
    at_least: int = 0
    loose: bool = False


ResultRule = Callable[[Sequence[Argument]], KustoType]


@dataclass(frozen=True, slots=True)
class Signature:
    """One way to call a function: its parameters, and the result type (or a rule over the arguments)."""

    params: tuple[Param, ...]
    result: KustoType | ResultRule

    @property
    def least(self) -> int:
        """The fewest arguments."""
        return sum(param.at_least if param.variadic else 1 for param in self.params if not param.optional)

    @property
    def most(self) -> int | None:
        """The most arguments, None if there is no end."""
        return None if self.params and self.params[-1].variadic else len(self.params)

    def param(self, index: int) -> Param:
        """The parameter that takes the argument of that index."""
        return self.params[min(index, len(self.params) - 1)]


@dataclass(frozen=True, slots=True)
class Resolution:
    """How a call binds: the type each argument is brought to (by the lowering), and the result types.

    `results` has one type, save for an aggregate that makes several columns (`arg_max`, `percentiles`).
    """

    arguments: tuple[KustoType, ...]
    results: tuple[KustoType, ...]

    @property
    def result(self) -> KustoType:
        """The type of the only (or first) result."""
        return self.results[0]


class Mismatch(Exception):
    """A call that no signature takes; `argument` is the index of the one at fault, None for the call itself.

    The message is in a user's words, without the function's name; `cure` is what to do about it, where that is plain.
    """

    def __init__(self, message: str, argument: int | None = None, cure: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.argument = argument
        self.cure = cure


Resolver = Callable[[Sequence[Argument]], Resolution]
Check = Callable[[Sequence[Argument]], None]
"""Looks at what constant arguments hold. Raises `Mismatch`."""


@dataclass(frozen=True, slots=True)
class Function:
    """A function or operator of KQL.

    `volatile`: two calls may differ (`rand`, `new_guid`), so it is never shared nor folded. `query`: allowed in
    queries. `context`: the answer depends on the statement (`now`, `ingestion_time`), not on arguments alone.
    `ordered`: an aggregate that depends on the order of rows. `columns`: a scalar function whose value is a packed
    array of several values (`series_fit_line`): the suffix and the type of each column it makes alone in a
    projection. `rewritten`: the binder says a call in other functions' words, so it is never lowered. `check`: what
    constant arguments must hold; a `resolver` looks at them itself, so both together are a `ValueError`.
    """

    name: str
    kind: Kind
    signatures: tuple[Signature, ...]
    doc: str
    family: str = ""
    aliases: tuple[str, ...] = ()
    transform: Surface = Surface.EXTENDED
    query: bool = True
    naming: Naming = Naming.COLUMN
    prefix: str = ""
    volatile: bool = False
    context: bool = False
    ordered: bool = False
    resolver: Resolver | None = field(default=None, compare=False)
    columns: tuple[tuple[str, KustoType], ...] = ()
    rewritten: bool = False
    check: Check | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.resolver is not None and self.check is not None:
            raise ValueError(f"{self.name}: a function with a resolver checks its constants there")

    def resolve(self, arguments: Sequence[Argument]) -> Resolution:
        """Bind a call. Raises `Mismatch`."""
        if self.resolver is not None:
            self._check_count(len(arguments))
            return self.resolver(arguments)
        resolution = self._match(arguments)
        if self.check is not None:
            self.check(arguments)
        return resolution

    def auto_names(
        self, names: Sequence[str | None], constants: Sequence[Constant | None]
    ) -> tuple[str, ...]:
        """The names of the result's columns when the text gives none, "" where the place decides.

        `names` are the arguments' own names (a column's, a path's `a_b`), None where they have none.
        """
        first = (names[0] if names else None) or ""
        prefix = self.prefix or self.name
        if self.naming is Naming.FIRST:
            return (first,)
        if self.naming is Naming.PREFIX:
            return (f"{prefix}_{first}",)
        if self.naming is Naming.PAIR:
            return ("_".join([prefix, first, *(name for name in names[1:2] if name)]),)
        if self.naming is Naming.EACH:
            return _each_name(self.prefix, names)
        if self.naming is Naming.SORTED:
            return tuple(f"{name or ''}_sorted" for name in names)
        if self.naming is Naming.PERCENTILE:
            return _percentile_names(prefix, first, constants)
        return ("",)

    def _check_count(self, count: int) -> None:
        least = min(signature.least for signature in self.signatures)
        ends = [signature.most for signature in self.signatures]
        most = None if None in ends else max(end for end in ends if end is not None)
        if count < least or (most is not None and count > most):
            raise Mismatch(f"takes {_count_text(least, most)}, not {count}")

    def _match(self, arguments: Sequence[Argument]) -> Resolution:
        self._check_count(len(arguments))
        best: tuple[int, tuple[KustoType, ...], Signature] | None = None
        failure: Mismatch | None = None
        for signature in self.signatures:
            if len(arguments) < signature.least or (
                signature.most is not None and len(arguments) > signature.most
            ):
                continue
            try:
                cost, types = _fit(signature, arguments)
            except Mismatch as mismatch:
                if failure is None or (mismatch.argument or 0) > (failure.argument or 0):
                    failure = mismatch
                continue
            if best is None or cost < best[0]:
                best = cost, types, signature
        if best is None:
            raise failure or Mismatch(f"cannot be called with {len(arguments)} arguments")
        _, types, signature = best
        if not isinstance(signature.result, KustoType):
            bound = [
                Argument(kind, argument.constant) for kind, argument in zip(types, arguments, strict=True)
            ]
            return Resolution(types, (signature.result(bound),))
        return Resolution(types, (signature.result,))


_WIDENING: Mapping[KustoType, tuple[KustoType, ...]] = MappingProxyType(
    {
        KustoType.INT: (KustoType.LONG, KustoType.REAL, KustoType.DECIMAL),
        KustoType.LONG: (KustoType.REAL, KustoType.DECIMAL),
        KustoType.REAL: (KustoType.DECIMAL,),
        KustoType.DECIMAL: (KustoType.REAL,),
        KustoType.BOOL: (),
    }
)


def conversion(source: KustoType, accepted: Sequence[KustoType]) -> tuple[int, KustoType] | None:
    """The cost and the target when a `source` value is given where `accepted` types are taken; None if never.

    Numbers widen; a dynamic is read as text where a text is asked for, and has to be converted by the text elsewhere.
    """
    if source in accepted:
        return 0, source
    for cost, target in enumerate(_WIDENING.get(source, ()), 1):
        if target in accepted:
            return cost, target
    if source is KustoType.DYNAMIC and accepted and accepted[0] is KustoType.STRING:
        return 5, KustoType.STRING
    return None


def conversion_cure(types: Sequence[KustoType]) -> str:
    """How a value of another type is brought to the first of `types`, for a hint."""
    function = "parse_json" if types[0] is KustoType.DYNAMIC else f"to{types[0]}"
    return f"Convert it first, as by `{function}()`."


_CONVERTED = frozenset([KustoType.STRING, KustoType.DYNAMIC])
"""What holds values of other types, so that converting it is what most likely was meant."""


def _fit(signature: Signature, arguments: Sequence[Argument]) -> tuple[int, tuple[KustoType, ...]]:
    total = 0
    types: list[KustoType] = []
    for index, argument in enumerate(arguments):
        param = signature.param(index)
        found = conversion(argument.type, param.types)
        if found is None and (param.loose or argument.untyped):
            found = 4, param.types[0]
        if found is None:
            message = f"takes {_types_text(param.types)} as `{param.name}`, not {argument.type}"
            cure = conversion_cure(param.types) if argument.type in _CONVERTED else None
            raise Mismatch(message, index, cure)
        if param.constant and argument.constant is None:
            raise Mismatch(f"needs a constant as `{param.name}`", index)
        total += found[0]
        types.append(found[1])
    return total, tuple(types)


def _types_text(types: Sequence[KustoType]) -> str:
    names = [kind.value for kind in types]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _count_text(least: int, most: int | None) -> str:
    if most is None:
        return f"at least {least} argument{'s' if least != 1 else ''}"
    if least == most:
        return "no arguments" if least == 0 else f"{least} argument{'s' if least != 1 else ''}"
    return f"{least} to {most} arguments"


def _each_name(prefix: str, names: Sequence[str | None]) -> tuple[str, ...]:
    """`arg_max` and its like: an expression is named after its place."""
    if prefix == "any":
        return tuple(f"any_{name or f'arg{place}' * (len(names) > 1)}" for place, name in enumerate(names))
    if prefix in ("max", "min"):
        rest = [name or f"{prefix}_{names[0] or ''}_arg{place}" for place, name in enumerate(names)]
        return (names[0] or f"{prefix}_", *rest[1:])
    return tuple(name or f"any_arg{place}" for place, name in enumerate(names))


def _percentile_names(prefix: str, first: str, constants: Sequence[Constant | None]) -> tuple[str, ...]:
    names = []
    for constant in constants:
        value = constant.value if constant is not None else None
        if isinstance(value, float | int | Decimal) and not isinstance(value, bool):
            text = f"{value:g}" if isinstance(value, float) else str(value)
            names.append(f"{prefix}_{first}_{text.replace('.', '_')}")
    return tuple(names) or (f"{prefix}_{first}",)


class Registry:
    """All functions by name and alias. Names are case-sensitive, as in KQL."""

    def __init__(self, functions: Iterable[Function]) -> None:
        self._functions: dict[str, Function] = {}
        self._names: dict[str, Function] = {}
        for function in functions:
            self._functions[function.name] = function
            for name in (function.name, *function.aliases):
                if name in self._names:
                    raise ValueError(f"function {name} is declared twice")
                self._names[name] = function

    def find(self, name: str) -> Function | None:
        """The function of that exact name or alias, or None."""
        return self._names.get(name)

    def names(self, *, operators: bool = False) -> tuple[str, ...]:
        """Every name and alias that a text may spell, and the operators' internal names if asked for."""
        return tuple(name for name in self._names if operators or not name.startswith("__"))

    def __iter__(self) -> Iterator[Function]:
        return iter(self._functions.values())

    def __len__(self) -> int:
        return len(self._functions)


OPERATORS: Mapping[str, str] = MappingProxyType(
    {
        "+": "__add",
        "-": "__subtract",
        "*": "__multiply",
        "/": "__divide",
        "%": "__modulo",
        "==": "__equal",
        "!=": "__not_equal",
        "<>": "__not_equal",
        "<": "__less",
        "<=": "__less_or_equal",
        ">": "__greater",
        ">=": "__greater_or_equal",
        "=~": "__equal_ci",
        "!~": "__not_equal_ci",
        "and": "__and",
        "or": "__or",
        "in": "__in",
        "!in": "__not_in",
        "in~": "__in_ci",
        "!in~": "__not_in_ci",
        "between": "__between",
        "!between": "__not_between",
        "has": "__has",
        "!has": "__not_has",
        "has_cs": "__has_cs",
        "!has_cs": "__not_has_cs",
        "has_any": "__has_any",
        "has_all": "__has_all",
        "hasprefix": "__hasprefix",
        "!hasprefix": "__not_hasprefix",
        "hasprefix_cs": "__hasprefix_cs",
        "!hasprefix_cs": "__not_hasprefix_cs",
        "hassuffix": "__hassuffix",
        "!hassuffix": "__not_hassuffix",
        "hassuffix_cs": "__hassuffix_cs",
        "!hassuffix_cs": "__not_hassuffix_cs",
        "contains": "__contains",
        "!contains": "__not_contains",
        "contains_cs": "__contains_cs",
        "!contains_cs": "__not_contains_cs",
        "startswith": "__startswith",
        "!startswith": "__not_startswith",
        "startswith_cs": "__startswith_cs",
        "!startswith_cs": "__not_startswith_cs",
        "endswith": "__endswith",
        "!endswith": "__not_endswith",
        "endswith_cs": "__endswith_cs",
        "!endswith_cs": "__not_endswith_cs",
        "matches regex": "__matches_regex",
        "like": "__like",
        "notlike": "__not_like",
        "likecs": "__like_cs",
        "notlikecs": "__not_like_cs",
    }
)
"""Binary (and list) operators by their spelling. `__in` takes the value and then each element; `__between`
takes the value, the low and the high end; `__has_any` takes the text and then each term (dynamic arrays among
the elements are spread). Not here: `__negate(x)`, `__plus(x)` (unary), `__index(dynamic, string or long)` for
`a.b`, `a["b"]` and `a[0]`; `not` is an ordinary function."""
