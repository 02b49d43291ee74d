# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gets files ready on the controller, once for all that need them, and says what it lacks."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller.cache import cache_root
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.places import (
    Artifact,
    Places,
)

_SECONDS = 60  # pip starts in less than one
_AT_ONCE = 4  # pip computes little, and waits for an index
_NAMED = 10
"""Hosts that an error names; of more, the number is given."""


@dataclass
class Wanted:
    """A file, and what needs it: names of hosts, for messages."""

    artifact: Artifact
    needed_by: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Failure:
    """A problem of this controller, and the names of hosts that do not get a file because of it."""

    error: TunnelError
    needed_by: list[str]


def get_ready(places: Places, wanted: Iterable[Wanted], python: str) -> list[Failure]:
    """Finds or makes each file; returns everything that this controller lacks, each once.

    :param python: Ansible's own interpreter on the controller.
    """
    left = list(wanted)
    failures = []
    absent = [item for item in left if not places.has(item.artifact)]
    elsewhere = [item for item in absent if not places.may_make(item.artifact)]
    if elsewhere:
        error = places.lack([item.artifact for item in elsewhere])
        failures.append(Failure(error, _names(elsewhere)))
    to_assemble = [item for item in absent if item.artifact.needs_pip and item not in elsewhere]
    left = [item for item in left if item not in elsewhere]
    if to_assemble and not _has_pip(python):
        names = _names(to_assemble)
        failures.append(Failure(_no_pip(python, names), names))
        left = [item for item in left if item not in to_assemble]
    return failures + _make(places, left)


def _make(places: Places, wanted: list[Wanted]) -> list[Failure]:
    """Takes each file from its place, several at a time; returns what went wrong."""

    def attempt(item: Wanted) -> TunnelError | None:
        try:
            with places.taken(item.artifact):
                return None
        except TunnelError as error:
            return error

    # A cache that cannot be written, or an index that cannot be reached, concerns all of them.
    alike: dict[tuple[str, str], list[tuple[str, Wanted]]] = {}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for item, error in zip(wanted, pool.map(attempt, wanted)):
            if error:
                alike.setdefault((error.problem, error.remedy), []).append((error.subject, item))
    return [
        Failure(
            TunnelError(" and ".join(dict(failed)), problem, remedy),
            _names([item for _subject, item in failed]),
        )
        for (problem, remedy), failed in alike.items()
    ]


def _names(wanted: Iterable[Wanted]) -> list[str]:
    return list(dict.fromkeys(name for item in wanted for name in item.needed_by))


def _has_pip(python: str) -> bool:
    command = [python, "-m", "pip", "--version"]
    # Run as later on: without a pip from the directory in which Ansible was started.
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    try:
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, check=False, env=environment, timeout=_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _no_pip(python: str, names: list[str]) -> TunnelError:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return TunnelError(
        f"pip on the controller, for {python}",
        f"is not installed, and assembles the proxy's release for "
        f"{', '.join(names[:_NAMED])}{more}",
        f"Install it: the package python3-pip, or in a virtual environment {python} -m "
        "ensurepip (uv: uv pip install pip). Without it, set mcp_tunnel_bundle to a bundle that "
        f"another controller has assembled, or copy that controller's cache, {cache_root()}",
    )
