# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A directory of Compose: its environment file, and the names of its services."""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError

#: In the order in which Compose looks for them.
FILES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
#: It merges these into the one that it has found.
OVERRIDES = tuple(name.replace(".y", ".override.y") for name in FILES)
ENVIRONMENT = ".env"
#: Variables of the vendor's guide, and the parts that they have.
PARTS = {
    "TUNNEL_TOKEN": "tunnel-token",
    "TUNNEL_ID": "tunnel-id",
    "TUNNEL_DOMAIN": "tunnel-domain",
}
_LINE = re.compile(rf"\s*(?:export\s+)?({'|'.join(PARTS)})\s*=(.*)")
_QUOTED = re.compile(r"(['\"])(.*)\1")
_SERVICE = re.compile(r"[a-zA-Z0-9._-]{1,64}")


def environment(text: str) -> Iterator[tuple[str, str]]:
    """The parts of a deployment in an environment file, with their content.

    :raises TunnelError: if a value is to be put together of others.
    """
    for line in text.splitlines():
        matched = _LINE.fullmatch(line)
        if not matched:
            continue
        name, value = matched[1], matched[2].strip()
        quoted = _QUOTED.fullmatch(value)
        value = quoted[2] if quoted else value.partition(" #")[0].strip()
        if "$" in value:
            raise TunnelError(
                f"{ENVIRONMENT}: {name}",
                "is put together of other variables",
                f"Write its value into the file {PARTS[name]}, and remove the line",
            )
        yield PARTS[name], value


def services(text: str, where: str) -> list[str]:
    """The names of the services of a Compose file.

    It may have aliases and tags, so nothing is made of its nodes.

    :raises TunnelError: if it is no YAML, or has no services.
    """
    try:
        top = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError):
        top = None
    for key, value in top.value if isinstance(top, yaml.MappingNode) else ():
        if key.value == "services" and isinstance(value, yaml.MappingNode):
            names = [name.value for name, _service in value.value]
            return [each for each in names if isinstance(each, str) and _SERVICE.fullmatch(each)]
    raise TunnelError(where, "has no services", "Copy the file of the deployment again")
