# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a project: one playbook for each duty, which imports that of the collection."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller import collection

#: The playbooks that jobs run, and the name of the play in a job's output.
PLAYBOOKS = {
    "backup": "Back the state up",
    "breach": "Take out a host that was broken into",
    "drain": "Drain replicas",
    "drift": "Compare the replicas with the inventory",
    "reboot": "Reboot in waves",
    "recover": "Replace a lost state host",
    "renew_cert": "Renew server certificates",
    "restore": "Restore the state",
    "rotate_ca": "Rotate the CA",
    "rotate_token": "Rotate the tunnel token",
    "site": "Deploy",
    "support": "Collect what support needs",
    "teardown": "Tear down",
    "undrain": "Bring drained replicas back",
    "verify": "Verify",
}
_MARK = "Written by mcp_tunnels.stack.awx_project: its next run replaces what is changed here."
#: The operator's own: written once, and never again.
_ONCE = ("known_hosts",)
_CFG = """\
[defaults]
host_key_checking = True
callback_result_format = yaml
inject_facts_as_vars = False

[ssh_connection]
pipelining = True
"""
_KNOWN_HOSTS = """\
# The replicas' public keys: of each the line that ssh-keyscan -t ed25519 HOST says, once compared.
"""


@dataclass(frozen=True)
class Change:
    """A file that is missing, or has another content.

    Attributes:
        path: where it belongs.
        before: the content that is there; None if nothing is.
        after: the content that it will have.
        is_foreign: whether something is there that was not written by us.
    """

    path: Path
    before: str | None
    after: str
    is_foreign: bool

    def diff(self) -> dict[str, str]:
        """For Ansible's ``--diff``."""
        header = str(self.path)
        return {
            "before": self.before or "",
            "after": self.after,
            "before_header": header,
            "after_header": header,
        }


def files(requirements: bool) -> dict[str, str]:
    """The content of each file, by its path in the project.

    :param requirements: whether the project brings the collection along.
    :raises TunnelError: if the collection does not state its version.
    """
    found = {f"{name}.yml": _playbook(name, title) for name, title in PLAYBOOKS.items()}
    found["ansible.cfg"] = f"# {_MARK}\n{_CFG}"
    found["known_hosts"] = _KNOWN_HOSTS
    if requirements:
        found["collections/requirements.yml"] = (
            f"# {_MARK}\n---\ncollections:\n"
            f"  - name: {collection.NAME}\n    version: =={collection.version()}\n"
        )
    return found


def _playbook(name: str, title: str) -> str:
    return (
        f"# {_MARK}\n---\n- name: {title}\n"
        f"  ansible.builtin.import_playbook: {collection.NAME}.{name}\n"
    )


def changes(dest: str, wanted: dict[str, str]) -> list[Change]:
    """The files that have to be written.

    :param dest: absolute path of the project.
    :param wanted: see :func:`files`.
    :raises TunnelError: if *dest* cannot be the place of a project.
    """
    root = Path(dest)
    if not root.is_absolute() or not root.parent.is_dir() or (root.exists() and not root.is_dir()):
        raise TunnelError(
            "mcp_tunnel_awx_project_dest",
            f"is {dest!r}, which is no absolute path of a directory, or of one that can be made",
            "Set it to a directory, such as a clone of the project's repository",
        )
    found = (_change(root / name, after, name in _ONCE) for name, after in wanted.items())
    return [change for change in found if change]


def _change(path: Path, after: str, once: bool) -> Change | None:
    if path.is_symlink() or (path.exists() and not path.is_file()):
        return None if once else Change(path, None, after, is_foreign=True)
    if not path.exists():
        return Change(path, None, after, is_foreign=False)
    before = path.read_text(encoding="utf-8", errors="replace")
    if once or before == after:
        return None
    return Change(path, before, after, is_foreign=_MARK not in before.partition("\n")[0])


def not_ours(change: Change) -> TunnelError:
    """The error for a file that somebody else has written."""
    return TunnelError(
        str(change.path),
        "is there already, and was not written by awx_project",
        "Move it away, or set mcp_tunnel_awx_project_replace: true to replace it",
    )


def stuck(error: OSError) -> TunnelError:
    """The error for a file that cannot be written."""
    return TunnelError(
        str(error.filename or "mcp_tunnel_awx_project_dest"),
        f"cannot be written: {error.strerror or error}",
        "Make room, or give this user the right to write there",
    )


def write(wanted: list[Change]) -> None:
    """Write the files, each at once: a reader sees the old one or the new one."""
    for change in wanted:
        change.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=change.path.parent, prefix=".awx-project-")
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(change.after)
            os.chmod(name, 0o644)
            os.replace(name, change.path)
        except BaseException:
            os.unlink(name)
            raise


def told(dest: str, written: list[Change]) -> list[str]:
    """The files that were written, and the next step."""
    if not written:
        version = collection.version()
        return [f"{dest}: the project is as version {version} of the collection writes it."]
    names: Any = (str(change.path.relative_to(dest)) for change in written)
    return [
        f"{dest}: written {', '.join(names)}.",
        "Next: put the hosts' keys into known_hosts, commit and push the project, sync it in AWX.",
    ]
