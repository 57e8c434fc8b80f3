"""One request of the ingestion API on its way, whichever connection it came by."""

from __future__ import annotations

from collections.abc import Mapping

from headrace.identity.model import Caller
from headrace.ingest.errorlog import Told
from headrace.ingest.errors import quoted
from headrace.ingest.model import RuleHead
from headrace.wire import correlation

_MOST_LENGTH_DIGITS = 20
"""Of a declared length: Python reads no number of thousands of digits, zeros in front included."""


class Call:
    """A request: its headers (names in lower case), its ids, and what the checks found out so far.

    `address` is where it comes from. `given_stream` is the stream as the target has it, `stream` as the rule
    spells it; a rule is only ever known together with a verified caller. `encoding` is empty or `gzip`.
    """

    __slots__ = (
        "address",
        "caller",
        "client_id",
        "encoding",
        "given_stream",
        "headers",
        "ids",
        "request_id",
        "rule",
        "stream",
    )

    def __init__(self, headers: Mapping[bytes, bytes], address: str) -> None:
        self.headers = headers
        self.address = address
        self.request_id = correlation.new_request_id()
        self.client_id = correlation.client_request_id(headers.get(correlation.CLIENT_REQUEST_ID))
        self.ids = [(correlation.REQUEST_ID, self.request_id.encode())]
        if self.client_id and correlation.wants_client_request_id(
            headers.get(correlation.RETURN_CLIENT_REQUEST_ID)
        ):
            self.ids.append((correlation.CLIENT_REQUEST_ID, self.client_id.encode()))
        self.caller: Caller | None = None
        self.rule: RuleHead | None = None
        self.given_stream = ""
        self.stream = ""
        self.encoding = ""

    def header(self, name: bytes) -> str:
        """The header's text; empty when it is not there."""
        return self.headers.get(name, b"").decode("latin-1").strip()

    def content_length(self) -> int | None:
        """The declared length of the body, if any."""
        given = self.headers.get(b"content-length")
        common = given is not None and given.isdigit() and len(given) <= _MOST_LENGTH_DIGITS
        return int(given) if given is not None and common else None

    @property
    def rule_id(self) -> str:
        """The rule's immutable id in its own spelling; empty as long as none was found."""
        return "" if self.rule is None else self.rule.immutable_id

    def told(self) -> Told | None:
        """What an error row says of the call; None as long as its rule is not known."""
        if self.rule is None or self.caller is None:
            return None
        return Told(
            rule=self.rule,
            principal=self.caller.object_id,
            stream=self.stream or quoted(self.given_stream),
            declared=bool(self.stream),
            request_id=self.request_id,
            client_request_id=self.client_id,
        )
