"""The architectures that hosts can have, and how their programs run on this machine.

Their names are those that the kernel and Python's wheels use.
"""

from __future__ import annotations

import platform

from ..core.errors import LabError
from ..core.processes import dies_with_me

OWN = platform.machine()

#: Architecture -> its name in Debian's packages.
_DEBIAN = {"x86_64": "amd64", "aarch64": "arm64"}

#: Run in mount and PID namespaces of its own. Arguments: architecture, command. Debian's package
#: qemu-user-static brings the line to register; the "F" in it lets the emulator, which the kernel
#: opens here, work in another root, too. Since Linux 6.7 the registration ends with its last mount.
_EMULATED = """
set -eu
kernel=/proc/sys/fs/binfmt_misc
mount -t binfmt_misc binfmt_misc "$kernel"
# A build beside this one may have been first.
[ -e "$kernel/qemu-$1" ] || cat "/usr/lib/binfmt.d/qemu-$1.conf" >"$kernel/register" ||
    [ -e "$kernel/qemu-$1" ]
shift
exec "$@"
"""


def debian(architecture: str) -> str:
    """The name of an architecture in Debian's packages.

    Raises:
        LabError: the laboratory does not know it.
    """
    if architecture not in _DEBIAN:
        raise LabError(f"architecture {architecture!r}: the lab knows {', '.join(_DEBIAN)}")
    return _DEBIAN[architecture]


def in_own_namespaces(argv: list[str], architecture: str = OWN) -> list[str]:
    """The command's mounts and processes end with it, even if we are killed.

    Args:
        architecture: that of programs that it runs, besides this machine's own.
    """
    if architecture != OWN:
        argv = ["/bin/sh", "-c", _EMULATED, "emulated", architecture, *argv]
    unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--", *argv]
    return dies_with_me(unshare)
