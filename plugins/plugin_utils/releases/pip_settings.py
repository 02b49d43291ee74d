# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operator's pip settings that an assembly uses: the sources of packages, and the way there.

Other settings say where pip installs for that operator (``user``, ``require-virtualenv``,
``prefix``), or what (``no-binary``, ``constraint``, ``dry-run``). They are for somebody's
environment, not for a release.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
from collections.abc import Mapping

# The options of pip that concern indexes, the network and the cache.
_KEPT = {
    *("index-url", "extra-index-url", "no-index", "find-links", "pypi-url"),
    *("trusted-host", "cert", "client-cert", "proxy", "timeout", "default-timeout", "retries"),
    *("resume-retries", "keyring-provider", "cache-dir", "no-cache-dir", "use-feature"),
    *("use-deprecated", "no-input"),
}
# In pip's order: a later one replaces an earlier one.
_SECTIONS = ("global", "install", ":env:")
_LINE = re.compile(r"(global|install|:env:)\.([a-z-]+)=(.+)")


def environment(python: str) -> dict[str, str]:
    """The environment for pip of the interpreter *python*: its settings, as far as they are used.

    They replace the settings of its files, none of which is read any more, and of its own
    environment.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    # Otherwise, `-m` would take a pip from the directory in which Ansible was started.
    kept["PYTHONSAFEPATH"] = "1"
    asked = subprocess.run(  # noqa: S603
        [python, "-m", "pip", "config", "list"],
        capture_output=True,
        text=True,
        check=False,
        # A pip that is set to be quiet lists nothing.
        env={**os.environ, "PYTHONSAFEPATH": "1", "PIP_QUIET": "0"},
    )
    if asked.returncode:
        # Without pip nothing will be installed: the installation says why.
        return kept
    return {**kept, **_variables(used(asked.stdout)), "PIP_CONFIG_FILE": os.devnull}


def used(listing: str) -> dict[str, str]:
    """The settings in the output of ``pip config list`` that an assembly uses."""
    sections: dict[str, dict[str, str]] = {section: {} for section in _SECTIONS}
    for line in listing.splitlines():
        found = _LINE.fullmatch(line.strip())
        if found and found.group(2) in _KEPT:
            sections[found.group(1)][found.group(2)] = _text(found.group(3))
    merged: dict[str, str] = {}
    for section in _SECTIONS:
        merged.update(sections[section])
    return merged


def _text(shown: str) -> str:
    """A value as pip shows it, which is as Python shows it."""
    try:
        return str(ast.literal_eval(shown))
    except (ValueError, SyntaxError):
        return shown


def _variables(settings: Mapping[str, str]) -> dict[str, str]:
    """The settings as pip's variables; blanks separate several values of one."""
    return {
        f"PIP_{name.upper().replace('-', '_')}": " ".join(value.split())
        for name, value in settings.items()
    }
