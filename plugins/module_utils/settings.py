# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for the variables that an operator sets. Messages name the variable, never a secret."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.cloudflared_settings import (
    check_cloudflared,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.duration import parse_duration
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall_settings import (
    HOST_WIDE,
    check_firewall,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.instances import INSTANCE
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.names import (
    check_domain,
    lower,
    route_hostname,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.setting_values import (
    Values,
    as_number,
    as_port,
    check_line,
    shape,
    shown,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.token import (
    check_tunnel_id,
    parse_token,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.upstream_settings import (
    check_upstream,
    check_upstream_ca,
    check_upstream_policy,
)

MODES = ("manual", "wif")
PORTS = {
    "proxy_listen_port": "mcp-proxy",
    "proxy_admin_port": "mcp-proxy",
    "cloudflared_metrics_port": "mcp-cloudflared",
}
TIMEOUTS = ("handshake", "header", "idle", "connect", "upstream_idle", "upstream_gone")
LIMITS = {
    "max_connections": (1, 1000000),
    "max_header_bytes": (1024, 1 << 20),
    "max_streams": (1, 1000),
}
MAX_WORKERS = 256

_OF_THE_RELEASES = (
    "cloudflared_version",
    "cloudflared_install_method",
    "cloudflared_binary_file",
)
# The variables of other hosts that matter to a host that may be the same machine.
OF_THE_MACHINE = ("mcp_tunnel_instance", *PORTS, *_OF_THE_RELEASES, *HOST_WIDE)

_ID = "mcp_tunnel_id"
_BATCH = re.compile(r"[1-9][0-9]{0,5}%?")
_GO_DURATION = re.compile(r"([0-9]{1,9}(\.[0-9]{1,9})?(ms|s|m|h)){1,8}")
_MEMORY = re.compile(r"infinity|[1-9][0-9]?%|[1-9][0-9]{0,5}[GT]|[1-9][0-9]{2,7}M")


def check_all(values: Values) -> list[TunnelError]:
    """Everything that is wrong with the variables of one host, defaults included."""
    checks: tuple[Callable[[Values], Iterable[TunnelError]], ...] = (
        _check_mode,
        _check_instance,
        _check_tunnel,
        _check_routes,
        check_upstream_policy,
        check_upstream_ca,
        _check_batch,
        _check_ports,
        _check_durations,
        _check_renewal_timer,
        _check_proxy_tables,
        _check_workers,
        _check_memory,
        check_firewall,
        _check_token,
        check_cloudflared,
    )
    return [problem for check in checks for problem in check(values)]


def check_machine(hosts: Mapping[str, Values]) -> list[TunnelError]:
    """Everything that is wrong between the inventory hosts (name to variables) of one machine."""
    problems = []
    users: dict[int, list[str]] = {}
    instances: dict[str, list[str]] = {}
    for name, values in hosts.items():
        instances.setdefault(str(values["mcp_tunnel_instance"]), []).append(name)
        for variable in PORTS:
            port = as_port(values[variable])
            if port:
                users.setdefault(port, []).append(f"{name} ({variable})")
    for port, names in users.items():
        owners = {name.split(" ")[0] for name in names}
        if len(owners) > 1:
            problems.append(
                TunnelError(
                    PORTS_SUBJECT.format(port=port),
                    f"used twice on one machine: by {' and '.join(names)}",
                    "Give every instance on a machine its own three ports",
                )
            )
    for instance, names in instances.items():
        if len(names) > 1:
            problems.append(
                TunnelError(
                    "mcp_tunnel_instance",
                    f"{instance!r} is deployed twice on one machine: by {' and '.join(names)}",
                    "Give every instance on a machine its own name",
                )
            )
    for variables, remedy in (
        (_OF_THE_RELEASES, "Instances on a machine share its releases: give them the same value"),
        (HOST_WIDE, "Instances on a machine share its firewall: give them the same value"),
    ):
        problems += [
            TunnelError(
                variable, f"differs between {' and '.join(hosts)}, which are one machine", remedy
            )
            for variable in variables
            if len({str(values[variable]) for values in hosts.values()}) > 1
        ]
    return problems


PORTS_SUBJECT = "port {port}"


def _attempt(check: Callable[[], Any]) -> Iterator[TunnelError]:
    try:
        check()
    except TunnelError as error:
        yield error


def _described(value: Any) -> str:
    """A wrong value as a message quotes it; one that is long or no scalar, by its kind."""
    is_short = isinstance(value, (str, int, float)) and len(str(value)) <= 100
    return repr(value) if is_short else shape(value)


def _check_mode(values: Values) -> Iterator[TunnelError]:
    if values["mcp_tunnel_mode"] not in MODES:
        yield TunnelError(
            "mcp_tunnel_mode",
            f"is {shown(values['mcp_tunnel_mode'])!r}",
            "Use manual, with the domain and the token from the Console, or wif, with a federation "
            "rule of Workload Identity Federation",
        )


def _check_instance(values: Values) -> Iterator[TunnelError]:
    if not INSTANCE.fullmatch(str(values["mcp_tunnel_instance"])):
        yield TunnelError(
            "mcp_tunnel_instance",
            "is not the name of an instance",
            "Use up to 32 lower-case letters, digits and hyphens, like default",
        )


def _check_tunnel(values: Values) -> Iterator[TunnelError]:
    domain = values["mcp_tunnel_domain"]
    if values["mcp_tunnel_mode"] == "wif" and domain == "":
        pass  # the API says which it is
    elif not isinstance(domain, str) or not domain:
        yield TunnelError(
            "mcp_tunnel_domain",
            f"must be the tunnel's domain, is {shape(domain)}",
            "Copy it from the Console, like abcd1234.tunnel.anthropic.com",
        )
    else:
        yield from _attempt(lambda: check_domain(domain, "mcp_tunnel_domain"))
    if values["mcp_tunnel_id"]:
        tunnel_id = str(values["mcp_tunnel_id"])
        yield from _attempt(lambda: check_tunnel_id(check_line(tunnel_id, _ID), _ID))


def _check_routes(values: Values) -> Iterator[TunnelError]:
    routes = values["mcp_tunnel_routes"]
    if not isinstance(routes, Mapping) or not routes:
        yield TunnelError(
            "mcp_tunnel_routes",
            f"must be a map of names to upstreams, is {shape(routes)}",
            "Write below it, indented, one `name: scheme://host:port` per line",
        )
        return
    domain = lower(str(values["mcp_tunnel_domain"]))
    seen: dict[str, str] = {}
    for name, upstream in routes.items():
        subject = f"mcp_tunnel_routes[{shown(name)!r}]"
        if not isinstance(name, str):
            # YAML's `1:` and `on:` are no texts, and would not be in the proxy's file.
            yield TunnelError(
                "mcp_tunnel_routes", f"{name!r} is {shape(name)}", "Put the name in quotes"
            )
            continue
        try:
            hostname = route_hostname(name, domain, "mcp_tunnel_routes")
        except TunnelError as error:
            yield error
        else:
            if hostname in seen:
                yield TunnelError(
                    subject,
                    f"means the same hostname as {seen[hostname]!r}",
                    "Host names ignore case; keep one of the two",
                )
            seen[hostname] = name
        yield from check_upstream(subject, upstream, values)


def _check_batch(values: Values) -> Iterator[TunnelError]:
    batch = values["mcp_tunnel_batch"]
    plain = isinstance(batch, (int, str)) and not isinstance(batch, bool)
    if not plain or not _BATCH.fullmatch(str(batch)):
        yield TunnelError(
            "mcp_tunnel_batch",
            f"is {repr(batch) if plain and len(str(batch)) < 100 else shape(batch)}",
            "Give the number of replicas that are deployed at the same time, like 2, or a "
            "percentage, like 50%",
        )


def _check_ports(values: Values) -> Iterator[TunnelError]:
    used: dict[int, str] = {}
    for variable in PORTS:
        port = as_port(values[variable])
        if not 1024 <= port <= 65535:
            yield TunnelError(
                variable,
                f"must be a port, is {_described(values[variable])}",
                "Use a whole number from 1024 to 65535",
            )
        elif port in used:
            yield TunnelError(
                variable, f"is {port}, as is {used[port]}", "Give each of the three its own port"
            )
        used.setdefault(port, variable)


def _check_durations(values: Values) -> Iterator[TunnelError]:
    timeouts = values["proxy_timeouts"]
    durations = {
        "proxy_shutdown_timeout": values["proxy_shutdown_timeout"],
        "cloudflared_grace_period": values["cloudflared_grace_period"],
    }
    if isinstance(timeouts, Mapping):
        durations.update(
            {f"proxy_timeouts[{shown(name)!r}]": value for name, value in timeouts.items()}
        )
    for subject, value in durations.items():
        if not _GO_DURATION.fullmatch(str(value)):
            yield TunnelError(
                subject,
                f"{_described(value)} is not a duration",
                "Write it with its unit, like 30s or 1m30s",
            )
    lifetimes = {}
    for variable in ("mcp_tunnel_cert_duration", "mcp_tunnel_cert_renew_before"):
        try:
            text = check_line(str(values[variable]), variable)
            lifetimes[variable] = parse_duration(text, variable)
        except TunnelError as error:
            yield error
    if (
        len(lifetimes) == 2
        and lifetimes["mcp_tunnel_cert_renew_before"] >= lifetimes["mcp_tunnel_cert_duration"]
    ):
        yield TunnelError(
            "mcp_tunnel_cert_renew_before",
            f"{values['mcp_tunnel_cert_renew_before']} is not shorter than "
            f"mcp_tunnel_cert_duration "
            f"{values['mcp_tunnel_cert_duration']}, so every run would renew",
            "Use for example 720h and 2160h",
        )


def _check_renewal_timer(values: Values) -> Iterator[TunnelError]:
    if values["mcp_tunnel_cert_renew_timer"] is True and values["mcp_tunnel_server_cert"]:
        yield TunnelError(
            "mcp_tunnel_cert_renew_timer",
            "cannot renew mcp_tunnel_server_cert, which is yours",
            "Remove it, and put a new certificate into that variable in time, or bring none",
        )


def _check_proxy_tables(values: Values) -> Iterator[TunnelError]:
    for variable, known in (("proxy_timeouts", TIMEOUTS), ("proxy_limits", tuple(LIMITS))):
        table = values[variable]
        if not isinstance(table, Mapping):
            yield TunnelError(
                variable, f"must be a map, is {shape(table)}", f"Known names: {', '.join(known)}"
            )
            continue
        for name in table:
            if name not in known:
                yield TunnelError(
                    f"{variable}[{shown(name)!r}]", "is not known", f"Use one of {', '.join(known)}"
                )
    if isinstance(values["proxy_limits"], Mapping):
        for name, (low, high) in LIMITS.items():
            value = values["proxy_limits"].get(name, low)
            if as_number(value, low, high) is None:
                yield TunnelError(
                    f"proxy_limits[{name!r}]",
                    f"{_described(value)} is not a whole number from {low} to {high}",
                    "Leave it out for the default",
                )


def _check_workers(values: Values) -> Iterator[TunnelError]:
    workers = values["proxy_workers"]
    if as_number(workers, 0, MAX_WORKERS) is None:
        yield TunnelError(
            "proxy_workers",
            f"{_described(workers)} is not a whole number from 0 to {MAX_WORKERS}",
            "Leave it out for one worker for each core of the host",
        )


def _check_memory(values: Values) -> Iterator[TunnelError]:
    for variable in ("proxy_memory_max", "cloudflared_memory_max"):
        value = values[variable]
        # Only the proxy's may be empty: it goes by the number of its workers.
        if value == "" and variable == "proxy_memory_max":
            continue
        if not isinstance(value, str) or not _MEMORY.fullmatch(value):
            yield TunnelError(
                variable,
                f"{value!r} is not an amount of memory from 100M on",
                "Write it with its unit, like 800M or 2G, as a part of the machine's, like 25%, or "
                "infinity for no limit",
            )


def _check_token(values: Values) -> Iterator[TunnelError]:
    token, path = values["mcp_tunnel_token"], values["mcp_tunnel_token_file"]
    if token and path:
        yield TunnelError(
            "mcp_tunnel_token", "cannot be combined with mcp_tunnel_token_file", "Keep one of them"
        )
    elif token and not isinstance(token, str):
        yield TunnelError(
            "mcp_tunnel_token", f"must be a text, is {shape(token)}", "Copy it from the Console"
        )
    elif token:
        yield from _attempt(lambda: parse_token(token, "mcp_tunnel_token"))
    elif path:
        yield from _attempt(lambda: parse_token(read_token_file(path), "mcp_tunnel_token_file"))


def read_token_file(path: Any) -> str:
    """The content of *mcp_tunnel_token_file* on the controller.

    :raises TunnelError: if it cannot be read.
    """
    absolute = os.path.expanduser(str(path))
    if not os.path.isabs(absolute):
        # The path may be the token itself; and roles look for files elsewhere than we do.
        raise TunnelError(
            "mcp_tunnel_token_file",
            f"is not an absolute path, is {shape(path)}",
            "Give the whole path of a file with the tunnel token in it, for example "
            "{{ inventory_dir }}/token",
        )
    try:
        with open(absolute, encoding="utf-8") as file:
            return file.read(65536)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not text"
        raise TunnelError(
            "mcp_tunnel_token_file",
            f"{path} on the controller: {reason}",
            "Give the path of a file with the tunnel token in it",
        ) from None
