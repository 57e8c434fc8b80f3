"""Lowerings of series functions: each is one call of Python over the whole array."""

from __future__ import annotations

from headrace.kql.bind.functions import series
from headrace.kql.sql.functions.direct import by_python

by_python(*(function.name for function in series.FUNCTIONS), json=True)
