"""Rights at the resources that a document points at."""

from __future__ import annotations

from collections.abc import Iterable

from headrace.arm.model import Call
from headrace.wire.problems import http_error

_LINKED_ACTION = "Microsoft.OperationalInsights/workspaces/sharedKeys/action"


def check_linked(call: Call, workspaces: Iterable[str]) -> None:
    """Who points a resource at a workspace writes to it: that takes a right at the workspace too. Raises 403."""
    caller = call.caller
    for key in sorted(workspaces):
        if not call.deps.access.current.allows(caller.object_id, _LINKED_ACTION, key, groups=caller.groups):
            raise http_error(
                403,
                "LinkedAuthorizationFailed",
                f"The client '{caller.app_id}' with object id '{caller.object_id}' has permission to "
                f"perform action '{call.target.type}/write' on scope "
                f"'{call.target.id}'; however, it does not have permission to perform action(s) "
                f"'{_LINKED_ACTION}' on the linked scope(s) '{key}' (respectively) or the linked scope(s) "
                "are invalid.",
            )
