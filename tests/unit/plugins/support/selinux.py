"""A host with SELinux, as far as restorecon(8) of policycoreutils 3 shows it."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import selinux_labels

_RESTORECON = """#!/bin/sh
cd {directory}
echo "$*" >>commands
[ ! -e failure ] || {{ cat failure >&2; exit 255; }}
for tree; do :; done
case "$*" in *-n*) says="Would relabel" ;; *) says=Relabeled ;; esac
[ -e wrong ] || exit 0
while read -r path; do
    case "$path" in "$tree"/*)
        echo "$says $path from system_u:object_r:usr_t:s0 to system_u:object_r:bin_t:s0" ;;
    esac
done <wrong
[ "$says" = "Would relabel" ] || rm wrong
"""


class Selinux:
    """The policy's labels, and the calls of restorecon."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir()
        self.enforce = directory / "enforce"
        self.enforce.write_text("1")
        self.restorecon = directory / "restorecon"
        self.restorecon.write_text(_RESTORECON.format(directory=directory))
        self.restorecon.chmod(0o755)

    def mislabel(self, path: str) -> None:
        """Let *path* have another label than the policy wants."""
        with (self._directory / "wrong").open("a") as file:
            file.write(f"{path}\n")

    def fail(self, text: str) -> None:
        """Let restorecon fail with *text*."""
        (self._directory / "failure").write_text(text)

    def disable(self) -> None:
        """Let the kernel have no SELinux."""
        self.enforce.unlink()

    def commands(self) -> list[str]:
        """Return the arguments of every call of restorecon."""
        path = self._directory / "commands"
        return path.read_text().splitlines() if path.exists() else []


def install(directory: Path, monkeypatch) -> Selinux:
    """Give the test's host SELinux."""
    host = Selinux(directory)
    monkeypatch.setattr(selinux_labels, "SELINUXFS", host.enforce)
    monkeypatch.setattr(selinux_labels, "PROGRAMS", (host.restorecon,))
    return host
