# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds others' drop-ins that undo settings of our service units (systemd.unit(5)).

Images of LXC and Incus have a generator that writes such a file for all services of a container.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError

# Where systemd looks for units and drop-ins, in order of precedence (systemd.unit(5)).
_DIRECTORIES = (
    "etc/systemd/system.control",
    "run/systemd/system.control",
    "run/systemd/transient",
    "run/systemd/generator.early",
    "etc/systemd/system",
    "run/systemd/system",
    "run/systemd/generator",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
    "run/systemd/generator.late",
)
# Of ours; by their names' beginning; of all services. Those of one instance come before.
_OF_CLOUDFLARED = ("mcp-cloudflared@.service.d", "mcp-.service.d", "service.d")
_OF_PROXY = ("mcp-proxy@.service.d", "mcp-.service.d", "service.d")
CREDENTIAL = "LoadCredential"
_ENCRYPTED = "LoadCredentialEncrypted"
CREDENTIALS = (CREDENTIAL, _ENCRYPTED)
# The settings with which our units confine the services; see the unit files of the roles.
SANDBOX = (
    *("CapabilityBoundingSet", "DevicePolicy", "InaccessiblePaths", "LockPersonality"),
    *("MemoryDenyWriteExecute", "NoExecPaths", "NoNewPrivileges", "PrivateDevices"),
    *("PrivateTmp", "PrivateUsers", "ProcSubset", "ProtectClock", "ProtectControlGroups"),
    *("ProtectHome", "ProtectHostname", "ProtectKernelLogs", "ProtectKernelModules"),
    *("ProtectKernelTunables", "ProtectProc", "ProtectSystem", "ReadOnlyPaths"),
    *("RestrictAddressFamilies", "RestrictNamespaces", "RestrictRealtime", "RestrictSUIDSGID"),
    *("SystemCallArchitectures", "SystemCallFilter", "TemporaryFileSystem"),
)
# Values that take a protection away. Capabilities are emptied to have none.
_UNDONE = ("", "no", "false", "off", "0", "default", "all", "auto")
_HARMLESS = {("CapabilityBoundingSet", ""), ("RestrictNamespaces", "all")}


@dataclass(frozen=True)
class Undone:
    """A drop-in, and the settings of ours that it takes away for good."""

    path: str
    settings: tuple[str, ...]

    @property
    def takes_the_token(self) -> bool:
        """Whether cloudflared is left without its credential, the tunnel token."""
        return f"{CREDENTIAL}=" in self.settings

    @property
    def sandbox(self) -> tuple[str, ...]:
        """Those that confine the services."""
        return tuple(item for item in self.settings if item != f"{CREDENTIAL}=")


def undoing(root: Path = Path("/")) -> list[Undone]:
    """The drop-ins that undo something of our units, which need not be there yet."""
    found: dict[str, set[str]] = {}
    for general in (_OF_CLOUDFLARED, _OF_PROXY):
        for directories in (general, *((own, *general) for own in _of_instances(root, general))):
            effective = _effective(root, directories)
            for undone in undone_by([str(effective[name]) for name in sorted(effective)]):
                # The proxy has no credential to lose.
                lost = undone.settings if general is _OF_CLOUDFLARED else undone.sandbox
                if lost:
                    found.setdefault(undone.path, set()).update(lost)
    return [
        Undone(f"/{Path(path).relative_to(root)}", tuple(sorted(settings)))
        for path, settings in found.items()
    ]


def undone_by(paths: list[str]) -> list[Undone]:
    """The drop-ins that have the last word, in the order in which systemd applies them."""
    last: dict[str, tuple[str, str]] = {}
    for path in paths:
        for name, value in assignments(_read(path)):
            # One list for systemd: each of the two gives a credential back, or empties it.
            last[CREDENTIAL if name == _ENCRYPTED else name] = (path, value)
    return [
        Undone(path, settings)
        for path in paths
        if (
            settings := tuple(
                f"{name}={value}"
                for name, (where, value) in last.items()
                if where == path and _takes_away(name, value.lower())
            )
        )
    ]


def credential_problem(undone: Undone) -> TunnelError:
    """The error for a drop-in that takes the token away."""
    parent = os.path.basename(os.path.dirname(undone.path))
    if parent.startswith("mcp-cloudflared@"):
        return TunnelError(
            undone.path,
            "empties LoadCredential=, so cloudflared has no tunnel token",
            "Take that line out of the file, run systemctl daemon-reload, and then the site "
            "playbook",
        )
    name = f"z{os.path.basename(undone.path)}"
    directory = "/etc/systemd/system/mcp-cloudflared@.service.d"
    return TunnelError(
        undone.path,
        "empties LoadCredential=, so cloudflared has no tunnel token. Images of LXC and Incus do "
        "so for all services of a container",
        "Let the container make mounts of its own (nesting: `security.nesting: true` of Incus, "
        f"`features: nesting=1` of Proxmox), and give this one unit its credential back, encrypted "
        "(LoadCredentialEncrypted=) where mcp_tunnel_encryption_at_rest says so: "
        f"mkdir -p {directory} && printf '[Service]\\nLoadCredential=tunnel-token:/etc/mcp-tunnel/"
        f"%%i/tunnel-token\\n' >{directory}/{name} && systemctl daemon-reload",
    )


def sandbox_warning(undone: Undone) -> str:
    """The warning about a drop-in that takes protection away; '' for one that does not."""
    if not undone.sandbox:
        return ""
    directory = "/etc/systemd/system/mcp-proxy@.service.d"
    return (
        f"{undone.path}: takes protection from the services of the tunnel: "
        f"{', '.join(undone.sandbox)}. Where the host allows these settings, hide the file from "
        f"their units: mkdir -p {directory} && ln -s /dev/null {directory}/"
        f"{os.path.basename(undone.path)}, and the same for mcp-cloudflared@.service.d."
    )


def _takes_away(name: str, value: str) -> bool:
    if name == CREDENTIAL:
        return not value
    return name in SANDBOX and value in _UNDONE and (name, value) not in _HARMLESS


def _of_instances(root: Path, general: tuple[str, ...]) -> list[str]:
    """The names of directories that belong to one instance of our unit only."""
    pattern = general[0].replace("@", "@?*")
    return sorted({path.name for place in _DIRECTORIES for path in (root / place).glob(pattern)})


def _effective(root: Path, directories: tuple[str, ...]) -> dict[str, Path]:
    """The drop-ins that systemd reads, by name; systemd applies them in the order of names.

    A file hides those of its name in later directories; so one of our unit hides that of all
    services.
    """
    found: dict[str, Path] = {}
    for directory in directories:
        for place in _DIRECTORIES:
            for path in sorted((root / place / directory).glob("*.conf")):
                found.setdefault(path.name, path)
    return found


def assignments(text: str) -> list[tuple[str, str]]:
    """Names and values below ``[Service]`` (systemd.syntax(7))."""
    section, found = "", []
    for line in re.sub(r"\\\n", " ", text).splitlines():
        stripped = line.strip()
        if stripped.startswith("["):
            section = stripped
        elif section == "[Service]" and stripped[:1] not in ("", "#", ";") and "=" in stripped:
            name, _equals, value = stripped.partition("=")
            found.append((name.strip(), value.strip().strip('"')))
    return found


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
