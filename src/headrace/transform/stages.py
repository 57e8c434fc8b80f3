"""A multi-stage transformation as KQL texts that follow each other, compiled and run as one transform.

Each processor is first compiled by itself over the columns that the one before it leaves: so a problem names the
processor at fault, and a condition knows the type of its column.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from headrace.catalog.multistage import (
    CODE,
    Condition,
    Drop,
    Extract,
    Extraction,
    Filter,
    Kql,
    Rename,
    Stage,
)
from headrace.errors import Problem, ProblemError
from headrace.kql.api import KqlError, compile_transform
from headrace.kql.model import Functions
from headrace.kql.syntax.literals import bracket_text, string_text, typed_value
from headrace.kql.types import KustoType, Schema, SchemaColumn
from headrace.kql.xmlpath import parse_path
from headrace.transform.cef import short_key

_T = KustoType
_NUMBERS = (_T.INT, _T.LONG, _T.REAL, _T.DECIMAL)


@dataclass(frozen=True, slots=True)
class StagedTransform:
    """The KQL text of each stage, and the warnings about those that hold the user's own KQL."""

    texts: tuple[str, ...]
    warnings: tuple[Problem, ...]


class StageError(Exception):
    """A processor's configuration does not fit; the message is in a user's words."""


def staged_transform(
    stages: Iterable[Stage], columns: tuple[SchemaColumn, ...], functions: Functions
) -> StagedTransform:
    """The stages over a stream of `columns`, each a transform of what the one before it gives.

    Raises `ProblemError` with the problems of the first processor that has any, each aimed at it.
    """
    schema = Schema(columns)
    texts: list[str] = []
    warnings: list[Problem] = []
    for stage in stages:
        step = stage.step
        try:
            text = step.text if isinstance(step, Kql) else f"source | {_operators(stage, schema)}"
        except StageError as error:
            raise ProblemError(Problem(CODE, f"{_whose(stage)}: {error}", stage.target)) from error
        own = isinstance(step, Kql)
        try:
            compiled = compile_transform(text, schema, functions=functions if own else "extended")
        except KqlError as error:
            raise ProblemError([_problem(stage, problem) for problem in error.problems]) from error
        if own:
            warnings.extend(_problem(stage, problem) for problem in compiled.warnings)
        texts.append(text)
        made = compiled.statements[-1].columns
        schema = Schema(tuple(SchemaColumn(column.name, column.type) for column in made))
    return StagedTransform(tuple(texts), tuple(warnings))


def _whose(stage: Stage) -> str:
    return f"{stage.processor} of transformation '{stage.transformation}'"


def _problem(stage: Stage, problem: Problem) -> Problem:
    """A compiler's problem as the processor's; a place in the text is told where the text is the user's."""
    own = isinstance(stage.step, Kql)
    where = f" at {problem.span.line}:{problem.span.column}" if own and problem.span is not None else ""
    message = f"{_whose(stage)}: {problem.code}{where} : {problem.message}"
    code = "InvalidTransformQuery" if own else CODE
    return Problem(code, message, stage.target, problem.span if own else None, problem.hint)


def _operators(stage: Stage, schema: Schema) -> str:
    """The operators of a declarative processor."""
    step = stage.step
    if isinstance(step, Filter):
        groups = [
            " and ".join(f"({_test(condition, schema)})" for condition in group) for group in step.groups
        ]
        return "where " + " or ".join(f"({group})" for group in groups)
    if isinstance(step, Rename):
        renames = [
            f"{bracket_text(i.name)} = {bracket_text(i.column)}" for i in step.items if i.name != i.column
        ]
        casts = [
            f"{bracket_text(i.name)} = {_cast(bracket_text(i.name), i.type)}" for i in step.items if i.type
        ]
        parts = [("project-rename", renames), ("extend", casts)]
        return " | ".join(f"{operator} {', '.join(items)}" for operator, items in parts if items)
    if isinstance(step, Drop):
        return "project-away " + ", ".join(bracket_text(column) for column in step.columns)
    assert isinstance(step, Extract)
    source = f"tostring({bracket_text(step.column)})"
    # All are read from the column as it came in, even where one of them takes its name.
    items = [(item, _found(stage.processor, source, item)) for item in step.items]
    return "extend " + ", ".join(
        f"{bracket_text(item.name)} = {_cast(value, item.type)}" for item, value in items
    )


def _found(processor: str, source: str, item: Extraction) -> str:
    if processor == "parse.JsonPath":
        return f"extract_json({string_text(item.path)}, {source})"
    if processor == "parse.XmlPath":
        try:
            parse_path(item.path)
        except ValueError as error:
            raise StageError(
                f"the path '{item.path[:128]}' of '{item.name}' cannot be followed: {error}."
            ) from error
        return f"__xml_path({source}, {string_text(item.path)})"
    message = f"parse_cef_dictionary({source})"
    header = item.path[:1].upper() + item.path[1:]
    keys = dict.fromkeys((item.path, short_key(item.path)))
    found = [f"tostring({message}[{string_text(header)}])"]
    found.extend(f"tostring({message}['Extension'][{string_text(key)}])" for key in keys)
    return "coalesce(" + ", ".join(found) + ")"


def _test(condition: Condition, schema: Schema) -> str:
    """A comparison in the type of the column."""
    column = next((column for column in schema.columns if column.name == condition.column), None)
    type = column.type if column is not None else _T.STRING
    name, value = bracket_text(condition.column), condition.value
    if "contains" in condition.operator or type is _T.STRING:
        return f"tostring({name}) {condition.operator} {string_text(_as_text(value))}"
    if type is _T.DYNAMIC:
        if isinstance(value, bool):
            return f"tobool({name}) {condition.operator} {_as_text(value)}"
        if isinstance(value, int | float):
            return f"toreal({name}) {condition.operator} {value!r}"
        return f"tostring({name}) {condition.operator} {string_text(value)}"
    wanted = _T.REAL if type in _NUMBERS else type
    valid, known = typed_value(wanted, _as_text(value).strip())
    if not valid or known is None:
        raise StageError(f"the value '{_as_text(value)[:128]}' is compared with `{column}`, which is {type}.")
    return f"{name} {condition.operator} to{wanted}({string_text(_as_text(value))})"


def _as_text(value: str | int | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _cast(value: str, type: KustoType | None) -> str:
    return f"to{type}({value})" if type is not None else value
