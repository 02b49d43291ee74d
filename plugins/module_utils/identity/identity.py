# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The common part of the identity sources: options, and HTTP to places of this machine."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.identity.jwt_claims import (
    DEFAULT_AUDIENCE,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.web.messages import Reply, Request
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.web.places import check_url
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.web.web import Web

# These are on the machine's own link, though their addresses do not show it.
_METADATA_HOSTS = ("metadata.google.internal", "fd00:ec2::254", "fd00:ec2::23")


@dataclass(frozen=True)
class Identity:
    """The options of an identity source, and the ways to the network.

    ``web``: to services. ``local_web``: to addresses that mean something on this machine only;
    never through a proxy.
    """

    options: Mapping[str, Any]
    web: Web
    local_web: Web

    def text(self, name: str, default: str = "") -> str:
        """The value of option ``identity_<name>`` without white space around it."""
        return str(self.options.get(f"identity_{name}") or default).strip()

    @property
    def audience(self) -> str:
        return self.text("audience", DEFAULT_AUDIENCE)


def metadata_url(url: str, subject: str) -> str:
    """Returns the URL of a platform's metadata service without its trailing slash.

    :raises TunnelError: if it is plain http to anything but this machine and its link.
    """
    try:
        host = urlsplit(url.strip()).hostname or ""
    except ValueError:
        host = ""
    if host in _METADATA_HOSTS or _is_link_local(host):
        return url.strip().rstrip("/")
    return check_url(url, subject)


def _is_link_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_link_local
    except ValueError:
        return False


def asked(web: Web, request: Request, what: str, remedy: str) -> Reply:
    """The good answer to a request.

    :param what: whose answer it is, for messages.
    :raises TunnelError: for every other answer. Its content is not shown: it may be secret.
    """
    reply = web.send(request)
    if not reply.is_good:
        raise TunnelError(what, f"{request.place} answered {reply.status}", remedy)
    return reply


def json_text(reply: Reply, name: str, what: str, remedy: str) -> str:
    """A text in a JSON answer. :raises TunnelError: if it is missing."""
    value = reply.fields.get(name)
    if not isinstance(value, str) or not value:
        raise TunnelError(what, f"the answer holds no {name}", remedy)
    return value
