# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads a replica's own files: where its services listen, its domain and its routes.

The services run with the same files, so a host without a controller knows all of it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import secret_files
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.instances import (
    INSTANCE,
    check_instance,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica.drain import Mark
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica.health import Replica
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica.records import (
    RECORDS,
    Records,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica.releases import (
    ROOT,
    Releases,
)

CONFIGURATIONS = Path("/etc/mcp-tunnel")
_REMEDY = "Run the site playbook, which writes it anew"
_PORT = r"\S*?:([0-9]{1,5})"


def instances(root: Path = CONFIGURATIONS) -> list[str]:
    """The names of the instances that were deployed on this host, sorted."""
    try:
        found = [path for path in root.iterdir() if INSTANCE.fullmatch(path.name)]
    except FileNotFoundError:
        return []
    return sorted(path.name for path in found if path.is_dir())


def check_deployed(instance: str, root: Path = CONFIGURATIONS) -> str:
    """Returns the name of an instance.

    :raises TunnelError: if it is no such name, or there is no such instance on this host.
    """
    found = instances(root)
    if check_instance(instance) not in found:
        raise TunnelError(
            f"instance {instance!r}",
            "is not on this host",
            f"Here {'is' if len(found) == 1 else 'are'} {', '.join(found) or 'none'}",
        )
    return instance


def in_service(root: Path = CONFIGURATIONS) -> list[str]:
    """The names of the deployed instances whose replicas here are not drained, sorted."""
    return [name for name in instances(root) if Mark(name, root).read() is None]


def proxy_unit(instance: str) -> str:
    """The unit of the instance's proxy."""
    return f"mcp-proxy@{instance}.service"


def cloudflared_unit(instance: str) -> str:
    """The unit of the instance's connector."""
    return f"mcp-cloudflared@{instance}.service"


def admin_port(instance: str, root: Path = CONFIGURATIONS) -> int:
    """The loopback port of the proxy's health and metrics.

    :raises TunnelError: if the proxy's file does not say it.
    """
    return _port(root / instance / "proxy.yaml", rf"admin_addr: {_PORT}")


def listen_port(instance: str, root: Path = CONFIGURATIONS) -> int:
    """The loopback port of the proxy's listener.

    :raises TunnelError: if the proxy's file does not say it.
    """
    return _port(root / instance / "proxy.yaml", rf"listen_addr: {_PORT}")


def metrics_port(instance: str, root: Path = CONFIGURATIONS) -> int:
    """The loopback port of cloudflared's health and metrics.

    :raises TunnelError: if cloudflared's file does not say it.
    """
    return _port(root / instance / "cloudflared.env", rf"MCP_METRICS={_PORT}")


def domain(instance: str, root: Path = CONFIGURATIONS) -> str:
    """The tunnel's domain.

    :raises TunnelError: if the proxy's file cannot be read.
    """
    return str(_document(root / instance / "proxy.yaml").get("tunnel_domain", ""))


def drained(instance: str, root: Path = CONFIGURATIONS) -> str:
    """Since when the replica is drained, by whom and why; ``""`` if it is in service."""
    return str(Mark(instance, root).read() or "")


def replica(instance: str, root: Path = CONFIGURATIONS, releases: Path = ROOT) -> Replica:
    """The replica to examine.

    :raises TunnelError: if a file that describes it is missing, or cannot be read.
    """
    directory = root / instance
    document = _document(directory / "proxy.yaml")
    named = document.get("routes")
    found = {str(k): str(v) for k, v in named.items()} if isinstance(named, dict) else {}
    return Replica(
        proxy_unit=proxy_unit(instance),
        cloudflared_unit=cloudflared_unit(instance),
        listen_port=listen_port(instance, root),
        admin_port=admin_port(instance, root),
        metrics_port=metrics_port(instance, root),
        domain=str(document.get("tunnel_domain", "")),
        routes=found,
        route_options=_options(document.get("route_options"), list(found)),
        required_routes=_required(directory / "required-routes.json", list(found)),
        ca_certificate=text(directory / "ca.crt"),
        drained=drained(instance, root),
        returning=str(Mark(instance, root).returning() or ""),
        releases={
            unit: Releases(state["part"], releases).path(state["version"])
            for unit, state in Records(instance, RECORDS).load("applied").items()
        },
    )


def text(path: Path) -> str:
    """The content of a file.

    :raises TunnelError: if there is none.
    """
    content = secret_files.read_file(str(path))
    if content is None:
        raise TunnelError(str(path), "is not there", _REMEDY)
    return content.decode("utf-8", "replace")


def _port(path: Path, pattern: str) -> int:
    found = re.search(rf"(?m)^{pattern}\s*$", text(path))
    if not found:
        raise TunnelError(str(path), "names no port where it should", _REMEDY)
    return int(found[1])


def _document(path: Path) -> dict[str, Any]:
    # The proxy's release has it; the modules that use other parts of this file do not need it.
    import yaml

    try:
        document = yaml.safe_load(text(path))
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        line = f", line {place.line + 1}" if place else ""
        raise TunnelError(f"{path}{line}", "is no YAML", _REMEDY) from None
    if not isinstance(document, dict):
        raise TunnelError(str(path), "is no map", _REMEDY)
    return document


def _options(given: Any, names: list[str]) -> dict[str, dict[str, Any]]:
    """The options of each route that has some; the file may spell its name in another way."""
    if not isinstance(given, dict):
        return {}
    named = {_key(name): own for name, own in given.items() if isinstance(own, dict)}
    return {name: named[_key(name)] for name in names if _key(name) in named}


def _key(name: Any) -> str:
    text = str(name).lower()
    return text[:-1] if text.endswith(".") else text


def _required(path: Path, names: list[str]) -> list[str]:
    """The routes whose upstreams must answer: all, where the replica does not remember it."""
    content = secret_files.read_file(str(path))
    try:
        wanted = json.loads(content)["required_routes"] if content else names
    except (ValueError, KeyError, TypeError, RecursionError):
        return names
    return [name for name in names if name in wanted] if isinstance(wanted, list) else names
