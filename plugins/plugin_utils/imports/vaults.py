# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Texts encrypted as ansible-vault does, with the password of this run."""

from __future__ import annotations

from typing import Any

from ansible import constants
from ansible.errors import AnsibleError
from ansible.parsing.vault import VaultLib, match_encrypt_secret
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError

_REMEDY = (
    "Run it with --vault-password-file FILE, --vault-id NAME@FILE or --ask-vault-pass, and later "
    "runs with the same; FILE has a password that you choose, and belongs into no repository"
)


class Vault:
    """The passwords of a run."""

    def __init__(self, loader: Any) -> None:
        """Takes them from Ansible's data loader.

        :raises TunnelError: if the run has none, or not the one that is to encrypt.
        """
        # ansible-core gives plugins no other way to the passwords of the command line.
        self._lib: VaultLib = getattr(loader, "_vault", None) or VaultLib()
        if not self._lib.secrets:
            raise TunnelError(
                "the vault password",
                "is not given, and the tunnel token and the CA's key are not written in clear",
                _REMEDY,
            )
        try:
            name, self._secret = match_encrypt_secret(
                self._lib.secrets,
                constants.config.get_config_value("DEFAULT_VAULT_ENCRYPT_IDENTITY"),
            )
        except AnsibleError as error:
            raise TunnelError("the vault password", str(error), _REMEDY) from None
        self._name = name

    def encrypt(self, text: str) -> str:
        """The text as the content of a file that ansible-vault can read."""
        return str(self._lib.encrypt(text, self._secret, self._name), "ascii")

    def decrypt(self, text: str) -> str | None:
        """The text of such a content; ``None`` if no password of the run opens it."""
        try:
            return bytes(self._lib.decrypt(text.encode())).decode()
        except (AnsibleError, ValueError):
            return None
