"""An image of Debian 12, imported from the tree that debootstrap has made for the laboratory."""

from __future__ import annotations

import subprocess

from lab.core.progress import Progress
from lab.hosts import rootfs

from .podman import Podman

_RELEASE = "12"
#: Of the laboratory's hosts, or of no use in a container.
_LEFT_OUT = (
    "./etc/sudoers.d/ops",
    "./usr/share/doc/*",
    "./usr/share/info/*",
    "./usr/share/locale/*",
    "./usr/share/man/*",
    "./var/cache/*",
    "./var/lib/apt/lists/*",
)


def ensure(podman: Podman) -> str:
    """Imports the tree unless that was done; returns the image's name."""
    tree = rootfs.ensure(_RELEASE, Progress())
    name = f"localhost/mcp-tunnels-base:{tree.name}"
    if podman.has(name):
        return name
    command = ["tar", "--create", "--numeric-owner", f"--directory={tree}"]
    command += [f"--exclude={pattern}" for pattern in _LEFT_OUT]
    with subprocess.Popen([*command, "."], stdout=subprocess.PIPE) as tar:
        assert tar.stdout is not None
        podman.run("import", "--quiet", "-", name, stdin=tar.stdout.fileno())
    return name
