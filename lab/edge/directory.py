"""The edge's directory: the files it starts with and those it writes. Tunnels are the API's.

tunnel-token    token of the tunnel for manual mode, as its owner holds it (0600)
ca.crt          the CA of the edge's certificate: hosts trust it
edge.crt/.key   the edge's certificate and key
control.sock    the control API
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from pathlib import Path

from ..core.credentials import EDGE_NAMES, Tunnel, issue, write_secret
from ..tunnels_api import state, tunnels
from .rpc import Application, Refused


@dataclass(frozen=True)
class EdgeDirectory:
    """Paths below one directory, and the state of the Tunnels API whose tunnels it serves."""

    path: Path
    store: state.Store

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

    def fill(self) -> Tunnel:
        """Make the edge's certificate; return the tunnel for manual mode."""
        issued = issue("Laboratory tunnel edge CA", EDGE_NAMES)
        self.ca.write_text(issued.ca)
        self.certificate.write_text(issued.certificate)
        write_secret(self.key, issued.key)
        self._keep_token()
        return self.tunnel()

    def tunnel(self) -> Tunnel:
        """Return the tunnel for manual mode as it is now: the first one of all."""
        return tunnels.owned(self.tunnels()[0])

    def tunnels(self) -> list[state.Tunnel]:
        """Return all tunnels, that for manual mode first."""
        return self.store.read()["tunnels"]

    def rotate(self) -> None:
        """Give the tunnel for manual mode a new secret: the old one is refused from now on."""
        with self.store.change() as changed:
            tunnels.rotate(changed["tunnels"][0], "rotated at the edge")
        self._keep_token()

    def check(self, application: Application) -> None:
        """Raise Refused unless the application carries an active tunnel's credentials."""
        for known in self.tunnels():
            ours = application.tunnel.hex() == known["uuid"].replace("-", "")
            if ours and known["archived_at"] is None:
                break
        else:
            raise Refused("Unauthorized: Tunnel not found", retry=False)
        tunnel = tunnels.owned(known)
        if application.account != tunnel.account:
            raise Refused("Unauthorized: Invalid account", retry=False)
        if not hmac.compare_digest(application.secret, tunnel.secret_bytes):
            raise Refused("Unauthorized: Invalid tunnel secret", retry=False)

    def _keep_token(self) -> None:
        write_secret(self.token, self.tunnel().token + "\n")
