"""Plan to plan: each rewrite is one file, and keeps what the plan means."""

from __future__ import annotations

from headrace.kql.plan.nodes import Plan
from headrace.kql.plan.rewrites.counting import count_by_files
from headrace.kql.plan.rewrites.placement import place_filters
from headrace.kql.plan.rewrites.pruning import prune
from headrace.kql.plan.rewrites.sharing import settle
from headrace.kql.plan.rewrites.time_range import find_time_ranges

__all__ = ["Plan", "count_by_files", "find_time_ranges", "place_filters", "prune", "settle"]
