"""Lowerings of geography: each is a call of Python."""

from __future__ import annotations

from headrace.kql.bind.functions import shapes
from headrace.kql.sql.functions.direct import by_python

by_python(*(function.name for function in shapes.FUNCTIONS))
