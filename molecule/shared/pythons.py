"""The Pythons of hosts, as kept_playbook.py asks for them; as a program, it prints them."""

from __future__ import annotations

from lab.core.progress import Progress
from lab.hosts import rootfs

#: Debian's releases that create.yml boots.
RELEASES = ("12", "13")


def commands() -> str:
    """Return a command a line: each runs the Python of a kind of host, in the hosts' image."""
    trees = [rootfs.ensure(release, Progress()) for release in RELEASES]
    return "\n".join(f"chroot {tree} /usr/bin/python3" for tree in trees)


if __name__ == "__main__":
    print(commands())
