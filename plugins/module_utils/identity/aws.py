# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Identity tokens of AWS: STS GetWebIdentityToken, without AWS's own library."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from urllib.parse import urlencode

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.identity.aws_credentials import (
    find_credentials,
    find_region,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.identity.aws_signature import (
    sign_post,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.identity.identity import Identity
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.web.messages import Request
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.web.places import check_url

_REGION = re.compile(r"[a-z0-9-]{1,32}")
_TOKEN = re.compile(r"<WebIdentityToken>\s*([^<\s]+)\s*</WebIdentityToken>")
_CODE = re.compile(r"<Code>([A-Za-z0-9.]{1,100})</Code>")
_SECONDS = "900"


def from_aws(identity: Identity) -> str:
    """Asks STS of the region for a token of the role that this machine has."""
    region = find_region(identity)
    if not _REGION.fullmatch(region):
        raise TunnelError(
            "identity_aws_region", "is not a region", "Write it like eu-central-1, or leave it out"
        )
    # The global endpoint does not offer this call.
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    endpoint = check_url(
        identity.text("endpoint", f"https://sts.{region}.{suffix}"), "identity_endpoint"
    )
    form = {
        "Action": "GetWebIdentityToken",
        "Version": "2011-06-15",
        "Audience.member.1": identity.audience,
        "SigningAlgorithm": "RS256",
        "DurationSeconds": _SECONDS,
    }
    body = urlencode(form).encode()
    url = f"{endpoint}/"
    now = datetime.now(timezone.utc)
    headers = sign_post(url, body, find_credentials(identity), region, "sts", now)
    reply = identity.web.send(Request("POST", url, headers=headers, content=body))
    token = _TOKEN.search(reply.text)
    if not reply.is_good or not token:
        code = _CODE.search(reply.text)
        raise TunnelError(
            "AWS STS GetWebIdentityToken",
            f"{endpoint} answered {reply.status} {code.group(1) if code else 'without a token'}",
            "Allow sts:GetWebIdentityToken for the role, enable outbound web identity federation "
            "in the account, and check this host's clock",
        )
    return token.group(1)
