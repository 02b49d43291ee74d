# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The servers to which secrets may be sent, and the CAs that verify their certificates."""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
from urllib.parse import urlsplit

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError

_CHARACTERS = re.compile("[!-~]{1,2048}")
_BUNDLE_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


def is_loopback(host: str) -> bool:
    """Whether a host of a URL is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_url(text: str, subject: str) -> str:
    """Returns a URL without its trailing slash.

    :raises TunnelError: if it is not https; plain http is for this machine only.
    """
    url = text.strip().rstrip("/")
    # The parser drops newlines and tabs, but users of the URL do not.
    if not _CHARACTERS.fullmatch(url):
        url = ""
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname or "", parts.port
    except ValueError:
        parts, host = urlsplit(""), ""
    if parts.scheme not in ("http", "https") or not host:
        raise TunnelError(subject, "is not a URL", "Write it like https://api.anthropic.com")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise TunnelError(
            subject,
            "carries a user, a query or a fragment",
            "Give scheme, host, port and path alone",
        )
    if parts.scheme == "http" and not is_loopback(host):
        raise TunnelError(
            subject,
            f"is plain http to {host}, which would show secrets to the network",
            "Use https; plain http is accepted for localhost, 127.0.0.0/8 and [::1] only",
        )
    return url


def ca_bundle(option: str | None) -> str | bool:
    """The trusted CAs: the option's, an environment variable's, the system's, else certifi's.

    :raises TunnelError: if what the option names does not exist.
    """
    if option:
        if not os.path.exists(option):
            raise TunnelError(
                "api_ca_bundle", f"{option} does not exist", "Give a file of PEM certificates"
            )
        return option
    for variable in _BUNDLE_VARIABLES:
        if os.environ.get(variable):
            return os.environ[variable]
    # An interpreter of a release trusts certifi's list, which lacks the company's own CA.
    paths = ssl.get_default_verify_paths()
    for path in (paths.cafile, paths.capath):
        if path and os.path.exists(path) and (os.path.isfile(path) or os.listdir(path)):
            return path
    return True
