# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The unit files on the disk say in which form a secret is: in clear, or encrypted.

Units and secrets are written by different tasks, and put back by others: a run that ends in between
leaves a secret that its service cannot read. So secrets follow the units, never the other way.
Neither changes in one step with the other. So that a service can start at any moment, also after a
reboot, a drop-in names its secret in the former form until both have the new one.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Optional

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import at_rest, secret_files
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import drop_ins, systemd

UNITS = "/etc/systemd/system"
PLACES = ("/etc/mcp-tunnel/", "/var/lib/mcp-tunnel/")
"""Directories of our secrets; a file elsewhere is somebody else's, whatever its name."""
HANDED_OVER = "/run/credentials"
"""What systemd gave to each running service, by its unit (systemd.exec(5))."""
_INSTANCE = re.compile(r"@(?P<name>[^@/]+)\.service\.d/")
Contents = Mapping[str, Optional[bytes]]
_NOTHING: Contents = MappingProxyType({})
_FORMER = "20-former-secret.conf"  # after that of the instance: the last one has its way
_HEAD = """\
# Of the Ansible collection mcp_tunnels.stack, until the next run ends: a secret changes its form.
[Service]
"""
_READ_IN_CLEAR = "tls.key"  # by its services themselves, if systemd does not hand it over


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


def keep_former(files: Iterable[str], pending: Contents) -> None:
    """Lets services start until units and secrets are both in another form; :func:`fit` is next.

    :param files: units and their drop-ins; others are left out.
    :param pending: the contents that some of them are about to have; ``None`` for no file.
    :raises TunnelError: if systemd refuses.
    """
    kept = False
    for directory, paths in _by_unit(files).items():
        drop_in = os.path.join(directory, _FORMER)
        lines = _former_lines(paths, pending)
        # One that an interrupted run has left does its work.
        if not lines or secret_files.lstat(drop_in):
            continue
        for path in lines:
            attributes = secret_files.attributes_of(os.lstat(path))
            content = secret_files.read_file(path) or b""
            secret_files.write_file(at_rest.former_path(path), content, attributes)
        os.makedirs(directory, 0o755, exist_ok=True)
        attributes = secret_files.Attributes(os.geteuid(), os.getegid(), 0o644)
        content = (_HEAD + "".join(lines.values())).encode()
        secret_files.write_file(drop_in, content, attributes)
        kept = True
    if kept:
        systemd.systemctl("daemon-reload")


def _former_lines(paths: list[str], pending: Contents) -> dict[str, str]:
    """The secrets that a unit is about to read in another form, and its lines for the present one.

    :param paths: the unit's files, the one that is its own last.
    """
    is_there = all(map(_is_file, paths)) and pending.get(paths[-1], b"") is not None
    if not is_there:
        return {}
    before, after = _named_by(paths, _NOTHING), _named_by(paths, pending)
    left = [path for path in before if at_rest.name_of(path) == _READ_IN_CLEAR]
    lines = {}
    for path, is_encrypted in {**dict.fromkeys(left, False), **after}.items():
        content = secret_files.read_file(path) if _is_file(path) else None
        if content and (at_rest.form_of(content) != at_rest.NONE) != is_encrypted:
            setting = drop_ins.CREDENTIALS[not is_encrypted]
            former = at_rest.former_path(path)
            lines[path] = f"{setting}={at_rest.name_of(path)}:{former}\n"
    return lines


def _is_file(path: str) -> bool:
    return os.path.isfile(path) and not os.path.islink(path)


def drop_former(files: Iterable[str]) -> None:
    """Ends what :func:`keep_former` has begun, once :func:`fit` is done.

    :param files: as for :func:`fit`.
    :raises TunnelError: if systemd refuses.
    """
    paths = list(files)
    ends = False
    for directory in filter(os.path.isdir, _by_unit(paths)):
        drop_in = os.path.join(directory, _FORMER)
        for each in (drop_in, *secret_files.leftovers(drop_in)):
            ends |= secret_files.remove_file(each)
        with contextlib.suppress(OSError):
            os.rmdir(directory)  # that of a unit which has no other
    if ends:
        systemd.systemctl("daemon-reload")
    # Not before: until then, the units that systemd knows name them.
    instance = next((name for name in map(_instance_of, paths) if name), "")
    secrets = [path for path in paths if _is_ours(path)]
    for path in (*secrets, os.path.join(PLACES[1], instance, "ca.key")):
        former = at_rest.former_path(path)
        for each in (former, *secret_files.leftovers(former)):
            secret_files.remove_file(each)


def drop_lost_former(key: str) -> bool:
    """Ends what an interrupted run has begun for a signer whose former key is lost; whether it did.

    Its state directory was lost with all in it, and is back with the key that its unit names.

    :param key: the file of the CA's key.
    :raises TunnelError: if systemd refuses.
    """
    unit = _signer_of(key)
    drop_in = os.path.join(f"{unit}.d", _FORMER)
    if not os.path.lexists(drop_in) or os.path.lexists(at_rest.former_path(key)):
        return False
    drop_former([unit])
    return True


def stale_key(unit: str, files: Iterable[str]) -> list[str]:
    """Why a service would never read the file of its key again; empty if it would.

    One that was started while its key changed form was given it. A run that then goes back to
    clear leaves the files as they were before, and the service prefers what it was given.

    :param unit: the running unit's name.
    :param files: its own files and its drop-ins; others are left out.
    """
    named = _named_by(_units(list(files)), _NOTHING)
    given = os.path.lexists(os.path.join(HANDED_OVER, unit, _READ_IN_CLEAR))
    is_named = _READ_IN_CLEAR in map(at_rest.name_of, named)
    return ["it was given its key while that changed its form"] if given and not is_named else []


def form_for(path: str, wanted: str) -> str:
    """The form for a secret of a state directory whose signer may have a unit here already.

    :param path: the secret's file; of all of them, the signer's unit names the CA's key.
    :param wanted: one of at_rest.FORMS, which it gets where that unit can read it.
    """
    is_encrypted = _named_by([_signer_of(path)], _NOTHING).get(path)
    if is_encrypted is None or is_encrypted == (wanted != at_rest.NONE):
        return wanted
    if not is_encrypted:
        return at_rest.NONE
    present = at_rest.form_of(secret_files.read_file(path) or b"")
    return at_rest.HOST if present == at_rest.NONE else present


def _signer_of(key: str) -> str:
    """The unit of the signer that reads the CA's key in this file."""
    instance = os.path.basename(os.path.dirname(key))
    return os.path.join(UNITS, f"mcp-tunnel-signing-{instance}@.service")


def _units(paths: list[str]) -> list[str]:
    """The units among these files, then their drop-ins, which have the last word."""
    units = [path for path in paths if path.endswith(".service")]
    return units + [path for path in paths if os.path.dirname(path).endswith(".service.d")]


def _by_unit(files: Iterable[str]) -> dict[str, list[str]]:
    """The directory of a unit's drop-ins → its files among these: a template, then its own."""
    paths = list(files)
    units = [path for path in paths if path.endswith(".service")]
    found: dict[str, list[str]] = {}
    for path in paths:
        directory = os.path.dirname(path)
        if directory.endswith(".service.d"):
            template = _INSTANCE.sub("@.service", f"{directory}/")
            found.setdefault(directory, [unit for unit in units if unit == template]).append(path)
    templates = {path for each in found.values() for path in each}
    return {**found, **{f"{unit}.d": [unit] for unit in units if unit not in templates}}


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
