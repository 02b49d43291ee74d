# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of a renewal, and whether a replica could renew its certificate by itself.

To find that out, the question of the timer is asked, on the terms of its unit; nothing is signed.
"""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import systemd
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki import signing_channel
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki import terms as pki_terms
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica import deployed
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica.finding import Finding

_LAYER = "renewal"
# Longer than ssh takes to find out that nobody answers.
_SECONDS = 30.0


@dataclass(frozen=True)
class Renewal:
    """The settings of a renewal.

    ``routes``: keys of the proxy's routes, for those that the wildcard does not cover.
    ``duration``: lifetime of a new certificate, like ``renew_before`` as ``2160h`` or ``90d``.
    """

    instance: str
    domain: str
    routes: list[str]
    duration: str
    renew_before: str

    def terms(self, ca: str) -> pki_terms.Terms:
        """The terms on which a certificate of this CA (PEM) is asked for.

        :raises TunnelError: if a setting is wrong, or the CA is no certificate.
        """
        return pki_terms.terms(self.instance, self.domain, self.routes, self.duration, ca)


def timer_of(instance: str) -> str:
    """The name of the timer."""
    return f"mcp-tunnel-renew-cert@{instance}.timer"


def settings(instance: str) -> Renewal:
    """The settings with which the timer's service renews.

    :raises TunnelError: if the unit does not say them.
    """
    unit = f"mcp-tunnel-renew-cert@{instance}.service"
    words = systemd.command(unit)
    given: dict[str, list[str]] = {}
    for name, value in zip(words[1::2], words[2::2]):
        given.setdefault(name, []).append(value)
    try:
        domain, duration, renew_before = (
            given[name][-1] for name in ("--domain", "--duration", "--renew-before")
        )
    except KeyError as error:
        raise TunnelError(
            unit, f"does not say {error.args[0]}", "Run the site playbook, which writes it anew"
        ) from None
    return Renewal(instance, domain, given.get("--route", []), duration, renew_before)


def look(instance: str, seconds: float = _SECONDS) -> Finding:
    """The row of the renewal. A replica without it works, until its certificate ends.

    :param seconds: for an answer of the state host.
    """
    name = timer_of(instance)
    timer = systemd.show([name])[0]
    if not timer.running:
        detail = timer.active if timer.loaded else "not installed"
        return Finding(
            _LAYER, name, False, detail, "Run the site playbook, which starts it", required=False
        )
    try:
        ca = deployed.text(deployed.CONFIGURATIONS / instance / "ca.crt")
        terms = settings(instance).terms(ca)
        question = signing_channel.Question(signing_channel.CHECK, terms)
        said = signing_channel.ask(signing_channel.socket_path(instance), question, seconds)
    except TunnelError as error:
        detail = f"{error.subject} {error.problem}"
        return Finding(_LAYER, name, False, detail, error.remedy, required=False)
    return Finding(_LAYER, name, True, f"the state host {said[:200]}")
