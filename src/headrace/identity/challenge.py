"""ARM's answers to a token that does not let its bearer in, and to one whose rights do not reach."""

from __future__ import annotations

from headrace.identity.model import Caller, TokenError, TokenFault
from headrace.wire.problems import HttpError, http_error

_CODES: dict[TokenFault, str] = {
    "missing": "AuthenticationFailedMissingToken",
    "invalid": "InvalidAuthenticationToken",
    "expired": "ExpiredAuthenticationToken",
    "audience": "InvalidAuthenticationTokenAudience",
    "tenant": "InvalidAuthenticationTokenTenant",
    "principal": "AuthenticationFailed",
    "delegated": "AuthenticationFailed",
    "pending": "AuthenticationFailed",
}


def arm_unauthenticated(error: TokenError, authority: str) -> HttpError:
    """401 with a challenge; 503 where trying again helps. `authority` is `{base}/{tenant}`, where tokens come from."""
    if error.kind == "pending":
        return http_error(503, "ServiceUnavailable", error.message, headers={"Retry-After": "1"})
    # A claim of the token may stand in it: nothing may end the header or the text within it.
    plain = error.message.replace("\\", "/").replace('"', "'")
    description = "".join(char if " " <= char <= "~" else "?" for char in plain)
    challenge = (
        f'Bearer authorization_uri="{authority}", error="invalid_token", error_description="{description}"'
    )
    return http_error(
        401,
        _CODES[error.kind],
        f"Authentication failed. {error.message}",
        headers={"WWW-Authenticate": challenge},
    )


def arm_forbidden(caller: Caller, action: str, scope: str) -> HttpError:
    """403 `AuthorizationFailed`."""
    return http_error(
        403,
        "AuthorizationFailed",
        f"The client '{caller.app_id}' with object id '{caller.object_id}' does not have authorization to"
        f" perform action '{action}' over scope '{scope}' or the scope is invalid. If access was recently"
        " granted, please refresh your credentials.",
    )
