# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module that does not write its options into the host's journal, nor secrets into its answer."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule

_HIDDEN = "(a secret, not shown)"
#: Without it, Ansible adds all options to the answer.
_NO_OPTIONS: dict[str, Any] = {"invocation": {"module_args": {}}}


class QuietModule(AnsibleModule):
    """For modules with secret options.

    Ansible logs the options of every module on the host. It blanks ``no_log`` options, but a
    secret of several lines inside a list of entries, or one that an operator has put into the
    wrong option, would be logged.

    Up to ansible-core 2.21, a module blanks its ``no_log`` options in its answer. From 2.22 on it
    sends them along instead, for the controller to blank. Here the answer has neither them nor any
    other option.
    """

    def _log_invocation(self) -> None:
        self.log("Invoked; its options are not logged.")

    def exit_json(self, **kwargs: Any) -> None:
        """Ends the module; no value of a secret option is in the answer."""
        super().exit_json(**_NO_OPTIONS, **self._without_secrets(kwargs))

    def fail_json(self, msg: str, **kwargs: Any) -> None:
        """Ends the module as failed; no value of a secret option is in the answer."""
        hidden = self._without_secrets({"msg": msg, **kwargs})
        super().fail_json(**_NO_OPTIONS, **hidden)

    def warn(self, warning: str, **kwargs: Any) -> None:
        """Adds a warning to the answer; no value of a secret option is in it."""
        super().warn(self._without_secrets(warning), **kwargs)

    def _without_secrets(self, value: Any) -> Any:
        # ansible-core 2.22 and later would put these into the answer, for the controller to blank.
        tracker = getattr(self, "_new_secrets", None)
        if tracker is not None:
            tracker.flush()
        # The longest first: one may be part of another.
        return _hidden(value, sorted(map(str, self.no_log_values), key=len, reverse=True))


def _hidden(value: Any, secrets: list[str]) -> Any:
    """The value, of types of JSON, with all secrets hidden in its texts and keys."""
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, _HIDDEN) if secret else value
        return value
    if isinstance(value, dict):
        return {_hidden(key, secrets): _hidden(item, secrets) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_hidden(item, secrets) for item in value]
    return value
