# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gets the signing key of a package repository on the controller, and compares its fingerprint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.module_utils.urls import open_url
from ansible.plugins.action import ActionBase
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller.cache import cached
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases import openpgp

_TIMEOUT_SECONDS = 30
_LARGEST = 1 << 20


class ActionModule(ActionBase):
    """Runs on the controller only."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset(("url", "fingerprint"))

    def run(self, tmp: None = None, task_vars: Any = None) -> dict[str, Any]:
        """See the module's documentation."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(
            {
                "url": {"type": "str", "required": True},
                "fingerprint": {"type": "str", "required": True},
            }
        )
        url = arguments["url"]
        try:
            wanted = openpgp.parse_fingerprint(arguments["fingerprint"])

            def download(path: Path) -> None:
                with open_url(url, timeout=_TIMEOUT_SECONDS) as answer:
                    packets = openpgp.dearmor(answer.read(_LARGEST))
                found = openpgp.primary_fingerprints(packets)
                if found != [wanted]:
                    raise ValueError(f"its fingerprint is {', '.join(found)}, pinned is {wanted}")
                path.write_text(openpgp.armor(packets))

            path = cached(f"key-{wanted}.asc", download, lambda path: _is_key(path, wanted))
            armored = path.read_text(encoding="ascii")
        except TunnelError as error:
            result.update(failed=True, msg=str(error))
            return result
        except Exception as error:  # open_url raises the errors of all its layers
            result.update(
                failed=True,
                msg=f"{url}: {error}. Do not use this key before you know why; if the vendor has "
                f"a new "
                "one, set cloudflared_package_key_url and cloudflared_package_key_fingerprint.",
            )
            return result
        result.update(changed=False, armored=armored)
        return result


def _is_key(path: Path, wanted: str) -> bool:
    """Whether the cached file is the key with this fingerprint, in the form that hosts get."""
    try:
        packets = openpgp.dearmor(path.read_bytes()[:_LARGEST])
        return openpgp.primary_fingerprints(packets) == [
            wanted
        ] and path.read_text() == openpgp.armor(packets)
    except ValueError:
        return False
