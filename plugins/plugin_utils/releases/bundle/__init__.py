# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bundles: files of releases that one controller assembles, and others take from there.

``layout`` has the names in a bundle; ``storage`` opens the files of a directory or a tar archive;
``reader`` checks a bundle and gives its files; ``writer`` makes one, with the SBOM of ``sbom``.

``manifest.json`` says what each file is, and which version of the collection made it;
``SHA256SUMS`` has the sum of every file, in the format of sha256sum(1).

Called by ``places`` and ``assembly``. Imports ``controller``, and ``core`` of module_utils.
"""
