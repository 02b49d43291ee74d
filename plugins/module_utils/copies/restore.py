# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts the state of a copy into its directory: all of it in one step, or nothing."""

from __future__ import annotations

import os
import shutil
import time
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.copies.state import (
    RECORD,
    State,
    read_state,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import at_rest, secret_files
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import unit_secrets

_UNFINISHED = ".{name}.restoring"
"""Beside the state directory, where a killed run may leave it; the next one makes it anew."""


def restore(
    path: str, wanted: State, made_at: str, check_mode: bool, encryption: str = at_rest.NONE
) -> dict[str, Any]:
    """Makes the state directory hold *wanted*; returns the module's result.

    :param made_at: when the copy was made, for errors.
    :param encryption: one of at_rest.FORMS, for the secrets of a state that is put back. One that
        a unit of the host reads already gets the form in which that unit reads it.
    :raises TunnelError: if another state is there. Nothing is changed then.
    """
    path = secret_files.absolute_path(path)
    present = read_state(path)
    if present.files:
        _refuse_another(path, present, wanted, made_at)
    else:
        _refuse_what_would_be_lost(path)
        if not check_mode:
            _put(path, wanted, encryption)
    dropped = not check_mode and unit_secrets.drop_lost_former(os.path.join(path, "ca.key"))
    names = sorted(wanted.files)
    before = names if present.files else []
    changed = dropped or not present.files
    return {"changed": changed, "diff": {"before": {"files": before}, "after": {"files": names}}}


def _refuse_another(path: str, present: State, wanted: State, made_at: str) -> None:
    names = present.differences(wanted)
    if not names:
        return
    changed = max(os.stat(os.path.join(path, name)).st_mtime for name in present.files)
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(changed))
    order = "after" if at > made_at else "before"
    raise TunnelError(
        path,
        f"has another state than the copy ({', '.join(names)} differ). It was changed at {at}, "
        f"{order} the copy was made at {made_at}",
        "Leave it, if it is right. Else move the directory away on that host, and run again",
    )


def _refuse_what_would_be_lost(path: str) -> None:
    """A directory without a state goes; not so one with anything that we have not made."""
    status = secret_files.lstat(path)
    if status is None:
        return
    if not os.path.isdir(path) or os.path.islink(path):
        raise TunnelError(path, "is not a directory", "Move it away")
    strange = sorted(name for name in os.listdir(path) if not _is_left_over(name))
    if strange:
        raise TunnelError(
            path,
            f"has no state, but {', '.join(strange[:5])}",
            "Move that away, and run again",
        )


def _is_left_over(name: str) -> bool:
    """Whether a file is the record of earlier copies, or half-written."""
    return name == RECORD or (name.startswith(".") and name.endswith(".mcp-tunnel"))


def _put(path: str, wanted: State, encryption: str) -> None:
    parent, name = os.path.split(path)
    unfinished = os.path.join(parent, _UNFINISHED.format(name=name))
    if os.path.lexists(unfinished):
        shutil.rmtree(unfinished)
    secret_files.make_private_directory(unfinished)
    for file, content in sorted(wanted.files.items()):
        form = at_rest.NONE
        if at_rest.is_secret(file):
            form = unit_secrets.form_for(os.path.join(path, file), encryption)
        whole = os.path.join(unfinished, file)
        at_rest.write_secret(whole, content, secret_files.private_attributes(), form)
    if os.path.isdir(path):
        shutil.rmtree(path)
    secret_files.rename(unfinished, path)
