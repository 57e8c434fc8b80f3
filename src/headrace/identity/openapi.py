"""Identity's part of the OpenAPI description."""

from __future__ import annotations

from headrace.wire.openapi import FLAG, TEXT, WHOLE, Operation, Schema, many, obj, ref

_CREDENTIAL = obj({"keyId": TEXT, "name": TEXT})
_APP = {"name": TEXT, "clientId": TEXT, "principalId": TEXT, "objectId": TEXT, "tenantId": TEXT}
SCHEMAS: dict[str, Schema] = {
    "SignInError": obj(
        {
            "error": TEXT,
            "error_description": TEXT,
            "error_codes": many(WHOLE),
            "trace_id": TEXT,
            "timestamp": TEXT,
        }
    ),
    "OlderToken": obj(
        {"token_type": TEXT, "expires_in": TEXT, "access_token": TEXT, "resource": TEXT, "expires_on": TEXT}
    ),
    "Token": obj({"token_type": TEXT, "expires_in": WHOLE, "access_token": TEXT}, ext_expires_in=WHOLE),
    "OpenIdConfiguration": obj(
        {"issuer": TEXT, "token_endpoint": TEXT, "authorization_endpoint": TEXT, "jwks_uri": TEXT}
    ),
    "KeySet": obj({"keys": many(obj({"kty": TEXT, "kid": TEXT, "n": TEXT, "e": TEXT}))}),
    "App": obj(
        {
            **_APP,
            "enabled": FLAG,
            "created": TEXT,
            "secrets": many(_CREDENTIAL),
            "certificates": many(_CREDENTIAL),
            "federatedCredentials": many(_CREDENTIAL),
        }
    ),
    "NewCredential": obj({**_APP, "keyId": TEXT, "ends": TEXT}, clientSecret=TEXT),
    "SigningKeys": obj({"value": many(obj({"kid": TEXT, "signs": FLAG, "created": TEXT}))}),
    "Explanation": obj(
        {
            "allowed": FLAG,
            "reason": TEXT,
            "principalId": TEXT,
            "action": TEXT,
            "scope": TEXT,
            "assignments": many(obj({"roleName": TEXT, "scope": TEXT, "allows": FLAG, "reason": TEXT})),
        }
    ),
    "AuditLog": obj({"workspace": TEXT, "publicKey": TEXT, "heads": many({"type": "object"})}),
    "DirectoryList": obj({"value": many({"type": "object"})}),
}
_FORM = obj(
    {"grant_type": {"type": "string", "enum": ["client_credentials"]}, "client_id": TEXT},
    scope=TEXT,
    client_secret=TEXT,
    client_assertion=TEXT,
    client_assertion_type=TEXT,
)
_FORM_MEDIA = "application/x-www-form-urlencoded"
_DISCOVERY = "/.well-known/openid-configuration"


def operations() -> list[Operation]:
    """The addresses of signing in, of the administration and of the directory."""
    return [*_sign_in(), *_administration(), *_directory()]


def _sign_in() -> list[Operation]:
    def open_get(path: str, summary: str, answer: Schema, *query: str) -> Operation:
        return Operation(
            "GET", path, summary, "Sign in", {200: answer}, query=query, secured=False, errors="SignInError"
        )

    tokens = [
        Operation(
            "POST", path, "Ask for an access token", "Sign in", {200: ref(token)},
            body=form, media=_FORM_MEDIA, secured=False, errors="SignInError",
        )
        for path, token, form in (
            ("/{tenant}/oauth2/v2.0/token", "Token", _FORM),
            ("/{tenant}/oauth2/token", "OlderToken", _FORM | {"properties": {**_FORM["properties"], "resource": TEXT}}),
        )
    ]  # fmt: skip
    configuration = ref("OpenIdConfiguration")
    explain = Operation(
        "GET", "/error", "What an AADSTS number means", "Sign in", {200: TEXT, 404: TEXT},
        answer_media="text/plain", query=("code",), secured=False, statuses=(),
    )  # fmt: skip
    return [
        *tokens,
        open_get(f"/adfs{_DISCOVERY}", "The OpenID configuration, ADFS form", configuration),
        open_get(f"/adfs/v2.0{_DISCOVERY}", "The OpenID configuration, ADFS form, v2", configuration),
        open_get(f"/{{tenant}}/v2.0{_DISCOVERY}", "The OpenID configuration, v2", configuration),
        open_get(f"/{{tenant}}{_DISCOVERY}", "The OpenID configuration, v1", configuration),
        open_get("/{tenant}/discovery/v2.0/keys", "The keys that tokens are signed with", ref("KeySet")),
        open_get("/{tenant}/discovery/keys", "The keys that tokens are signed with", ref("KeySet")),
        open_get(
            "/common/discovery/instance",
            "Whether an authority is this server's",
            obj({"tenant_discovery_endpoint": TEXT}),
            "authorization_endpoint",
        ),
        explain,
    ]


