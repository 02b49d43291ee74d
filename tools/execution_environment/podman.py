"""podman with settings of this checkout: nothing in /etc or of other images is touched."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from lab.core.checkouts import OWN

from .refused import Refused

#: Debian's. crun refuses a machine that mounts both versions of cgroups; runc does not.
_PACKAGES = ("podman", "runc")
#: Debian enables them for machines that keep containers.
_UNITS = ("podman.socket", "podman-auto-update.timer", "podman-restart.service")
_BOOTSTRAP_LOCK = "/run/lock/mcp-tunnel-bootstrap"

# The limit of open files is a service's default: below podman's own, which a machine may refuse.
_CONTAINERS = """\
[containers]
default_ulimits = ["nofile=1024:4096", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "runc"
tmp_dir = "{run}/libpod"
[engine.runtimes]
runc = ["/usr/sbin/runc", "/usr/bin/runc"]
"""
# Without a mount over the directory itself, so that `make clean` can remove it.
_STORAGE = """\
[storage]
driver = "overlay"
graphroot = "{graph}"
runroot = "{run}/storage"
[storage.options.overlay]
skip_mount_home = "true"
"""
_POLICY = '{"default": [{"type": "insecureAcceptAnything"}]}\n'


class Podman:
    """The podman of this checkout; *directory* gets its settings and images."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which podman, and what calls it, finds the settings."""
        return {
            **os.environ,
            "CONTAINERS_CONF": str(self._directory / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self._directory / "storage.conf"),
            # podman looks there for the policy of signatures.
            "HOME": str(self._directory / "home"),
        }

    def prepare(self) -> None:
        """Writes the settings, and installs podman where it is missing.

        :raises Refused: if it cannot be installed.
        """
        # Not below the directory: podman allows 50 characters.
        run = f"/run/mcp-tunnel-images/{OWN.tag}"
        policy = self._directory / "home/.config/containers/policy.json"
        policy.parent.mkdir(parents=True, exist_ok=True)
        policy.write_text(_POLICY)
        (self._directory / "containers.conf").write_text(_CONTAINERS.format(run=run))
        graph = self._directory / "storage"
        (self._directory / "storage.conf").write_text(_STORAGE.format(graph=graph, run=run))
        if not all(map(shutil.which, _PACKAGES)):
            _install()

    def run(self, *arguments: str, stdin: int = subprocess.DEVNULL) -> str:
        """Runs a command of podman; returns its standard output.

        :raises Refused: if it fails.
        """
        return self.program(["podman", *arguments], stdin)

    def program(self, command: Sequence[str], stdin: int = subprocess.DEVNULL) -> str:
        """Runs a program that calls podman; returns its standard output.

        :raises Refused: if it fails; has the whole output.
        """
        done = subprocess.run(
            list(command),
            env=self.environment,
            stdin=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode:
            raise Refused(
                " ".join(command[:2]),
                f"exit status {done.returncode}",
                "See its output above",
                done.stdout + done.stderr,
            )
        return done.stdout

    def has(self, image: str) -> bool:
        """Whether there is an image of that name."""
        command = ["podman", "image", "exists", image]
        return subprocess.run(command, env=self.environment, check=False).returncode == 0


def _install() -> None:
    if os.getuid() != 0 or not shutil.which("apt-get"):
        raise Refused(
            "podman", "is not installed", f"Install {' and '.join(_PACKAGES)}, or run as root"
        )
    with open(_BOOTSTRAP_LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (
            ["apt-get", "-qq", "update"],
            ["apt-get", "-qq", "install", "-y", "--no-install-recommends", *_PACKAGES],
        ):
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=False
            )
            if done.returncode:
                problem = f"{' '.join(command)} has failed"
                output = done.stdout + done.stderr
                raise Refused("podman", problem, "Repair it, and run this again", output)
    if Path("/run/systemd/system").is_dir():
        command = ["systemctl", "--quiet", "disable", "--now", *_UNITS]
        subprocess.run(command, stderr=subprocess.DEVNULL, check=False)
