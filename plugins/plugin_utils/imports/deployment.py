# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A deployment, from the files of Compose, of the setup component, and of Kubernetes."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.imports import compose, manifests
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.imports.files import Files
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.imports.pieces import (
    CONFIG,
    NAMES,
    Pieces,
)

#: Where the output of the setup component lies, and the operator's files in the manual guide.
_PLACES = ("data", "")
#: Where the configuration of the proxy lies.
_CONFIGS = ("config/mcp-proxy.yaml", "config/config.yaml", "mcp-proxy.yaml", CONFIG)
#: Of the chart: it has the routes too, but they are in the ConfigMap as the proxy gets them.
_UNREAD = ("values.yaml", "values.yml")
_MANIFESTS = (".yaml", ".yml", ".json")


@dataclass
class Deployment:
    """A deployment of the vendor's.

    Attributes:
        pieces: its parts.
        config: the document of its proxy's configuration.
        config_where: the place of that, for messages; empty if there is none.
        services: the names of its services, if it is one of Compose.
        namespaces: the namespaces of its Secrets, if it is one of Kubernetes.
        is_of_kubernetes: whether some of it comes from Kubernetes.
    """

    pieces: Pieces = field(default_factory=Pieces, repr=False)
    config: Mapping[str, Any] = field(default_factory=dict)
    config_where: str = ""
    services: list[str] = field(default_factory=list)
    namespaces: list[str] = field(default_factory=list)
    is_of_kubernetes: bool = False


def collect(files: Files) -> tuple[Deployment, list[TunnelError]]:
    """What the directory has of a deployment, and everything that cannot be read."""
    found = Deployment()
    problems: list[TunnelError] = []
    for take in (_take_parts, _take_compose, _take_manifests, _take_config):
        try:
            take(files, found)
        except TunnelError as error:
            problems.append(error)
    return found, problems + list(found.pieces.conflicts())


def upstream_ca(files: Files, path: str) -> str | None:
    """The content of a file that the configuration names by its path in the container.

    :raises TunnelError: if it cannot be read.
    """
    name = posixpath.basename(path)
    if name in ("", ".", ".."):
        return None
    texts = (files.text(posixpath.join(place, name)) for place in (*_PLACES, "config"))
    return next((text for text in texts if text is not None), None)


def _take_parts(files: Files, found: Deployment) -> None:
    for place in _PLACES:
        for name in NAMES:
            where = posixpath.join(place, name)
            text = files.text(where)
            if text is not None:
                found.pieces.add(name, where, text)


def _take_compose(files: Files, found: Deployment) -> None:
    text = files.text(compose.ENVIRONMENT)
    for name, value in compose.environment(text) if text else ():
        found.pieces.add(name, compose.ENVIRONMENT, value)
    for where in compose.FILES:
        text = files.text(where)
        if text is not None:
            found.services = compose.services(text, where)
            return


def _take_manifests(files: Files, found: Deployment) -> None:
    read_elsewhere = {*compose.FILES, *_CONFIGS, *_UNREAD}
    for name in files.names(_MANIFESTS):
        if name in read_elsewhere:
            continue
        for manifest in manifests.read(files.text(name) or "", name):
            found.is_of_kubernetes = True
            if manifest.namespace and manifest.namespace not in found.namespaces:
                found.namespaces.append(manifest.namespace)
            for key, text in manifest.data.items():
                found.pieces.add(key, manifest.where, text)


def _take_config(files: Files, found: Deployment) -> None:
    for name in _CONFIGS:
        text = files.text(name)
        if text is not None:
            found.pieces.add(CONFIG, name, text)
    config = found.pieces.get(CONFIG)
    if config is None:
        return
    found.config_where = config.where
    document, *others = manifests.documents(config.text, config.where) or [None]
    if others or not isinstance(document, Mapping):
        raise TunnelError(
            config.where, "is no map of fields", "Copy the configuration of the proxy again"
        )
    found.config = document
    domain = document.get("tunnel_domain")
    if isinstance(domain, str):
        found.pieces.add("tunnel-domain", f"{config.where}: tunnel_domain", domain)
