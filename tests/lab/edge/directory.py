"""The edge's directory: what it is started with and what it writes.

tunnel.json     the tunnel it serves, with its secret (0600; rewritten by `rotate`)
tunnel-token    the same as the token that the tunnel's owner holds (0600)
ca.crt          the CA of the edge's certificate: hosts trust it
edge.crt/.key   the edge's certificate and key
control.sock    the control API
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from pathlib import Path

from ..credentials import EDGE_NAMES, Tunnel, issue, write_secret
from .rpc import Application, Refused


@dataclass(frozen=True)
class EdgeDirectory:
    """Paths below one directory."""

    path: Path

    @property
    def token(self) -> Path:
        return self.path / "tunnel-token"

    @property
    def ca(self) -> Path:
        return self.path / "ca.crt"

    @property
    def certificate(self) -> Path:
        return self.path / "edge.crt"

    @property
    def key(self) -> Path:
        return self.path / "edge.key"

    @property
    def control(self) -> Path:
        return self.path / "control.sock"

    @property
    def _tunnel(self) -> Path:
        return self.path / "tunnel.json"

    def fill(self) -> Tunnel:
        """Make up a tunnel and the edge's certificate; return the tunnel."""
        issued = issue("Laboratory tunnel edge CA", EDGE_NAMES)
        self.ca.write_text(issued.ca)
        self.certificate.write_text(issued.certificate)
        write_secret(self.key, issued.key)
        tunnel = Tunnel.make()
        self._keep(tunnel)
        return tunnel

    def tunnel(self) -> Tunnel:
        """Return the tunnel as it is now."""
        return Tunnel.read(self._tunnel)

    def rotate(self) -> None:
        """Give the tunnel a new secret: the old one is refused from now on."""
        self._keep(self.tunnel().rotated())

    def check(self, application: Application) -> None:
        """Raise Refused unless the application carries this tunnel's credentials."""
        tunnel = self.tunnel()
        if application.tunnel.hex() != tunnel.uuid.replace("-", ""):
            raise Refused("Unauthorized: Tunnel not found", retry=False)
        if application.account != tunnel.account:
            raise Refused("Unauthorized: Invalid account", retry=False)
        if not hmac.compare_digest(application.secret, tunnel.secret_bytes):
            raise Refused("Unauthorized: Invalid tunnel secret", retry=False)

    def _keep(self, tunnel: Tunnel) -> None:
        tunnel.write(self._tunnel)
        write_secret(self.token, tunnel.token + "\n")
