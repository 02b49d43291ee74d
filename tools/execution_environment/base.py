"""An image of Debian 12, imported from the tree that mmdebstrap has made for the laboratory."""

from __future__ import annotations

import subprocess

from lab.core.progress import Progress
from lab.hosts import rootfs

from .podman import Podman
from .refused import Refused

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
    """Imports the tree unless that was done; returns the image's name.

    :raises Refused: if the tree cannot be read whole, or podman fails.
    """
    tree = rootfs.ensure(_RELEASE, Progress())
    name = f"localhost/mcp-tunnels-base:{tree.name}"
    if podman.has(name):
        return name
    command = ["tar", "--create", "--numeric-owner", f"--directory={tree}"]
    command += [f"--exclude={pattern}" for pattern in _LEFT_OUT]
    with subprocess.Popen([*command, "."], stdout=subprocess.PIPE) as tar:
        assert tar.stdout is not None
        image = podman.run("import", "--quiet", "-", stdin=tar.stdout.fileno()).strip()
    if tar.returncode:
        podman.run("image", "rm", image)
        problem = f"cannot be read whole: tar has failed with exit status {tar.returncode}"
        raise Refused(f"the tree {tree}", problem, "See its output above")
    # The name comes last: an image that has it is whole, and is never made again.
    podman.run("tag", image, name)
    return name
