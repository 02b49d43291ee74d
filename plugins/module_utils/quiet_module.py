# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module that does not write its options into the host's journal."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule


class QuietModule(AnsibleModule):
    """For modules with secret options.

    Ansible logs the options of every module on the host. It blanks ``no_log`` options, but a
    secret of several lines inside a list of entries, or one that an operator has put into the
    wrong option, would be logged.
    """

    def _log_invocation(self) -> None:
        self.log("Invoked; its options are not logged.")
