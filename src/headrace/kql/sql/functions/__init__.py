"""Lowerings of declared functions to the engine's SQL, one module a family.

`lower` and `lower_several` are what the compiler calls; importing this package registers all lowerings.
"""

from __future__ import annotations

from headrace.kql.sql.functions import (
    aggregates,
    conditional,
    convert,
    datetimes,
    dynamics,
    matching,
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
from headrace.kql.sql.functions.base import (
    Context,
    Typed,
    lower,
    lower_several,
    lowered_names,
)

__all__ = ["Context", "Typed", "lower", "lower_several", "lowered_names"]

_FAMILIES = (
    aggregates,
    conditional,
    convert,
    datetimes,
    dynamics,
    matching,
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
