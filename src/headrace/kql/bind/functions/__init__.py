"""The function registry: `FUNCTIONS` holds every declared function and operator, one module a family."""

from __future__ import annotations

from headrace.kql.bind.functions import (
    aggregates,
    conditional,
    conversion,
    datetimes,
    dynamics,
    mathematics,
    network,
    operators,
    series,
    shapes,
    sketches,
    special,
    strings,
    windows,
)
from headrace.kql.bind.functions.registry import Registry

FUNCTIONS = Registry(
    function
    for family in (
        operators,
        conversion,
        conditional,
        strings,
        datetimes,
        mathematics,
        dynamics,
        special,
        network,
        aggregates,
        windows,
        series,
        shapes,
        sketches,
    )
    for function in family.FUNCTIONS
)
"""All functions and operators of KQL that are declared."""
