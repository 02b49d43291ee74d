# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The unit files on the disk say in which form a secret is: in clear, or encrypted.

Units and secrets are written by different tasks, and put back by others: a run that ends in between
leaves a secret that its service cannot read. So secrets follow the units, never the other way.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Optional

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import at_rest, secret_files
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import drop_ins

UNITS = "/etc/systemd/system"
PLACES = ("/etc/mcp-tunnel/", "/var/lib/mcp-tunnel/")
"""Directories of our secrets; a file elsewhere is somebody else's, whatever its name."""
_INSTANCE = re.compile(r"@(?P<name>[^@/]+)\.service\.d/")
Contents = Mapping[str, Optional[bytes]]
_NOTHING: Contents = MappingProxyType({})


def fit(files: Iterable[str], check_mode: bool, pending: Contents = _NOTHING) -> dict[str, str]:
    """Brings each secret to the form in which its unit reads it; returns path to action.

    :param files: those of the services of one instance: their units and drop-ins, and secrets. A
        secret that no line names is read by its service itself, so in clear.
    :param pending: in check mode, contents that files would have by then; ``None`` without a file.
    :raises TunnelError: if one cannot be decrypted here (then nothing was changed), or encrypted.
    """
    paths = list(files)
    named = {path: False for path in paths if _is_ours(path)}
    named.update(_named_by(_units(paths), pending))
    named.update(_without_signer(paths, named))
    wanted = {other: named[path] for path in named for other in (*_beside(path), path)}
    found = {path: pending.get(path, secret_files.read_file(path)) for path in wanted}
    forms = {path: at_rest.form_of(content) for path, content in found.items() if content}
    # The others say by which key; without any, the host's is always there.
    key = next((form for form in forms.values() if form != at_rest.NONE), at_rest.HOST)
    others = {
        path: key if wanted[path] else at_rest.NONE
        for path, form in sorted(forms.items())
        if wanted[path] != (form != at_rest.NONE)
    }
    if not check_mode:
        at_rest.convert_files(others, check_mode)
    return {path: _action(path, form) for path, form in others.items()}


def form_for(path: str, wanted: str) -> str:
    """The form for a secret of a state directory whose signer may have a unit here already.

    :param path: the file of the CA's key.
    :param wanted: one of at_rest.FORMS, which it gets where that unit can read it.
    """
    instance = os.path.basename(os.path.dirname(path))
    unit = os.path.join(UNITS, f"mcp-tunnel-signing-{instance}@.service")
    is_encrypted = _named_by([unit], _NOTHING).get(path)
    if is_encrypted is None or is_encrypted == (wanted != at_rest.NONE):
        return wanted
    if not is_encrypted:
        return at_rest.NONE
    present = at_rest.form_of(secret_files.read_file(path) or b"")
    return at_rest.HOST if present == at_rest.NONE else present


def _units(paths: list[str]) -> list[str]:
    """The units among these files, then their drop-ins, which have the last word."""
    units = [path for path in paths if path.endswith(".service")]
    return units + [path for path in paths if os.path.dirname(path).endswith(".service.d")]


def _is_ours(path: str) -> bool:
    return path.startswith(PLACES) and at_rest.is_secret(path)


def _named_by(files: list[str], pending: Contents) -> dict[str, bool]:
    """The secrets that lines of these files name, and whether as encrypted."""
    instances = (_instance_of(path) for path in files)
    instance = next((name for name in instances if name), "")
    found = {}
    for path in files:
        content = pending.get(path, secret_files.read_file(path)) or b""
        for setting, value in drop_ins.assignments(content.decode("utf-8", "replace")):
            name, _colon, file = value.replace("%i", instance).partition(":")
            if setting in drop_ins.CREDENTIALS and _is_ours(file) and name == at_rest.name_of(file):
                found[file] = setting != drop_ins.CREDENTIAL
    return found


def _without_signer(paths: list[str], named: Mapping[str, bool]) -> dict[str, bool]:
    """The CA's key of an instance whose signer has no unit: it is in the form of the others."""
    instance = next((name for name in map(_instance_of, paths) if name), "")
    key = os.path.join(PLACES[1], instance, "ca.key")
    return {key: any(named.values())} if instance and named and key not in named else {}


def _instance_of(path: str) -> str:
    match = _INSTANCE.search(path)
    return match["name"] if match else ""


def _beside(path: str) -> list[str]:
    """The secrets that may take this one's place: the keys of a rotation, say."""
    directory = os.path.dirname(path)
    names = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
    paths = [os.path.join(directory, name) for name in names if at_rest.is_secret(name)]
    return [other for other in paths if at_rest.name_of(other) == at_rest.name_of(path)]


def _action(path: str, form: str) -> str:
    return f"{path} {'decrypted' if form == at_rest.NONE else 'encrypted'}, as its unit reads it"
