"""The next protocol of a connection: QUIC first, HTTP/2 when UDP fails.

Vendor behaviour with `--protocol auto`: an address that cannot be dialled is left for the next one;
after `--max-edge-addr-retries` of them (8) a connection falls back. Without `auto` it never falls
back, nor does it once a connection was up over QUIC.
"""

from __future__ import annotations

from dataclasses import dataclass

from .quic import DialError

QUIC, HTTP2 = "quic", "http2"


@dataclass
class Choice:
    """The protocol of one connection.

    Attributes:
        falls_back: whether it may still change.
        limit: how many addresses are tried in vain before the last one.
    """

    current: str
    falls_back: bool
    limit: int
    _failures: int = 0

    def failed(self, error: Exception) -> bool:
        """Count a failure; return whether the protocol has changed."""
        if not isinstance(error, DialError):
            return False
        if self._failures < self.limit:
            self._failures += 1
            return False
        self._failures = 0
        if not self.falls_back:
            return False
        self.current, self.falls_back = HTTP2, False
        return True
