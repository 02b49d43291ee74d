# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A deployment of the vendor's, by Compose or Helm, becomes an inventory.

``files`` reads plain files of the operator's alone, ``manifests`` and ``compose`` find what is in
those of Kubernetes and Compose, and ``pieces`` says which parts a deployment has. ``deployment``
collects them, ``proxy_fields`` translates the configuration of the vendor's proxy, and ``judge``
refuses what does not fit together. ``place`` says whether an inventory may be written at a path.
``inventory`` compares and writes its files, with ``vaults`` for the secrets; ``told`` has the next
steps.

Called by the action import_deployment. Imports ``preflight`` and the rooms below it, and of
module_utils ``pki`` and ``core``.
"""
