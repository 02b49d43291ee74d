# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds out what a host is, and what it lacks to become a replica. Reads only."""

from __future__ import annotations

import contextlib
import os
import platform
import pwd
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import at_rest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.paths import PYTHON
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import drop_ins
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host.listeners import find_listener
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host.machine import machine
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host.resolvers import resolvers
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host_check import (
    firewall as firewall_host,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host_check import (
    program_control,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host_check import (
    tls_files as files_of_tls,
)

ARCHITECTURES = ("x86_64", "aarch64")
MINIMUM_SYSTEMD = 247  # LoadCredential=, ProtectProc=
MINIMUM_PYTHON = (3, 9)
MINIMUM_GLIBC = (2, 28)  # manylinux_2_28: the wheels of the proxy's release
# Oldest supported release of each distribution; RHEL stands for those that are ID_LIKE it, and for
# Oracle Linux, which says that it is like Fedora.
_IN_CLEAR = (
    f"{at_rest.VARIABLE}: is {{}}, and the secrets of this host stay in clear on its disk, because "
    "encryption {}."
)
DISTRIBUTIONS = {"debian": 11.0, "ubuntu": 22.04, "rhel": 9.0}


def architecture() -> str:
    """The machine as releases name it."""
    machine = platform.machine()
    return {"arm64": "aarch64", "amd64": "x86_64"}.get(machine, machine)


def distribution(os_release: str) -> tuple[str, str, str]:
    """Family (a key of DISTRIBUTIONS or ''), version and display name, from os-release(5) text."""
    fields = dict(re.findall(r"^([A-Z_]+)=[\"']?([^\"'\n]*)[\"']?$", os_release, re.MULTILINE))
    candidates = [fields.get("ID", ""), *fields.get("ID_LIKE", "").split()]
    family = next((name for name in candidates[:1] if name in DISTRIBUTIONS), "")
    if not family and (fields.get("ID") == "ol" or {"rhel", "centos"} & set(candidates)):
        family = "rhel"
    return family, fields.get("VERSION_ID", ""), fields.get("PRETTY_NAME") or candidates[0] or "?"


def python_version() -> str:
    """Full version of the host's own Python, '' if there is none."""
    if os.path.realpath(PYTHON) == os.path.realpath(sys.executable):
        return platform.python_version()
    return _output([PYTHON, "-c", "import platform; print(platform.python_version())"])


def systemd_version() -> int:
    """Major version of the running systemd, 0 if the host was not booted with it."""
    if not os.path.isdir("/run/systemd/system"):
        return 0
    found = re.match(r"systemd (\d+)", _output(["systemctl", "--version"]))
    return int(found.group(1)) if found else 0


def glibc_version() -> tuple[int, ...]:
    """Version of the C library, () if it is not glibc."""
    try:
        text = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except ValueError:
        return ()
    found = re.match(r"glibc (\d+)\.(\d+)", text)
    return tuple(int(part) for part in found.groups()) if found else ()


def cores() -> int:
    """The number of processors that services may use.

    Services inherit those of the service manager (CPUAffinity= in systemd-system.conf(5), or those
    of a container); the login of this task need not have the same. The proxy counts its own.
    """
    for process in (1, 0):
        with contextlib.suppress(OSError):
            return len(os.sched_getaffinity(process))
    return os.cpu_count() or 1


def warnings(encryption: str = at_rest.NONE) -> list[str]:
    """Warnings that the operator should see about a host that can become a replica.

    :param encryption: the wanted one of at_rest.CHOICES.
    """
    in_clear = at_rest.why_not(at_rest.HOST) if encryption == at_rest.AUTO else ""
    return [
        *filter(None, map(drop_ins.sandbox_warning, drop_ins.undoing())),
        *([_IN_CLEAR.format(encryption, in_clear)] if in_clear else []),
    ]


def existing_users(names: list[str]) -> list[str]:
    """Those of the given users that the host knows."""
    return [name for name in names if _has_user(name)]


def local_users(passwd: str) -> list[str]:
    """The users in passwd(5) text; those of a directory service are not among them."""
    return re.findall(r"^([^:#\s+-][^:\s]*):", passwd, re.MULTILINE)


def gather(
    ports: list[dict[str, Any]],
    files: list[dict[str, Any]],
    users: list[str],
    firewall: dict[str, Any] | None,
    encryption: str = at_rest.NONE,
    tls_files: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """The host's facts. All of the parameters are of the host's variables.

    :raises TunnelError: with every reason for which the host cannot become a replica.
    """
    family, version, name = distribution(_read("/etc/os-release"))
    facts: dict[str, Any] = {
        "machine": machine(),
        "architecture": architecture(),
        "distribution": family,
        "python_version": python_version(),
        "systemd_version": systemd_version(),
        "cores": cores(),
        "resolvers": resolvers(_read("/etc/resolv.conf")),
        "users": existing_users(users),
    }
    form, refusals = _form(encryption)
    problems = [
        *unsupported(facts, version, name, glibc_version()),
        *filter(None, (_taken(port) for port in ports)),
        *(
            str(drop_ins.credential_problem(undone)).rstrip(".")
            for undone in drop_ins.undoing()
            if undone.takes_the_token
        ),
        *filter(None, [program_control.problem(_is_active)]),
        *refusals,
        *(
            f"{file['variable']}: {file['path']} does not exist on the host. {file['remedy']}"
            for file in files
            if not os.path.isfile(file["path"])
        ),
        *files_of_tls.problems(tls_files),
    ]
    if firewall:
        accounts = local_users(_read("/etc/passwd"))
        problems += firewall_host.problems(firewall, facts["resolvers"], accounts)
    if problems:
        count = f"{len(problems)} problems" if len(problems) > 1 else "1 problem"
        raise TunnelError(
            platform.node(), f"{count}:\n- " + "\n- ".join(problems) + "\n", "Nothing was changed"
        )
    return {**facts, "encryption": form}


def _form(encryption: str) -> tuple[str, list[str]]:
    """How the host keeps its secrets, and the reason why it cannot as the variables say."""
    try:
        return at_rest.resolve(encryption), []
    except TunnelError as error:
        return at_rest.NONE, [str(error).rstrip(".")]


def unsupported(
    facts: dict[str, Any], version: str, name: str, glibc: tuple[int, ...]
) -> list[str]:
    """The things that the operating system lacks, each with the remedy."""
    problems = []
    oldest = DISTRIBUTIONS.get(facts["distribution"])
    if oldest is None or _number(version) < oldest:
        problems.append(
            f"operating system: {name} is not supported. Use Debian 11, Ubuntu 22.04, RHEL 9 or "
            "one of its rebuilds, or a later release of these"
        )
    if facts["architecture"] not in ARCHITECTURES:
        problems.append(
            f"architecture: {facts['architecture']} is not supported. Use a host with one of "
            f"{', '.join(ARCHITECTURES)}"
        )
    if facts["systemd_version"] < MINIMUM_SYSTEMD:
        running = facts["systemd_version"] or "none"
        problems.append(
            f"systemd: {MINIMUM_SYSTEMD} or later is needed, running is {running}. Upgrade the "
            "operating system, or use a host that boots with systemd"
        )
    python = tuple(int(part) for part in re.findall(r"\d+", facts["python_version"])[:2])
    if python < MINIMUM_PYTHON:
        problems.append(
            f"{PYTHON}: Python {'.'.join(map(str, MINIMUM_PYTHON))} or later is needed, found is "
            f"{facts['python_version'] or 'none'}. Install the distribution's python3"
        )
    if glibc < MINIMUM_GLIBC:
        problems.append(
            f"C library: glibc {'.'.join(map(str, MINIMUM_GLIBC))} or later is needed, found is "
            f"{'.'.join(map(str, glibc)) or 'another one'}. Use a supported operating system"
        )
    return problems


def _taken(port: dict[str, Any]) -> str:
    """Why the port cannot be used by its unit, '' if it can."""
    owner = find_listener(port["port"])
    if owner is None or owner.unit == port["unit"]:
        return ""
    if owner.pid == 1 and _is_socket_of(port["unit"], port["port"]):
        return ""
    return (
        f"{port['variable']}: port {port['port']} is already used by {owner}. Stop that program, "
        f"or "
        f"give {port['variable']} another port"
    )


def _is_active(unit: str) -> bool:
    return _output(["systemctl", "is-active", unit]) == "active"


def _is_socket_of(unit: str, port: int) -> bool:
    """Whether systemd itself listens on *port* on behalf of *unit*."""
    socket = f"{unit.rpartition('.')[0]}.socket"
    text = _output(["systemctl", "show", "--property=Listen", socket])
    return f":{port} (" in text


def _has_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _number(version: str) -> float:
    found = re.match(r"\d+(\.\d+)?", version)
    # Debian testing and unstable have no VERSION_ID: they are newer than any release.
    return float(found.group()) if found else float("inf")


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except OSError:
        return ""
    return done.stdout.strip()
