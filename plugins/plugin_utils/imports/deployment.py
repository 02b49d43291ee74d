# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A deployment, from the files of Compose, of the setup component, and of Kubernetes."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
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
    takers = (_take_parts, _take_environment, _take_services, _take_manifests, _take_config)
    problems = [error for take in takers for error in take(files, found)]
    # A directory that cannot be read is reported once, not for each of its files.
    told = {str(error): error for error in problems}
    return found, [*told.values(), *found.pieces.conflicts()]


def upstream_ca(files: Files, path: str) -> str | None:
    """The content of a file that the configuration names by its path in the container.

    :raises TunnelError: if it cannot be read.
    """
    name = posixpath.basename(path)
    if name in ("", ".", ".."):
        return None
    texts = (files.text(posixpath.join(place, name)) for place in (*_PLACES, "config"))
    return next((text for text in texts if text is not None), None)


def _take_parts(files: Files, found: Deployment) -> Iterator[TunnelError]:
    for name, where in ((name, posixpath.join(place, name)) for place in _PLACES for name in NAMES):
        try:
            text = files.text(where)
        except TunnelError as error:
            found.pieces.broken.add(name)
            yield error
        else:
            found.pieces.add(name, where, text or "")


def _take_environment(files: Files, found: Deployment) -> Iterator[TunnelError]:
    try:
        for name, value in compose.environment(files.text(compose.ENVIRONMENT) or ""):
            found.pieces.add(name, compose.ENVIRONMENT, value)
    except TunnelError as error:
        found.pieces.broken.update(compose.PARTS.values())
        yield error


def _take_services(files: Files, found: Deployment) -> Iterator[TunnelError]:
    for names in (compose.FILES, compose.OVERRIDES):
        try:
            texts = ((where, files.text(where)) for where in names)
            where, text = next(
                ((where, text) for where, text in texts if text is not None), ("", "")
            )
            if where:
                found.services += compose.services(text, where)
        except TunnelError as error:
            yield error


def _take_manifests(files: Files, found: Deployment) -> Iterator[TunnelError]:
    try:
        names = files.names(_MANIFESTS)
    except TunnelError as error:
        found.pieces.broken.update((*NAMES, CONFIG))
        yield error
        return
    for name in names:
        if name in (*compose.FILES, *compose.OVERRIDES, *_CONFIGS, *_UNREAD):
            continue
        try:
            items = manifests.items(files.text(name) or "", name)
        except TunnelError as error:
            found.pieces.broken.update((*NAMES, CONFIG))
            yield error
            continue
        for item in items:
            yield from _take_manifest(item, name, found)


def _take_manifest(item: Mapping[str, Any], file: str, found: Deployment) -> Iterator[TunnelError]:
    try:
        manifest = manifests.read(item, file)
    except TunnelError as error:
        found.pieces.broken.update((*NAMES, CONFIG))
        yield error
        return
    if not manifest.data:
        return
    found.is_of_kubernetes = True
    if manifest.namespace and manifest.namespace not in found.namespaces:
        found.namespaces.append(manifest.namespace)
    for key, text in manifest.data.items():
        found.pieces.add(key, manifest.where, text)


def _take_config(files: Files, found: Deployment) -> Iterator[TunnelError]:
    try:
        _read_config(files, found)
    except TunnelError as error:
        # It may have the domain, too.
        found.pieces.broken.update((CONFIG, "tunnel-domain"))
        yield error


def _read_config(files: Files, found: Deployment) -> None:
    for name in _CONFIGS:
        found.pieces.add(CONFIG, name, files.text(name) or "")
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
