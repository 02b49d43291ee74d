"""Vault's HTTP API, as far as a reader of secrets sees it, by its documentation."""

from __future__ import annotations

import http.server
import json
import ssl
import threading
from pathlib import Path
from typing import Any

ACCESS = "hvs.CAESIJ-planted-token-of-the-agent"


class Vault:
    """A server on a free port of loopback, inside a ``with``.

    ``secrets`` are the answers' ``data`` by path, ``asked`` the requests so far: path and token.
    """

    def __init__(self, certificate: Path) -> None:
        self.secrets: dict[str, Any] = {}
        self.asked: list[tuple[str, str]] = []
        self.sealed = False
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, answer = outer._answer(self.path, self.headers.get("X-Vault-Token", ""))
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_arguments: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)
        self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://localhost:{self._server.server_port}"

    def _answer(self, path: str, token: str) -> tuple[int, dict[str, Any]]:
        self.asked.append((path.removeprefix("/v1/"), token))
        if self.sealed:
            return 503, {"errors": ["Vault is sealed"]}
        if token != ACCESS:
            return 403, {"errors": ["permission denied"]}
        if path == "/v1/auth/token/lookup-self":
            return 200, {"data": {"id": token, "policies": ["mcp-tunnel"], "ttl": 3600}}
        data = self.secrets.get(path.removeprefix("/v1/"))
        if data is None:
            return 403, {"errors": ["1 error occurred:\n\t* permission denied\n\n"]}
        about = {"request_id": "11111111-2222-4333-8444-555555555555", "lease_id": ""}
        return 200, {**about, "renewable": False, "lease_duration": 0, "data": data, "auth": None}

    def __enter__(self) -> Vault:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_arguments: object) -> None:
        self._server.shutdown()
        self._server.server_close()
