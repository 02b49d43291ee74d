# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The terms on which a replica asks for a certificate, beside the key: all of them are public.

They go with each question, also with one that is to be answered without a signature. So a signer
whose settings are not those of the replica says so on the first day, and not when the certificate
is due.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.instances import INSTANCE
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.names import wanted_names

PATTERN = (
    rf"instance {INSTANCE.pattern}\nduration [0-9a-z.]{{1,64}}\nca [0-9a-f]{{64}}\n"
    r"names [a-z0-9._*-]+(?: [a-z0-9._*-]+)*\n"
)
"""Their form in a question."""


@dataclass(frozen=True)
class Terms:
    """The terms of one certificate.

    :param duration: the longest lifetime that the replica accepts, like ``2160h``.
    :param ca: SHA-256 of the CA that it trusts, in hexadecimal.
    :param names: all names of the certificate.
    """

    instance: str
    duration: str
    ca: str
    names: tuple[str, ...]

    def text(self) -> str:
        """The lines of a question."""
        return (
            f"instance {self.instance}\nduration {self.duration.strip()}\nca {self.ca}\n"
            f"names {' '.join(self.names)}\n"
        )


def terms(instance: str, domain: str, routes: Iterable[str], duration: str, ca: str) -> Terms:
    """The terms of a replica with these settings.

    :param ca: the CA's certificate, as PEM.
    :raises TunnelError: if a name is wrong, or the CA is no certificate.
    """
    try:
        fingerprint = hashlib.sha256(ssl.PEM_cert_to_DER_cert(ca.strip())).hexdigest()
    except ValueError:
        raise TunnelError(
            "the CA's certificate", "is none", "Run the site playbook, which brings it anew"
        ) from None
    return Terms(instance, duration, fingerprint, tuple(wanted_names(domain, routes)))


def read(text: str) -> Terms | None:
    """The terms in a text of the form PATTERN; ``None`` for an empty one, as of older releases."""
    if not text:
        return None
    instance, duration, ca, names = (line.partition(" ")[2] for line in text.splitlines())
    return Terms(instance, duration, ca, tuple(names.split(" ")))


def name_difference(asked: Sequence[str], own: Sequence[str]) -> str:
    """Why the *asked* names are not the *own* ones, as the rest of a sentence; ``""`` if they are.

    The asked ones are the words of somebody else.
    """
    if sorted(asked) == sorted(own):
        return ""
    return f"asks for {', '.join(asked) or 'no name'} and not for {', '.join(own)}"
