"""Which api-versions a resource type has. Azure's lists are the documented ones; newer ones are taken, too.

Only documented differences of shape depend on a version, so a client that is newer than this list is served as
the newest one is.
"""

from __future__ import annotations

from headrace.clock import SECOND, to_datetime
from headrace.wire.problems import http_error

_COLLECTION = (
    "2019-11-01-preview", "2021-04-01", "2021-09-01-preview", "2022-06-01", "2023-03-11", "2024-03-11",
    "2025-05-11", "2025-07-01",
)  # fmt: skip
_WORKSPACES = (
    "2015-11-01-preview", "2017-03-15-preview", "2020-03-01-preview", "2020-08-01", "2020-10-01", "2021-06-01",
    "2021-12-01-preview", "2022-10-01", "2023-01-01-preview", "2023-09-01", "2025-02-01", "2025-07-01",
)  # fmt: skip
_ASSIGNMENTS = (
    "2015-07-01", "2018-01-01-preview", "2020-04-01-preview", "2020-08-01-preview", "2020-10-01-preview",
    "2022-04-01", "2022-05-01-preview",
)  # fmt: skip
_METRICS = ("2018-01-01", "2019-07-01", "2023-10-01", "2024-02-01")
_LISTED = {
    "microsoft.insights/datacollectionrules": _COLLECTION,
    "microsoft.insights/datacollectionendpoints": _COLLECTION[1:],
    "microsoft.insights/datacollectionruleassociations": _COLLECTION,
    "microsoft.insights/diagnosticsettings": ("2016-09-01", "2017-05-01-preview", "2021-05-01-preview"),
    "microsoft.insights/diagnosticsettingscategories": ("2017-05-01-preview", "2021-05-01-preview"),
    "microsoft.insights/metrics": _METRICS,
    "microsoft.insights/metricdefinitions": _METRICS,
    "microsoft.insights/metricnamespaces": ("2017-12-01-preview", "2024-02-01"),
    "microsoft.insights/eventtypes/values": ("2014-04-01", "2015-04-01", "2017-03-01-preview"),
    "microsoft.authorization/roleassignments": _ASSIGNMENTS,
    "microsoft.authorization/roledefinitions": _ASSIGNMENTS,
    "microsoft.insights/logs": ("2018-03-01-preview", "2018-08-01-preview"),
    "microsoft.authorization/permissions": ("2015-07-01", "2018-01-01-preview", "2022-04-01"),
    "microsoft.authorization/checkaccess": ("2018-09-01-preview", "2021-06-01-preview"),
    "microsoft.authorization/denyassignments": ("2018-07-01-preview", "2022-04-01"),
    "microsoft.authorization/classicadministrators": ("2015-06-01", "2015-07-01"),
    "microsoft.authorization/locks": ("2015-01-01", "2016-09-01", "2017-04-01", "2020-05-01"),
}
_NAMESPACES = {
    "microsoft.operationalinsights": _WORKSPACES,
    "microsoft.insights": ("2018-01-01", "2021-05-01", "2024-02-01"),
    "microsoft.authorization": _ASSIGNMENTS,
    "microsoft.resourcegraph": ("2019-04-01", "2021-03-01", "2022-10-01", "2024-04-01"),
    "microsoft.resources": ("2020-10-01", "2021-04-01", "2022-09-01", "2024-11-01", "2025-04-01"),
}
_COMPLETE = frozenset(name for name in _LISTED if name.startswith("microsoft.insights/datacollection"))
_YEAR = 366 * 24 * 3600 * SECOND


def listed_versions(type_name: str) -> tuple[str, ...]:
    """The api-versions that Azure documents for a resource type, oldest first."""
    lowered = type_name.lower()
    namespace = lowered.partition("/")[0]
    return _LISTED.get(lowered) or _NAMESPACES.get(namespace, ())


def any_version(type_name: str) -> str:
    """A version that the server's own calls name: the newest that Azure documents."""
    return (listed_versions(type_name) or _NAMESPACES["microsoft.resources"])[-1]


def check_version(version: str, type_name: str, now: int) -> None:
    """Raises `HttpError` 400 `NoRegisteredProviderFound` for an api-version that the type cannot have.

    Where Azure's list is complete, a version passes that is on it, or that is newer than all of it and not a
    year ahead of `now` (UTC microseconds). Other types take any.
    """
    if type_name.lower() not in _COMPLETE:
        return
    listed = listed_versions(type_name)
    latest = to_datetime(now + _YEAR).strftime("%Y-%m-%d")
    if version in listed or listed[-1] < version[:10] <= latest:
        return
    namespace, _, inner = type_name.partition("/")
    raise http_error(
        400,
        "NoRegisteredProviderFound",
        f"No registered resource provider found for location '' and API version '{version}' for "
        f"type '{inner}'. The supported api-versions are '{', '.join(listed)}'. Give one of them in "
        f"?api-version= for resources of {namespace}.",
    )
