# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the ansible-core of this controller is one that the collection works with.

Ansible itself only warns about ``requires_ansible`` of meta/runtime.yml, and goes on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import yaml
from ansible.module_utils.compat.version import LooseVersion
from ansible.release import __version__
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError

_RELEASE = re.compile(r"[0-9]+(?:\.[0-9]+)*")
_RUNTIME = Path(__file__).resolve().parents[3] / "meta/runtime.yml"


def required() -> str:
    """The versions that meta/runtime.yml declares, like ``>=2.16.0``."""
    return str(yaml.safe_load(_RUNTIME.read_text(encoding="utf-8"))["requires_ansible"])


def _is_older(version: str, least: str) -> bool:
    """Whether a version, like ``2.16.0`` or ``2.16.0rc1``, comes before the release *least*."""
    found = _RELEASE.match(version)
    release = LooseVersion(found[0] if found else "0")
    is_early = found is not None and found.end() < len(version)
    return release < LooseVersion(least) or (release == LooseVersion(least) and is_early)


def check_core(version: str = __version__) -> Iterator[TunnelError]:
    """One problem, if this version of ansible-core is not one of the :func:`required` ones."""
    if _is_older(version, required().removeprefix(">=")):
        yield TunnelError(
            f"ansible-core {version}",
            f"is too old for mcp_tunnels.stack, which needs {required()}",
            "Install a newer one on the controller, for example with "
            "'python3 -m pip install --upgrade ansible-core' in its virtual environment; "
            "the hosts need nothing",
        )
