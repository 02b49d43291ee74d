# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The work of module file_set: files, directories, links and absences, and users to own them."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import at_rest, secret_files
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import unit_secrets

SYSUSERS = "/etc/sysusers.d"
_SECONDS = 900
"""For systemd-sysusers, which asks a directory service where the host has one."""
_KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}


@dataclass(frozen=True)
class _Found:
    """The entry at a path. ``content`` of a file, or the target of a link."""

    kind: str  # file, directory, link, other, absent
    status: os.stat_result | None = None
    content: bytes = b""
    encryption: str = at_rest.NONE


_NO_ATTRIBUTES = secret_files.Attributes(None, None, 0)


@dataclass(frozen=True)
class _Entry:
    """One wanted entry, checked."""

    path: str
    kind: str
    content: bytes = b""
    secret: bool = False
    encryption: str = at_rest.NONE
    target: str = ""
    only_empty: bool = False
    backup: bool = False
    attributes: secret_files.Attributes = _NO_ATTRIBUTES


def ensure_users(declared: Mapping[str, str], check_mode: bool) -> dict[str, Any]:
    """Declares users and groups and has systemd make those that are missing; the module's result.

    :param declared: name of a file of sysusers.d(5), without its suffix, to its content.
    :raises TunnelError: if a file cannot be written, or systemd-sysusers(8) fails.
    """
    paths = {name: os.path.join(SYSUSERS, f"{name}.conf") for name in declared}
    common = {"target": None, "secret_content": None, "owner": "root", "group": "root"}
    directory = {**common, "path": SYSUSERS, "state": "directory", "mode": "0755"}
    files = [
        {**common, "path": paths[name], "state": "file", "content": content, "mode": "0644"}
        for name, content in declared.items()
    ]
    result = ensure_entries([directory, *files], check_mode)
    if not check_mode:
        _make_users(list(paths.values()))
    return {**result, "changed": True}


