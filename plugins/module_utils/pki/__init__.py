# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates and keys of a tunnel: the service's requirements on them, and their files.

``crypto`` reads and compares them; ``ca`` and ``server`` are the rules for each kind; ``key_pair``
changes two files as one; ``ca_store`` and ``server_store`` are the work of the modules tunnel_ca
and server_cert. ``signing_channel`` is the way from a replica that renews to the signer, ``terms``
what it asks for, ``renewal_key`` its key for SSH.

Called by the modules of provisioning, by ``provision``, ``commands`` and the preflight. Imports
``core`` only.
"""
