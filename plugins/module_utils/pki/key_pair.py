# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A key and its certificate as two files that change together, whenever a run is killed.

Two renames cannot be one step. So the new pair first lies complete beside the live one
(``*.pending``), then the key is renamed, then the certificate. A run that is killed between the
renames leaves a pending certificate that fits the live key: the next run finishes the job.
"""

from __future__ import annotations

import os
import stat
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import at_rest, secret_files
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki import crypto


class KeyPair:
    """``<directory>/<stem>.key`` and ``<stem>.crt``, with their pending successors."""

    def __init__(self, directory: str, stem: str, encryption: str = "") -> None:
        """The pair of a directory.

        :param encryption: one of at_rest.FORMS for a new key; empty for that of the live one.
        """
        self._encryption = encryption
        self.key_path = os.path.join(directory, f"{stem}.key")
        self.certificate_path = os.path.join(directory, f"{stem}.crt")
        self.pending_key_path = f"{self.key_path}.pending"
        self.pending_certificate_path = f"{self.certificate_path}.pending"

    def interrupted(self) -> bool:
        """Whether an earlier run was killed between the two renames."""
        pending = _certificate(self.pending_certificate_path)
        key = self.key() if pending is not None else None
        if key is None:
            return False
        return crypto.same_key(pending.public_key(), key.public_key())

    def finish(self) -> None:
        """Completes what :meth:`interrupted` has found."""
        secret_files.rename(self.pending_certificate_path, self.certificate_path)

    def certificate(self) -> Any:
        """The live certificate, or the one that :meth:`finish` would make live.

        ``None`` when there is none or it cannot be read.
        """
        if self.interrupted():
            return _certificate(self.pending_certificate_path)
        return _certificate(self.certificate_path)

    def key(self) -> Any:
        """The live private key; ``None`` when there is none or it is no key.

        :raises TunnelError: if this host cannot decrypt it.
        """
        return _key(self.key_path)

    def is_encrypted(self) -> bool:
        """Whether the live key is encrypted, and no new one may be made beside a running service.

        systemd hands it over when the service starts, and not again. While its form changes, it
        does so in either form.
        """
        form = at_rest.form_of(secret_files.read_file(self.key_path) or b"")
        return form != at_rest.NONE or os.path.lexists(at_rest.former_path(self.key_path))

    def pending_key(self) -> Any:
        """The key that waits for its certificate; ``None`` without one that can be read.

        :raises TunnelError: if this host cannot decrypt it.
        """
        return _key(self.pending_key_path)

    def make_pending_key(self) -> Any:
        """Makes a key for the running user only, beside the live pair."""
        key = crypto.generate_key()
        self.write_pending_key(key)
        return key

    def write_pending_key(self, key: Any) -> None:
        """Puts a key beside the live pair, for the running user only."""
        live = secret_files.read_file(self.key_path) or b""
        form = self._encryption or at_rest.form_of(live)
        attributes = secret_files.private_attributes()
        at_rest.write_secret(self.pending_key_path, crypto.key_pem(key), attributes, form)

    def switch(self, certificate: Any, attributes: secret_files.Attributes) -> None:
        """Makes the pending key and this certificate the live pair."""
        self.write_pending_certificate(certificate, attributes)
        secret_files.set_attributes(self.pending_key_path, attributes)
        key = at_rest.read_secret(self.pending_key_path) or b""
        at_rest.write_former(self.key_path, key, attributes)
        secret_files.rename(self.pending_key_path, self.key_path)
        self.finish()

    def replace_certificate(self, certificate: Any, attributes: secret_files.Attributes) -> None:
        """Makes this certificate of the live key the live one."""
        self.write_pending_certificate(certificate, attributes)
        self.finish()

    def write_pending_certificate(
        self, certificate: Any, attributes: secret_files.Attributes
    ) -> None:
        """Puts a certificate beside the live pair."""
        content = crypto.pem_of(certificate).encode()
        secret_files.write_file(self.pending_certificate_path, content, attributes)

    def stale_files(self) -> list[str]:
        """The files to remove once the live pair is good: pending and half-written ones."""
        paths = [
            self.key_path,
            self.certificate_path,
            self.pending_key_path,
            self.pending_certificate_path,
        ]
        stale = [leftover for path in paths for leftover in secret_files.leftovers(path)]
        return stale + [path for path in paths[2:] if secret_files.lstat(path)]

    def wrong_attributes(self, attributes: secret_files.Attributes) -> list[str]:
        """The live files that have other attributes than these."""
        wrong = []
        for path in (self.key_path, self.certificate_path):
            status = secret_files.lstat(path)
            if status and stat.S_ISREG(status.st_mode) and not attributes.match(status):
                wrong.append(path)
        return wrong


def _certificate(path: str) -> Any:
    content = secret_files.read_file(path)
    try:
        return crypto.load_certificate(content.decode("ascii"), path) if content else None
    except (TunnelError, UnicodeDecodeError):
        return None


def _key(path: str) -> Any:
    content = at_rest.read_secret(path)
    try:
        return crypto.load_private_key(content.decode("ascii"), path) if content else None
    except (TunnelError, UnicodeDecodeError):
        return None
