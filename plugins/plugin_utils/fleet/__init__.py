# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts of a run beside each other: replicas, tunnels, and how far each has come.

``neighbours`` compares the hosts of the group, ``host_names`` judges how they are called, and
``limits`` counts them; ``shared_problems`` are
reported by one of the hosts that have them; ``reach`` says what follows from the hosts' answers,
and ``state_hosts`` which host is the state host; ``availability`` says who may leave the edge, and
``reboots`` in which waves; ``summary`` tells the end of a run to people, and
``report`` to programs. ``breached`` says who is taken out of a run as broken into.

Called by action and filter plugins. Imports ``preflight`` and the rooms below it.
"""