def _administration() -> list[Operation]:
    def own(
        method: str, path: str, summary: str, status: int, answer: Schema | None, body: Schema | None = None
    ) -> Operation:
        return Operation(method, f"/headrace/{path}", summary, "Administration", {status: answer}, body)

    credential = ref("NewCredential")
    return [
        own("GET", "apps", "List the apps", 200, obj({"value": many(ref("App"))})),
        own("POST", "apps", "Make an app", 201, credential, obj({"name": TEXT}, certificate=TEXT, ends=TEXT)),
        own("GET", "apps/{app}", "Show an app", 200, ref("App")),
        own("PATCH", "apps/{app}", "Enable or disable an app", 200, ref("App"), obj({"enabled": FLAG})),
        own("DELETE", "apps/{app}", "Delete an app", 204, None),
        own("POST", "apps/{app}/secrets", "Add a secret", 201, credential, obj(name=TEXT, ends=TEXT, replace=FLAG)),
        own("DELETE", "apps/{app}/secrets/{key}", "End a secret", 204, None),
        own(
            "POST", "apps/{app}/certificates", "Add a certificate", 201, credential,
            obj({"certificate": TEXT}, name=TEXT),
        ),
        own("DELETE", "apps/{app}/certificates/{key}", "End a certificate", 204, None),
        own(
            "POST", "apps/{app}/federatedCredentials", "Let another issuer's tokens stand for the app", 201,
            _CREDENTIAL, obj({"issuer": TEXT, "subject": TEXT}, name=TEXT, audiences=many(TEXT)),
        ),
        own("DELETE", "apps/{app}/federatedCredentials/{key}", "End a federated credential", 204, None),
        own("GET", "keys", "List the signing keys", 200, ref("SigningKeys")),
        own("POST", "keys", "Let a new key sign", 201, ref("SigningKeys"), obj(revoke=FLAG)),
        own("DELETE", "keys/{kid}", "Drop a key that no longer signs", 204, None),
        own(
            "POST", "access/explain", "Why somebody may do something or not", 200, ref("Explanation"),
            obj({"principal": TEXT, "action": TEXT, "scope": TEXT}, data=FLAG, groups=many(TEXT)),
        ),
        own("GET", "audit", "What the audit log is verified with", 200, ref("AuditLog")),
    ]  # fmt: skip


def _directory() -> list[Operation]:
    listed, entry = ref("DirectoryList"), {"type": "object"}
    ids = obj({"ids": many(TEXT)}, types=many(TEXT))
    table: list[tuple[str, str, Schema, Schema | None]] = [
        ("GET", "/servicePrincipals", listed, None),
        ("GET", "/servicePrincipals({by})", entry, None),
        ("GET", "/servicePrincipals/{id}", entry, None),
        ("GET", "/applications", listed, None),
        ("GET", "/applications({by})", entry, None),
        ("GET", "/applications/{id}", entry, None),
        ("GET", "/users", listed, None),
        ("GET", "/groups", listed, None),
        ("POST", "/directoryObjects/getByIds", listed, ids),
        ("POST", "/directoryObjects/microsoft.graph.getByIds", listed, ids),
    ]
    return [
        Operation(
            method, f"/{version}{path}", "The directory", "Directory", {200: answer}, body,
            query=("$filter",) if answer is listed and method == "GET" else (),
        )
        for version in ("v1.0", "beta")
        for method, path, answer, body in table
    ]  # fmt: skip
