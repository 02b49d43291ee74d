# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The trusted downloads of cloudflared: versions, architectures, SHA-256 sums.

The vendor publishes no checksum file beside its binaries; these sums are those of its release
notes. To renew a pin, see docs/deployment.md, "Another version of cloudflared".
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.values import shown

# The vendor's names for what `uname -m` says.
VENDOR_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}

NEWEST = "2026.10.0"
# Each sum was found in public repositories of several people who also pin the download. For
# 2026.10.2 and later, the sum for aarch64 was not available in November 2026.
PINS = {
    "2026.10.0": {
        "x86_64": "d33ff2d14475178d2012c2c56beba87389ac5ded27649519f198a7d3134a99db",
        "aarch64": "e6422b9d4f72d3194bc5a38676f13667c06666523217b842a877d72a80b5ac08",
    },
    "2026.9.3": {
        "x86_64": "77e26d8d900e0b8469f416239d14b5f296525fdf79fee6f511ef55609e3fbac2",
        "aarch64": "aaeb2d7d0da3614634c7e03ab13487a1522c2e79165ed2929cfe23d5e95b326d",
    },
}

# The first release with all flags that our unit starts it with: an older one prints its help and
# ends (vendor reference, section 8). Any binary that knows the last of them has its name in it.
OLDEST = "2026.5.0"
NEWEST_FLAG = "no-prechecks"

# The last release with a notable fault, and a text about the fault: newest first.
KNOWN_BAD = (
    (
        "2026.10.1",
        "trusts intermediate certificate authorities of eMudhra (emSign) whose private keys are "
        "public: who is on the network path can pass for the tunnel edge",
    ),
)

_VERSION = re.compile(r"[0-9]{1,8}(\.[0-9]{1,8}){1,3}")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


def check_version(version: str) -> None:
    """Whether this is a version: part of a URL, of a package's name, and of paths on hosts.

    :raises TunnelError: if it is none.
    """
    if not _VERSION.fullmatch(version):
        raise TunnelError(
            "cloudflared_version",
            f"{shown(version)!r} is not a version",
            f"Name one exactly, like {NEWEST}; what `latest` is today cannot be checked",
        )


def is_too_old(version: str) -> bool:
    """Whether *version* does not know the flags of our unit. False for text that is no version."""
    return bool(_VERSION.fullmatch(version)) and _numbers(version) < _numbers(OLDEST)


def known_bad(version: str) -> str:
    """Why *version* should not run, as the rest of a sentence that begins with the version.

    Empty if nothing is known against it, or if it is no version.
    """
    if not _VERSION.fullmatch(version):
        return ""
    faults = [fault for last, fault in KNOWN_BAD if _numbers(version) <= _numbers(last)]
    return "; and ".join(faults)


def _numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]


def is_sha256(text: str) -> bool:
    """Whether this is a SHA-256 as sha256sum prints it, in lower or upper case."""
    return bool(_SHA256.fullmatch(text))


def pinned_checksum(version: str, architecture: str, checksums: Mapping[str, str]) -> str:
    """The SHA-256 that the download of *version* for *architecture* must have, lower-case hex.

    The operator's *checksums* (architecture to sum) win over the pins of the collection.

    :raises TunnelError: if nobody pinned that download, or the operator's sum is none.
    """
    checksum = checksums.get(architecture) or PINS.get(version, {}).get(architecture)
    if not checksum:
        raise TunnelError(
            "cloudflared_version",
            f"{version} has no pinned SHA-256 for {architecture}",
            f"Use one of {', '.join(sorted(PINS))}, or give the sum of the vendor's release notes "
            f"as "
            f"cloudflared_checksums: {{{architecture}: ...}}",
        )
    if not is_sha256(str(checksum)):
        raise TunnelError(
            f"cloudflared_checksums[{architecture!r}]",
            "is not a SHA-256",
            "Give 64 hexadecimal digits, as sha256sum prints them",
        )
    return str(checksum).lower()
