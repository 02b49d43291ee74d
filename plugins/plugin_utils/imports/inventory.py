# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory that a deployment becomes: its files, and how they differ from those there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import secret_files
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller.private_path import (
    check_unchangeable,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.imports.judge import SECRETS
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.imports.vaults import Vault

SUBJECT = "mcp_tunnel_import_dest"
HOSTS = "hosts.yml"
_VARIABLES = "group_vars/mcp_tunnel/imported.yml"
_VAULT = "group_vars/mcp_tunnel/vault.yml"
_PREFIX = "vault_"
_HOSTS = """\
# The hosts that become replicas beside the imported deployment. Import writes this file only once.
---
mcp_tunnel:
  hosts:
    # replica1.example.net:
    # replica2.example.net:
"""
_HEADER = """\
# Written by mcp_tunnels.stack.import. Your own variables belong into another file beside this one.
---
"""
_WIDTH = 4096


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as such, so that certificates can be read."""


def _written(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _written)


@dataclass(frozen=True)
class File:
    """A file of the inventory that is missing, or has another content.

    Attributes:
        path: where it belongs.
        before: the content that is there, for a diff; ``None`` if there is no file.
        after: the content that it will have, for a diff.
        content: the content as it is written.
    """

    path: Path
    before: str | None
    after: str
    content: str = field(repr=False)

    def diff(self) -> dict[str, str]:
        """For Ansible's ``--diff``, without secrets."""
        header = str(self.path)
        return {
            "before": self.before or "",
            "after": self.after,
            "before_header": header,
            "after_header": header,
        }

    def not_overwritten(self) -> TunnelError:
        """The error for a file that is there and differs."""
        return TunnelError(
            str(self.path),
            "is there already, and differs from what would be written; --check --diff together "
            "with mcp_tunnel_import_replace=true shows how",
            "Move it away, set mcp_tunnel_import_replace: true to replace it, or import into "
            "another directory",
        )


def check_place(root: Path) -> None:
    """Checks the absolute path of the inventory.

    :raises TunnelError: if it cannot be the place of one, or others can change it.
    """
    if not root.parent.is_dir() or (root.exists() and not root.is_dir()):
        raise TunnelError(
            SUBJECT,
            f"is {str(root)!r}, which is no directory, and none that can be made",
            "Set it to the directory of an inventory",
        )
    for part in (root.parent, root, root / "group_vars", (root / _VAULT).parent):
        if os.path.lexists(part):
            _check_part(part)


def _check_part(part: Path) -> None:
    try:
        check_unchangeable(part, _changeable)
    except OSError as error:
        raise TunnelError(
            str(part), f"cannot be looked at: {error.strerror}", "Name another place"
        ) from None


def _changeable(found: Path, problem: str) -> TunnelError:
    return TunnelError(
        SUBJECT, f"{found} {problem}, and so could change the inventory", "Revoke that permission"
    )


def changes(root: Path, variables: Mapping[str, Any], vault: Vault) -> list[File]:
    """The files that have to be written, those for Ansible to read first at last.

    :raises TunnelError: if something else is in a file's place, or cannot be opened.
    """
    secrets = {_PREFIX + name: variables[name] for name in SECRETS}
    references = {name: f"{{{{ {_PREFIX}{name} }}}}" for name in SECRETS}
    public = _HEADER + _dumped({**variables, **references})
    found = (
        _secret(root / _VAULT, secrets, vault),
        _public(root / _VARIABLES, public),
        _public(root / HOSTS, _HOSTS, once=True),
    )
    return [each for each in found if each]


def _dumped(variables: Mapping[str, Any]) -> str:
    return yaml.dump(dict(variables), Dumper=_Dumper, width=_WIDTH, allow_unicode=True)


def _public(path: Path, content: str, once: bool = False) -> File | None:
    before = _read(path)
    if before == content or (once and before is not None):
        return None
    return File(path, before, content, content)


def _secret(path: Path, secrets: Mapping[str, str], vault: Vault) -> File | None:
    """The file with the secrets. Encrypted anew, it would be another one each time."""
    content = _HEADER + _dumped(secrets)
    before = _read(path)
    if before is not None and vault.decrypt(before) == content:
        return None
    shown = None if before is None else "(another content, or encrypted with another password)\n"
    return File(path, shown, "".join(_hidden(secrets)), vault.encrypt(content))


def _hidden(secrets: Mapping[str, str]) -> Iterator[str]:
    for name in secrets:
        yield f"{name}: (encrypted)\n"


def _read(path: Path) -> str | None:
    try:
        content = secret_files.read_file(str(path))
    except OSError as error:
        raise TunnelError(
            str(path), f"cannot be read: {error.strerror}", "Move it away, or make it yours"
        ) from None
    return None if content is None else content.decode("utf-8", "replace")


def write(root: Path, files: list[File]) -> None:
    """Writes the files, each at once: a reader sees the old one or the new one.

    :raises TunnelError: if one cannot be written; the next run completes the others.
    """
    try:
        for file in files:
            for directory in (root, *reversed(file.path.relative_to(root).parents[:-1])):
                (root / directory).mkdir(0o700, exist_ok=True)
            attributes = secret_files.private_attributes()
            secret_files.write_file(str(file.path), file.content.encode(), attributes)
    except OSError as error:
        raise TunnelError(
            str(error.filename or SUBJECT),
            f"cannot be written: {error.strerror or error}",
            "Make room, or give this user the right to write there, and run it again",
        ) from None
