# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether this kernel enforces IPAddressDeny=, the units' own wall behind the firewall."""

from __future__ import annotations

import contextlib
import socket
import subprocess

# A datagram, because connect() would go on trying in silence.
_SEND = (
    "import socket, sys\n"
    "try:\n"
    "    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'?', ('127.0.0.1', {port}))\n"
    "except PermissionError:\n"
    "    sys.exit(77)\n"
)
_REFUSED = 77
_SECONDS = 60


def enforced() -> bool | None:
    """Whether a unit that may talk to no address cannot; None if that could not be tried.

    systemd accepts the setting everywhere, and does without where the kernel has no control groups
    of version 2 or no BPF for them.
    """
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(1)
        # Without the setting it must arrive; another firewall may drop it as well.
        try:
            receiver.sendto(b"?", receiver.getsockname())
        except OSError:
            return None
        if not _arrives(receiver):
            return None
        status = _send_from_unit(receiver.getsockname()[1])
        if status == _REFUSED:
            return True
        return False if status == 0 and _arrives(receiver) else None


def _arrives(receiver: socket.socket) -> bool:
    try:
        return bool(receiver.recv(1))
    except OSError:
        return False


def _send_from_unit(port: int) -> int | None:
    """Exit status of the sender, None if there is no systemd to run it."""
    command = [
        *("systemd-run", "--quiet", "--wait", "--collect", "--property=IPAddressDeny=any"),
        *("/usr/bin/python3", "-I", "-S", "-c", _SEND.format(port=port)),
    ]
    try:
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.returncode
