"""`GET /`: what a browser shows that is pointed at the server, instead of an error of an API."""

from __future__ import annotations

import base64
import hashlib
from html import escape

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headrace import __version__
from headrace.wire.addresses import Addresses

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 44rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: 0; } h2 { font-size: 1.1rem; margin-top: 2rem; }
code, pre { font-family: ui-monospace, monospace; font-size: 0.9rem; }
pre { padding: 0.75rem 1rem; border: 1px solid #8886; border-radius: 0.4rem; white-space: pre-wrap; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.25rem 1.5rem; }
dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 30rem) { dl { display: block; } dd { margin-bottom: 0.75rem; } }
"""
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


def page(base: str) -> str:
    """The page of a server that is reached at `base`."""
    addresses = {
        "Send logs to": f"{base}/dataCollectionRules/{{immutableId}}/streams/{{stream}}",
        "Query at": f"{base}/v1",
        "Manage at": base,
        "Sign in at": f"{base}/{{tenant}}/oauth2/v2.0/token",
        "Kusto's clients": base,
    }
    listed = "".join(
        f"<dt>{name}</dt><dd><code>{escape(text)}</code></dd>" for name, text in addresses.items()
    )
    links = {"/openapi.json": "every address", "/readyz": "readiness", "/metrics": "metrics for Prometheus"}
    linked = "".join(f'<li><a href="{path}">{path}</a>: {what}</li>' for path, what in links.items())
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Headrace</title>
<style>{_STYLE}</style>
<h1>Headrace</h1>
<p>Azure Monitor's direct log ingestion on your own machine. Version {escape(__version__)}; this server runs.</p>
<h2>In a terminal on the server's machine</h2>
<pre>eval "$(headrace env)"
headrace send rows.ndjson
headrace query 'HeadraceSample_CL | take 10'
headrace doctor</pre>
<h2>For programs</h2>
<dl>{listed}</dl>
<p>These are for Azure's SDKs, <code>az</code>, log shippers and Kusto's clients; each call needs a token.</p>
<h2>Without a token</h2>
<ul>{linked}</ul>
</html>
"""


def front_page_route(addresses: Addresses) -> Route:
    """The route of the page; it needs no token, and tells nothing that the description does not."""

    async def answer(request: Request) -> Response:
        text = page(addresses.base(request.headers.get("host")))
        return Response(text, media_type="text/html", headers={"content-security-policy": _POLICY})

    return Route("/", answer, methods=["GET"])
