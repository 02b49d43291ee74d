# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that hosts lack, which the controller gets ready before any host is changed.

Shipping them cannot fail on the controller then, and check mode predicts a run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.cloudflared import (
    BroughtCloudflared,
    DownloadedCloudflared,
    cloudflared_for,
    settings_of,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.controller_tools import (
    Failure,
    Wanted,
    get_ready,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.places import (
    Artifact,
    Places,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.proxy import (
    ProxyRelease,
    Target,
    release_for,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.repository_key import (
    RepositoryKey,
)


@dataclass(frozen=True)
class Host:
    """A host: the facts of host_check, and its variables as the preflight saw them."""

    facts: Mapping[str, Any]
    variables: Mapping[str, Any]


class Readiness:
    """Finds or makes everything that *hosts* lack; *python* is Ansible's own interpreter here.

    Attributes:
        failures: everything that this controller lacks, with the hosts that need it.
        warnings: remarks on bundles that are of no use.
    """

    def __init__(self, hosts: Mapping[str, Host], python: str) -> None:
        self.failures: list[Failure] = []
        self.warnings: list[str] = []
        self._python = python
        self._known: dict[Any, Any] = {}
        for bundle, members in _by_bundle(hosts).items():
            try:
                self._get_ready(Places(bundle), members)
            except TunnelError as error:
                self.failures.append(Failure(error, list(members)))

    def _get_ready(self, places: Places, hosts: Mapping[str, Host]) -> None:
        wanted = self._wanted(hosts, places)
        if not wanted:
            return
        places.check()
        failures = get_ready(places, wanted, self._python)
        if places.unfit and failures:
            failures = [_without_seed(places.unfit, failures)]
        elif places.unfit:
            self.warnings.append(f"{places.unfit} It is not used.")
        self.failures += failures

    def _wanted(self, hosts: Mapping[str, Host], places: Places) -> list[Wanted]:
        """The files that the hosts do not have, each once."""
        found: dict[str, Wanted] = {}
        for name, host in hosts.items():
            try:
                for artifact in self._lacking(host, places):
                    found.setdefault(artifact.file_name, Wanted(artifact)).needed_by.append(name)
            except TunnelError as error:
                subject = f"{name}: {error.subject}"
                failed = TunnelError(subject, error.problem, error.remedy)
                self.failures.append(Failure(failed, [name]))
        return list(found.values())

    def _lacking(self, host: Host, places: Places) -> Iterator[Artifact]:
        facts, there = host.facts, host.facts["unpacked"]
        proxy = self._proxy(facts["python_version"], facts["architecture"], places)
        if proxy.version not in there["proxy"]:
            yield proxy
        if host.variables["cloudflared_install_method"] == "package":
            yield RepositoryKey(
                host.variables["cloudflared_package_key_url"],
                host.variables["cloudflared_package_key_fingerprint"],
            )
            return
        cloudflared = self._cloudflared(facts["architecture"], host.variables)
        if cloudflared.version not in there["cloudflared"]:
            yield cloudflared

    def _proxy(self, version: str, architecture: str, places: Places) -> ProxyRelease:
        """Worked out once for hosts that are alike: it reads all of the proxy's source."""
        key = (version, architecture, places)
        if key not in self._known:
            self._known[key] = release_for(Target(version, architecture), self._python, places)
        release: ProxyRelease = self._known[key]
        return release

    def _cloudflared(
        self, architecture: str, variables: Mapping[str, Any]
    ) -> DownloadedCloudflared | BroughtCloudflared:
        """Worked out once for hosts that are alike: it may read a whole binary."""
        settings = settings_of(variables)
        key = (architecture, repr(settings))
        if key not in self._known:
            self._known[key] = cloudflared_for(architecture, settings)
        release: DownloadedCloudflared | BroughtCloudflared = self._known[key]
        return release


def _without_seed(unfit: TunnelError, failures: list[Failure]) -> Failure:
    """The cause of all of them: an execution environment and a project with different versions."""
    first = failures[0].error
    error = TunnelError(
        unfit.subject,
        f"{unfit.problem}, so it is not used. Without it, the controller cannot have what hosts "
        f"lack: {first.subject} {first.problem}",
        f"{unfit.remedy}. A project of AWX with collections/requirements.yml brings its own "
        "version of the collection: take that file out, or use an execution environment of that "
        "version",
    )
    return Failure(error, list(dict.fromkeys(name for one in failures for name in one.needed_by)))


def _by_bundle(hosts: Mapping[str, Host]) -> dict[str, dict[str, Host]]:
    """Each value of mcp_tunnel_bundle, and the hosts that have it."""
    found: dict[str, dict[str, Host]] = {}
    for name, host in hosts.items():
        found.setdefault(str(host.variables["mcp_tunnel_bundle"]), {})[name] = host
    return found
