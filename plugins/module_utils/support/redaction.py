# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Configuration without what it may have of secrets.

Our own files have none. An operator's drop-ins may, and so may an address with a password in it.
The search that comes after this one does not rely on it.
"""

from __future__ import annotations

import re

REDACTED = "(redacted)"
_NAMES = (
    r"token|passwd|password|passphrase|secret|api[-_]?key|private[-_]?key|authorization|cookie"
    r"|setcredential"
)
# `name: value` and `NAME=value`, also below another name: Environment="X_TOKEN=value". Paths stay.
# The rest of a name is limited, because a long line would take for ever otherwise.
_SETTING = re.compile(
    rf"(?im)((?:{_NAMES})[\w.-]{{0,128}}[\"']?[ \t]*[:=][ \t]*[\"']?)(?![\s/\"'])"
    r"[^\s\"'#]+(?:[ \t]+[^\s\"'#=:]+)*"
)
# The userinfo of a URI (RFC 3986 section 3.2.1).
_USERINFO = re.compile(r"(?i)\b([a-z][a-z0-9+.-]{0,32}://)[^\s/@\"']+@")


def redacted(text: str) -> tuple[str, int]:
    """The text with REDACTED in the place of values that may be secret, and how many those are."""
    text, settings = _SETTING.subn(rf"\g<1>{REDACTED}", text)
    text, addresses = _USERINFO.subn(rf"\g<1>{REDACTED}@", text)
    return text, settings + addresses
