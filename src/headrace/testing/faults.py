"""Faults that a test asks a server for, to see that an ingestion client copes with them."""

from __future__ import annotations

from typing import Any, Self
from urllib.parse import quote

from headrace.cli.client import Server
from headrace.errors import Problem, ProblemError


class ArmedFault:
    """A fault that calls meet from now on, by its `id`. As a `with` block: until its end."""

    def __init__(self, faults: Faults, id: str) -> None:
        self._faults = faults
        self.id = id

    def hits(self) -> int:
        """How many calls have met it. Raises `LookupError` when it was cleared."""
        for one in self._faults.armed():
            if one["id"] == self.id:
                return int(one["hits"])
        raise LookupError("this fault was cleared")

    def clear(self) -> None:
        """Let no further call meet it."""
        self._faults.clear(self.id)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()


class Faults:
    """The faults of a server that was started with `faults.enabled`, for calls of the ingestion API.

    Each call meets one, the oldest that is left: `times` are the calls that meet it, None all of them until it is
    cleared. A call that is answered with a fault is not kept; with `after` it is kept, and then meets it.
    Every method raises `ProblemError` where the server takes no faults, or not this one.
    """

    def __init__(self, server: Server) -> None:
        self._server = server

    def answer(
        self, status: int, *, times: int | None = 1, retry_after: int | None = None, after: bool = False
    ) -> ArmedFault:
        """Answer with an error: 401, 403, 404, 408, 413, 429, 500, 502, 503 or 504.

        `retry_after` are the seconds that 429 and 503 ask for, by default 1.
        """
        return self._arm(fault="answer", status=status, retryAfter=retry_after, times=times, after=after)

    def delay(self, seconds: float, *, times: int | None = 1, after: bool = False) -> ArmedFault:
        """Let a call wait before it is looked at, or with `after` for the answer once it is kept."""
        return self._arm(fault="delay", seconds=seconds, times=times, after=after)

    def cut(self, *, times: int | None = 1, after: bool = False) -> ArmedFault:
        """Reset the connection in place of the answer."""
        return self._arm(fault="cut", times=times, after=after)

    def armed(self) -> list[dict[str, Any]]:
        """What was asked for, oldest first, each with its `id` and the `hits`, also what is used up."""
        found: list[dict[str, Any]] = self._call("GET")["value"]
        return found

    def clear(self, id: str | None = None) -> None:
        """Let no further call meet any fault, or the one of that id."""
        self._call("DELETE", path="faults" if id is None else f"faults/{quote(id, '')}")

    def _arm(self, **fault: Any) -> ArmedFault:
        return ArmedFault(self, self._call("POST", fault)["id"])

    def _call(self, method: str, body: Any = None, path: str = "faults") -> Any:
        try:
            return self._server.admin(method, path, body)
        except ProblemError as error:
            if error.problems[0].code != "NotFound":
                raise
            hint = "Start it with HEADRACE_FAULTS_ENABLED=true."
            raise ProblemError(Problem("FaultsOff", "This server takes no faults.", hint=hint)) from None
