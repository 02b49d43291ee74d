# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules about upstreams that the proxy lacks: the firewall's limits on dialling, and CAs."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.values import (
    Values,
    check_path,
    shape,
)

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----")


def check_upstream_ca(values: Values) -> Iterator[TunnelError]:
    """Whether a TLS client could trust *proxy_upstream_ca*, or a file on the host is named."""
    if values["proxy_upstream_ca_file"]:
        try:
            check_path(values["proxy_upstream_ca_file"], "proxy_upstream_ca_file")
        except TunnelError as error:
            yield error
    if values["proxy_upstream_ca"] and values["proxy_upstream_ca_file"]:
        yield TunnelError(
            "proxy_upstream_ca",
            "cannot be combined with proxy_upstream_ca_file",
            "Keep one of them",
        )
    text = values["proxy_upstream_ca"]
    if not text:
        return
    if "PRIVATE KEY-----" in str(text):
        yield TunnelError("proxy_upstream_ca", "holds a private key", "Give the certificates only")
        return
    begins = str(text).count("-----BEGIN CERTIFICATE-----")
    certificates = _CERTIFICATE.findall(str(text))
    if not begins:
        problem = f"must hold PEM certificates, is {shape(text)}"
    elif len(certificates) < begins or not _can_be_trusted("\n".join(certificates)):
        problem = f"cannot be read as PEM certificates, is {shape(text)}"
    else:
        return
    yield TunnelError(
        "proxy_upstream_ca",
        problem,
        "Use for example lookup('ansible.builtin.file', 'upstream-ca.crt')",
    )


def _can_be_trusted(certificates: str) -> bool:
    """Whether a TLS client like the proxy can load the certificates as its CAs."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=certificates)
    except (ssl.SSLError, ValueError):
        return False
    return True
