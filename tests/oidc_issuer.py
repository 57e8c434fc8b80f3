"""A small OpenID Connect issuer on loopback: discovery, key set, and tokens signed with its keys."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

_BITS = 2048


class Issuer:
    """Answers until `stop`. `asked` counts requests by path; `answers` puts raw bytes in a document's place."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {}
        self.asked: dict[str, int] = {}
        self.answers: dict[str, bytes] = {}
        self.status = 200
        self.add_key("first")
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = issuer.document(self.path)
                self.send_response(issuer.status if content else 404)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def add_key(self, kid: str, kind: str = "RSA") -> None:
        """Another key; tokens are signed with it when they ask for it."""
        if kind == "RSA":
            self.keys[kid] = rsa.generate_private_key(public_exponent=65537, key_size=_BITS)
        else:
            self.keys[kid] = ec.generate_private_key(ec.SECP256R1())

    def key_set(self) -> dict[str, Any]:
        listed = []
        for kid, key in self.keys.items():
            algorithm = (
                jwt.algorithms.RSAAlgorithm if hasattr(key, "key_size") and key.key_size > 1000 else None
            )
            maker: Any = algorithm or jwt.algorithms.ECAlgorithm
            document = json.loads(maker.to_jwk(key.public_key()))
            listed.append({**document, "kid": kid, "use": "sig"})
        return {"keys": listed}

    def document(self, path: str) -> bytes:
        self.asked[path] = self.asked.get(path, 0) + 1
        if path in self.answers:
            return self.answers[path]
        if path == "/.well-known/openid-configuration":
            return json.dumps({"issuer": self.url, "jwks_uri": f"{self.url}/keys"}).encode()
        if path == "/keys":
            return json.dumps(self.key_set()).encode()
        return b""

    def token(self, kid: str = "first", *, private: Any = None, headers: Any = None, **claims: Any) -> str:
        """A signed token; claims that are None are left out."""
        now = int(time.time())
        good = {"iss": self.url, "sub": "job", "iat": now, "nbf": now, "exp": now + 600}
        content = {name: value for name, value in (good | claims).items() if value is not None}
        key = private if private is not None else self.keys[kid]
        algorithm = "ES256" if isinstance(key, ec.EllipticCurvePrivateKey) else "RS256"
        named = {name: value for name, value in ({"kid": kid} | (headers or {})).items() if value is not None}
        return jwt.encode(content, key, algorithm, headers=named)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def running_issuer() -> Iterator[Issuer]:
    """An issuer for the block."""
    issuer = Issuer()
    try:
        yield issuer
    finally:
        issuer.stop()
