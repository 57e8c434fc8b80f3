"""Lowerings of the families that Python computes as a whole: series, of whole arrays, and geography."""

from __future__ import annotations

from headrace.kql.bind.functions import series, shapes
from headrace.kql.sql.functions.direct import by_python

by_python(*(function.name for function in series.FUNCTIONS), json=True)
by_python(*(function.name for function in shapes.FUNCTIONS))
