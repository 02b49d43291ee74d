# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The preflight's conclusions from the variables of a host."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.values import as_port
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import (
    cloudflared as cloudflared_settings,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import (
    role_options,
    settings,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight.cloudflared_grace import (
    seconds,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight.credentials import (
    check_brought_credentials,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight.firewall_plan import (
    firewall_check,
    firewall_plan,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight.proxy_config import (
    Judged,
    judge,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight.routes import (
    allowed_requests,
    check_routes,
    required_routes,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight.wif import check_wif
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.cloudflared import (
    BroughtCloudflared,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.rollout import window
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.rollout.canaries import (
    MOST_BESIDE,
    SOAK,
    silence,
    soak_seconds,
)
from ansible_collections.mcp_tunnels.stack.proxy_src.src.mcp_proxy.config.model import Config

#: The purpose of a run, to the phase in which it puts the CA; see tunnel_ca.
DUTIES = {
    "backup": "current",
    # In mode manual, a person registers a new CA.
    "breach": "added",
    "deploy": "current",
    "drain": "current",
    "reboot": "current",
    "recover": "current",
    "renew_cert": "current",
    "restore": "current",
    "rotate_ca": "added",
    "rotate_token": "current",
    "support": "current",
    "teardown": "current",
    "undrain": "current",
    "verify": "current",
}


_IN_A_WINDOW = ("deploy", "reboot", "rotate_ca", "rotate_token")
"""The duties that go by mcp_tunnel_window. Others cannot wait, or are typed for this moment."""
_SOAKS = ("deploy", "rotate_ca")
"""The duties that go by mcp_tunnel_soak. With others, what replicas have is no longer good."""
_RENEWED_AFTER = 300
"""Seconds after which a run asks for its lease again, see tasks/hold_longer.yml."""


def check_values(values: Mapping[str, Any]) -> list[TunnelError]:
    """The problems with one host's variables: by our rules, the proxy's, and their types."""
    judged = judge(values)
    problems = [
        *settings.check_all(values),
        *check_routes(values, judged),
        *check_wif(values),
        *check_brought_credentials(_as_meant(values, judged)),
        *_check_brought_binary(values),
    ]
    # Our rules say more about a value than the proxy's do: those know nothing of the variables.
    told = {problem.subject for problem in problems}
    problems += [item for item in judged.problems if item.subject not in told]
    # Our rules say more about a variable than its type does.
    told = {problem.subject.partition("[")[0] for problem in problems}
    problems += [item for item in role_options.type_problems(values) if item.subject not in told]
    # But of a text that is no YAML, nothing else can be said.
    unread = role_options.text_problems(values)
    told = {problem.subject for problem in unread}
    return [item for item in problems if item.subject.partition("[")[0] not in told] + unread


def _as_meant(values: Mapping[str, Any], judged: Judged) -> dict[str, Any]:
    """The variables with domain and routes as the proxy understands them, if it does."""
    if not judged.domain or not judged.config.routes:
        return dict(values)
    return {
        **values,
        "mcp_tunnel_domain": judged.domain,
        "mcp_tunnel_routes": judged.config.routes,
    }


def _check_brought_binary(values: Mapping[str, Any]) -> Iterator[TunnelError]:
    """Whether the binary is the intended one; another rule checks that it is a file."""
    path = Path(str(values["cloudflared_binary_file"])).expanduser()
    checksum = values["cloudflared_binary_sha256"]
    if values["cloudflared_install_method"] == "file" and checksum and path.is_file():
        try:
            BroughtCloudflared(path, str(checksum))
        except TunnelError as error:
            yield error


def warnings(values: Mapping[str, Any]) -> list[str]:
    """Remarks on one host's variables that are no reason to refuse them."""
    if values["cloudflared_known_bad"] != "warn":
        return []
    return [str(fault) for fault in cloudflared_settings.known_bad(values)]


@dataclass(frozen=True)
class Rounds:
    """How long a host waits for others: Ansible has fewer forks than hosts, and goes in waves.

    :param everywhere: how often a task begins anew on all hosts of the run.
    :param wave: how often one does on the hosts of the largest wave.
    :param soak: seconds for which a canary of another tunnel is watched.
    """

    everywhere: int = 1
    wave: int = 1
    soak: int = 0

    @classmethod
    def of(cls, hosts: int, largest_wave: int, forks: int, soak: int = 0) -> Rounds:
        """The rounds of a run over so many hosts."""
        everywhere, wave = (max(-(-number // max(forks, 1)), 1) for number in (hosts, largest_wave))
        return cls(everywhere, wave, soak)


def make_plan(
    values: Mapping[str, Any],
    replicas: list[str],
    leader: str,
    duty: str = "deploy",
    rounds: Rounds = Rounds(),
    canaries: Sequence[str] = (),
    at: float = 0.0,
) -> dict[str, Any]:
    """The plan that follows from a host's variables; see the module's documentation.

    :param replicas: the hosts of the group with this host's instance.
    :param leader: the one of them that stands for the others in this run.
    :param duty: one of DUTIES.
    :param rounds: those of the run.
    :param canaries: the replicas that go first.
    :param at: when the run has begun, in seconds since the epoch.
    """
    instance = values["mcp_tunnel_instance"]
    proxy_unit = f"mcp-proxy@{instance}.service"
    cloudflared_unit = f"mcp-cloudflared@{instance}.service"
    units = {"mcp-proxy": proxy_unit, "mcp-cloudflared": cloudflared_unit}
    judged = judge(values)
    grace_seconds = seconds(values["cloudflared_grace_period"])
    textfiles = values["mcp_tunnel_textfile_dir"]
    return {
        "instance": instance,
        "duty": duty,
        "ca_phase": _ca_phase(duty, str(values["mcp_tunnel_mode"])),
        "mode": values["mcp_tunnel_mode"],
        # Replicas remember theirs, which counts for more than the first name.
        "state_host": values["mcp_tunnel_state_host"] or min(replicas),
        "replicas": replicas,
        "leader": leader,
        "canaries": list(canaries),
        "soak_seconds": soak_seconds(values[SOAK]) if duty in _SOAKS else 0,
        "soak_beside": MOST_BESIDE,
        "closed": _closed(values, duty, at),
        "config_dir": f"/etc/mcp-tunnel/{instance}",
        "state_dir": f"/var/lib/mcp-tunnel/{instance}",
        "standby_dir": f"/var/lib/mcp-tunnel-standby/{instance}",
        # Of a restore that was killed; see copies.restore and copies.metrics of module_utils.
        "unfinished_state": f"/var/lib/mcp-tunnel/.{instance}.restoring",
        "copies_metrics": f"{textfiles}/mcp_tunnel_state_{instance}.prom" if textfiles else "",
        "proxy_unit": proxy_unit,
        "proxy_socket": f"mcp-proxy@{instance}.socket",
        "cloudflared_unit": cloudflared_unit,
        # For timeout(1), 0 means no limit.
        "cloudflared_grace_seconds": max(grace_seconds, 0.1),
        "renewal_unit": f"mcp-tunnel-renew-cert@{instance}",
        "signing_unit": f"mcp-tunnel-signing-{instance}",
        "ports": {variable: as_port(values[variable]) for variable in settings.PORTS},
        "host_check": {
            "ports": [
                {
                    "variable": variable,
                    "port": as_port(values[variable]),
                    "unit": units[service],
                }
                for variable, service in settings.PORTS.items()
            ],
            "files": _files(values, replicas),
            "tls_files": _tls_files(values, judged.config),
            "firewall": firewall_check(values, judged.config),
            "encryption": values["mcp_tunnel_encryption_at_rest"],
        },
        "firewall": firewall_plan(values, judged.config),
        "domain": judged.domain,
        "switches": {variable: values[variable] for variable in role_options.switches()},
        "routes": {name: str(upstream) for name, upstream in judged.config.routes.items()},
        "required_routes": required_routes(values, list(judged.config.routes)),
        "route_options": allowed_requests(judged.config),
        # As they were written: the same text again changes no file.
        "allowed_ips": [
            str(item) for item in values["proxy_allowed_ips"] or judged.config.upstream.allowed_ips
        ],
        "proxy_config": judged.text,
        # Whole seconds, because systemd does not know all of Go's units.
        "proxy_shutdown_seconds": math.ceil(judged.config.shutdown_timeout),
        "health_timeout": values["mcp_tunnel_health_timeout"],
        "lease_seconds": _lease_seconds(
            values, judged.config.shutdown_timeout + grace_seconds, duty, rounds
        ),
    }


def _closed(values: Mapping[str, Any], duty: str, at: float) -> str:
    """Why the run may change nothing; empty if it may."""
    goes_by_it = duty in _IN_A_WINDOW and values[window.WINDOW]
    return window.closed(values[window.WINDOW], at) if goes_by_it else ""


def _ca_phase(duty: str, mode: str) -> str:
    return "current" if duty == "breach" and mode == "manual" else DUTIES[duty]


def _lease_seconds(values: Mapping[str, Any], stopping: float, duty: str, rounds: Rounds) -> int:
    """How long a run may be silent: its longest play, and one question that is never answered.

    :param stopping: seconds that the services of a replica may take to stop.
    """
    proof = int(values["mcp_tunnel_health_timeout"])
    if duty == "drain":
        # One wave, of all that are named.
        longest = rounds.everywhere * (proof + stopping)
    elif duty == "undrain":
        # As well; each is proven without the edge and with it, and may have to leave again.
        longest = rounds.everywhere * (2 * proof + stopping)
    elif duty == "reboot":
        # All are looked at before the first wave. Each leaves, is proven twice, too, and may leave
        # again.
        rebooted = 2 * (proof + stopping) + int(values["mcp_tunnel_reboot_timeout"])
        longest = max(rounds.everywhere * proof, rounds.wave * rebooted)
    else:
        # A proven replica may have to be put back. A soak asks for the lease again in between, but
        # for that of its own tunnel alone.
        others = rounds.soak if duty in _SOAKS else 0
        soak = max(silence(values[SOAK]), silence(others, others))
        longest = rounds.wave * (proof + 2 * stopping) + soak
    return _RENEWED_AFTER + int(values["mcp_tunnel_answer_timeout"]) + math.ceil(longest)


def _tls_files(values: Mapping[str, Any], config: Config) -> list[dict[str, str]]:
    """The files for TLS towards upstreams that are on the hosts already."""
    ca_file = values["proxy_upstream_ca_file"]
    of_all = [{"route": "", "client_cert": "", "client_key": "", "ca_file": ca_file}]
    of_routes = [
        {
            "route": name,
            "client_cert": options.client_cert,
            "client_key": options.client_key,
            "ca_file": options.ca_file,
        }
        for name, options in config.route_options.items()
        if options.client_cert or options.ca_file
    ]
    return (of_all if ca_file else []) + of_routes


def _files(values: Mapping[str, Any], replicas: list[str]) -> list[dict[str, str]]:
    """The files that a host needs, besides those that runs bring and those for TLS."""
    files = []
    # A single replica asks itself.
    if values["mcp_tunnel_cert_renew_timer"] is True and len(replicas) > 1:
        remedy = "Install OpenSSH's client (openssh-client or openssh-clients), or set it to false"
        files.append(
            {"variable": "mcp_tunnel_cert_renew_timer", "path": "/usr/bin/ssh", "remedy": remedy}
        )
    return files
