# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The names in a bundle, for its reader and its writer."""

from __future__ import annotations

import re

#: Changes with the meaning of the manifest.
FORMAT = 1
MANIFEST = "manifest.json"
SUMS = "SHA256SUMS"
SBOM = "sbom.cdx.json"
#: A file of a bundle: no directory, no hidden file, nothing that a shell reads in another way.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")
LARGEST = 1 << 29
"""Bytes of one file, at most; releases have some 20 million."""
