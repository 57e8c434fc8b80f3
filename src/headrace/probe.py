"""Whether the server here is ready: `python -m headrace.probe`, for health checks of containers.

It asks by the address that the variables of the settings name, or by one that it is given, and is done in a tenth of a
second, where `headrace doctor` looks at much more and takes longer.
"""

from __future__ import annotations

import http.client
import os
import ssl
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from headrace.data_folder import DataFolder

_SECONDS = 5.0
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def find_fault(address: str, folder: DataFolder | None) -> str | None:
    """Why the server at the address is not ready; None when it is. With its data folder, its env file is there, too.

    The certificate is not looked at: who asks here asks itself, by a name that it need not have.
    """
    if folder is not None and not folder.env_file.exists():
        return f"{folder.env_file} is not there yet"
    parts = urlsplit(address)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    own = folder.tls / "client.pem" if folder is not None else None
    if own is not None and own.exists():
        context.load_cert_chain(own, own.with_suffix(".key"))
    connection = http.client.HTTPSConnection(
        parts.hostname or "", parts.port, timeout=_SECONDS, context=context
    )
    try:
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"{address} does not answer: {error}"
    finally:
        connection.close()
    return None if status == 200 else f"{address} answers {status}: not ready"


def own_address(variables: Mapping[str, str]) -> str:
    """Where a server with these variables listens, as seen from the same machine."""
    host = variables.get("HEADRACE_SERVER_HOST") or "127.0.0.1"
    host = _EVERYWHERE.get(host, host)
    port = variables.get("HEADRACE_SERVER_PORT") or "8443"
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


def main(arguments: Sequence[str], variables: Mapping[str, str]) -> int:
    """Print what was found; 0 when the server is ready, else 1."""
    data = variables.get("HEADRACE_DATA_DIR")
    address = arguments[0] if arguments else own_address(variables)
    fault = find_fault(address, DataFolder(Path(data)) if data else None)
    sys.stdout.write(f"{fault or 'ready'}\n")
    return 1 if fault else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