def _make_users(paths: list[str]) -> None:
    try:
        done = subprocess.run(  # noqa: S603
            ["systemd-sysusers", *paths],  # noqa: S607
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
        why = done.stderr.strip() or f"status {done.returncode}" if done.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        why = str(error)
    if why:
        raise TunnelError(
            " ".join(paths),
            f"systemd-sysusers cannot make the users: {why}",
            "Run it on the host by hand, mend the reason that it gives, and run this again",
        )


def ensure_entries(wanted: list[dict[str, Any]], check_mode: bool) -> dict[str, Any]:
    """Brings the entries to their state, in order, and returns the module's result.

    :raises TunnelError: if an entry is wrong or stands in the way; then nothing was written.
    """
    entries = [_read_entry(entry, check_mode) for entry in wanted]
    _refuse_duplicates(entries)
    for entry in entries:
        _refuse_obstacle(entry, _find(entry))
    if not check_mode:
        _refuse_missing_parents(entries)
        files = [entry for entry in entries if entry.kind in ("file", "absent")]
        pending = {each.path: each.content if each.kind == "file" else None for each in files}
        unit_secrets.keep_former(pending, pending)

    changed_paths = []
    gone: set[str] = set()
    diffs: list[dict[str, Any]] = []
    for entry in entries:
        found = _revealed(entry, _find(entry))
        for leftover in secret_files.leftovers(entry.path):
            if not check_mode:
                secret_files.remove_file(leftover)
        if _is_as_wanted(entry, found, gone):
            continue
        changed_paths.append(entry.path)
        if entry.kind == "absent":
            gone.add(entry.path)
        diffs += _diff(entry, found)
        if not check_mode:
            _apply(entry, found)
    return {"changed": bool(changed_paths), "changed_paths": changed_paths, "diff": diffs}


def _read_entry(entry: dict[str, Any], check_mode: bool) -> _Entry:
    path = secret_files.absolute_path(entry["path"])
    kind = entry["state"]
    if kind in ("link", "absent"):
        only_empty = kind == "absent" and bool(entry.get("only_empty"))
        backup = kind == "link" and bool(entry.get("backup"))
        return _Entry(
            path, kind, target=entry["target"] or "", only_empty=only_empty, backup=backup
        )
    attributes = secret_files.Attributes(
        secret_files.resolve_account("user", entry["owner"], check_mode, path),
        secret_files.resolve_account("group", entry["group"], check_mode, path),
        secret_files.parse_mode(entry["mode"], path),
    )
    if kind == "directory":
        return _Entry(path, kind, attributes=attributes)
    secret = entry["secret_content"] is not None
    content = entry["secret_content"] if secret else entry["content"]
    encryption = (entry.get("encryption") if secret else None) or at_rest.NONE
    return _Entry(path, kind, content.encode(), secret, encryption, attributes=attributes)


def _refuse_duplicates(entries: list[_Entry]) -> None:
    seen = set()
    for entry in entries:
        if entry.path in seen:
            raise TunnelError(entry.path, "is listed twice", "Remove one of the entries")
        seen.add(entry.path)


def _find(entry: _Entry) -> _Found:
    status = secret_files.lstat(entry.path)
    if status is None:
        return _Found("absent")
    kind = _KINDS.get(stat.S_IFMT(status.st_mode), "other")
    content = b""
    if kind == "file" and entry.kind == "file":
        content = secret_files.read_file(entry.path) or b""
    elif kind == "link":
        content = os.fsencode(os.readlink(entry.path))
    return _Found(kind, status, content)


def _revealed(entry: _Entry, found: _Found) -> _Found:
    """With the secret of its file; with nothing if it cannot be decrypted: then it is replaced."""
    encryption = at_rest.form_of(found.content) if entry.secret else at_rest.NONE
    if encryption == at_rest.NONE:
        return found
    try:
        content = at_rest.reveal(found.content, at_rest.name_of(entry.path), entry.path)
    except TunnelError:
        content = b""
    return replace(found, content=content, encryption=encryption)


def _refuse_obstacle(entry: _Entry, found: _Found) -> None:
    """Only a file or link makes way for a file, only a link for a link."""
    makes_way = {
        "file": ("absent", "file", "link"),
        "directory": ("absent", "directory"),
        "link": ("absent", "link"),
        "absent": ("absent", "file", "link", "directory"),
    }
    if found.kind not in makes_way[entry.kind] and not (entry.only_empty or entry.backup):
        what = "a special file" if found.kind == "other" else f"a {found.kind}"
        verb = "be removed" if entry.kind == "absent" else f"become a {entry.kind}"
        raise TunnelError(entry.path, f"is {what} and shall {verb}", "Move it away first")


def _refuse_missing_parents(entries: list[_Entry]) -> None:
    made = set()
    for entry in entries:
        parent = os.path.dirname(entry.path)
        if entry.kind != "absent" and parent not in made and not os.path.isdir(parent):
            raise TunnelError(
                entry.path,
                f"its directory {parent} does not exist",
                "Add an entry for that directory before this one",
            )
        if entry.kind == "directory":
            made.add(entry.path)


def _is_as_wanted(entry: _Entry, found: _Found, gone: set[str]) -> bool:
    if entry.only_empty:
        return not _is_empty(entry, found, gone)
    if entry.kind != found.kind:
        return False
    if entry.kind == "link":
        return found.content == os.fsencode(entry.target)
    if entry.kind == "absent":
        return True
    return _has_content(entry, found) and _has_attributes(entry, found)


def _is_empty(entry: _Entry, found: _Found, gone: set[str]) -> bool:
    """Whether this is a directory of ours with nothing in it, and nothing mounted on it.

    In check mode, entries that earlier ones would have removed are still there.
    """
    if found.kind != "directory" or found.status is None or found.status.st_uid != os.geteuid():
        return False
    left = {os.path.join(entry.path, name) for name in os.listdir(entry.path)}
    return not os.path.ismount(entry.path) and left <= gone


def _has_content(entry: _Entry, found: _Found) -> bool:
    return found.content == entry.content and found.encryption == entry.encryption


def _has_attributes(entry: _Entry, found: _Found) -> bool:
    return found.status is not None and entry.attributes.match(found.status)


def _apply(entry: _Entry, found: _Found) -> None:
    if entry.kind == "absent":
        if entry.only_empty:
            _remove_empty(entry.path)
        elif found.kind == "directory":
            shutil.rmtree(entry.path)
        else:
            secret_files.remove_file(entry.path)
        secret_files.sync_directory(os.path.dirname(entry.path))
    elif entry.kind == "link":
        if entry.backup and found.kind not in ("absent", "link"):
            secret_files.rename(entry.path, _free_name(entry.path))
        secret_files.replace_link(entry.path, entry.target)
    elif entry.kind == found.kind and _has_content(entry, found):
        secret_files.set_attributes(entry.path, entry.attributes)
    elif entry.kind == "directory":
        secret_files.make_directory(entry.path, entry.attributes)
    else:
        at_rest.write_secret(entry.path, entry.content, entry.attributes, entry.encryption)


def _free_name(path: str) -> str:
    """A name beside it, as those of numbered backups of mv(1)."""
    names = (f"{path}.~{number}~" for number in itertools.count(1))
    return next(name for name in names if secret_files.lstat(name) is None)


def _remove_empty(path: str) -> None:
    """Removes a directory, unless somebody has put something into it meanwhile."""
    try:
        os.rmdir(path)
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise


def _diff(entry: _Entry, found: _Found) -> list[dict[str, Any]]:
    """Diffs of one changed entry: its content when that is public, its other facts always."""
    header = {"before_header": entry.path, "after_header": entry.path}
    diffs: list[dict[str, Any]] = []
    if entry.kind == "file" and not entry.secret and found.content != entry.content:
        before = found.content if found.kind == "file" else b""
        texts = {"before": before.decode("utf-8", "replace"), "after": entry.content.decode()}
        diffs.append({**header, **texts})
    before_facts = _found_facts(found)
    after_facts = _entry_facts(entry)
    if entry.secret and (found.kind != "file" or found.content != entry.content):
        if found.kind == "file":
            before_facts["content"] = "secret, not shown"
        after_facts["content"] = "another secret, not shown"
    if found.encryption != entry.encryption:
        before_facts["encryption"], after_facts["encryption"] = found.encryption, entry.encryption
    if before_facts != after_facts:
        diffs.append({**header, "before": before_facts, "after": after_facts})
    return diffs


def _found_facts(found: _Found) -> dict[str, Any]:
    facts: dict[str, Any] = {"state": found.kind}
    if found.kind == "link":
        facts["target"] = os.fsdecode(found.content)
    elif found.status:
        facts["owner"] = found.status.st_uid
        facts["group"] = found.status.st_gid
        facts["mode"] = f"{stat.S_IMODE(found.status.st_mode):04o}"
    return facts


def _entry_facts(entry: _Entry) -> dict[str, Any]:
    facts: dict[str, Any] = {"state": entry.kind}
    if entry.kind == "link":
        facts["target"] = entry.target
    elif entry.kind != "absent":
        facts["owner"] = "new" if entry.attributes.uid is None else entry.attributes.uid
        facts["group"] = "new" if entry.attributes.gid is None else entry.attributes.gid
        facts["mode"] = f"{entry.attributes.mode:04o}"
    return facts
