"""The built-in functions of templates, by lower-case name."""

from __future__ import annotations

from collections.abc import Mapping

from headrace.arm.templates.evaluate import Function
from headrace.arm.templates.functions import collections, dates, deployment, hashes, logic, numbers, strings


def builtin_functions() -> Mapping[str, Function]:
    """Every built-in function."""
    families = (strings, numbers, logic, collections, dates, hashes, deployment)
    return {function.name.lower(): function for family in families for function in family.FUNCTIONS}
