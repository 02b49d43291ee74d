# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules for the variables that an operator sets. Messages name the variable, never a secret."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.copies.recipients import (
    check_recipients,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import at_rest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.duration import parse_duration
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.instances import INSTANCE
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.token import (
    check_tunnel_id,
    parse_token,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.values import (
    Values,
    as_number,
    as_port,
    check_line,
    check_path,
    described,
    shape,
    shown,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision.members import NAME
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight.cloudflared import (
    check_cloudflared,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight.firewall import (
    HOST_WIDE,
    check_firewall,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight.upstreams import (
    check_upstream_ca,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight.waves import check_waves
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.rollout.canaries import check_soak
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.rollout.window import check_window

MODES = ("manual", "wif")
PORTS = {
    "proxy_listen_port": "mcp-proxy",
    "proxy_admin_port": "mcp-proxy",
    "cloudflared_metrics_port": "mcp-cloudflared",
}
_OF_THE_RELEASES = (
    "cloudflared_version",
    "cloudflared_install_method",
    "cloudflared_binary_file",
)
# The variables of other hosts that matter to a host that may be the same machine.
OF_THE_MACHINE = ("mcp_tunnel_instance", *PORTS, *_OF_THE_RELEASES, *HOST_WIDE)

_DAY = 86400  # seconds
_ID = "mcp_tunnel_id"
_BACKUP_PATHS = ("dest", "file", "identity_file")
_MEMORY = re.compile(r"infinity|[1-9][0-9]?%|[1-9][0-9]{0,5}[GT]|[1-9][0-9]{2,7}M")


def check_all(values: Values) -> list[TunnelError]:
    """Everything that is wrong with one host's variables, except for what the proxy judges."""
    checks: tuple[Callable[[Values], Iterable[TunnelError]], ...] = (
        _check_mode,
        _check_instance,
        _check_tunnel,
        check_upstream_ca,
        check_waves,
        check_soak,
        check_window,
        _check_forget,
        _check_ports,
        _check_lifetimes,
        _check_renewal_timer,
        _check_memory,
        _check_maintenance,
        check_firewall,
        _check_token,
        _check_encryption,
        check_cloudflared,
        _check_bundle,
        _check_support,
        _check_textfile_directory,
        _check_backups,
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
    # In mode wif, the API says which it is.
    if not isinstance(domain, str) or not (domain or values["mcp_tunnel_mode"] == "wif"):
        yield TunnelError(
            "mcp_tunnel_domain",
            f"must be the tunnel's domain, is {shape(domain)}",
            "Copy it from the Console, like abcd1234.tunnel.anthropic.com",
        )
    if values["mcp_tunnel_id"]:
        tunnel_id = str(values["mcp_tunnel_id"])
        yield from _attempt(lambda: check_tunnel_id(check_line(tunnel_id, _ID), _ID))


def _check_forget(values: Values) -> Iterator[TunnelError]:
    """Several names in one text would be the name of no replica, and nothing would be forgotten."""
    for variable in ("mcp_tunnel_forget", "mcp_tunnel_breached"):
        yield from _check_names(values, variable)


def _check_names(values: Values, variable: str) -> Iterator[TunnelError]:
    names = values[variable]
    for name in names if isinstance(names, list) else []:
        if isinstance(name, str) and not NAME.match(name):
            yield TunnelError(
                variable,
                f"has the item {shown(name)!r}, which is no name of a host",
                "Write the names like [a, b], or one a line, each after `- `",
            )


def _check_ports(values: Values) -> Iterator[TunnelError]:
    used: dict[int, str] = {}
    for variable in PORTS:
        port = as_port(values[variable])
        if not 1024 <= port <= 65535:
            yield TunnelError(
                variable,
                f"must be a port, is {described(values[variable])}",
                "Use a whole number from 1024 to 65535",
            )
        elif port in used:
            yield TunnelError(
                variable, f"is {port}, as is {used[port]}", "Give each of the three its own port"
            )
        used.setdefault(port, variable)


def _check_lifetimes(values: Values) -> Iterator[TunnelError]:
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


def _check_memory(values: Values) -> Iterator[TunnelError]:
    for variable in ("proxy_memory_max", "cloudflared_memory_max"):
        value = values[variable]
        # Only the proxy's may be empty: its limit then follows the number of its workers.
        if value == "" and variable == "proxy_memory_max":
            continue
        if not isinstance(value, str) or not _MEMORY.fullmatch(value):
            yield TunnelError(
                variable,
                f"{value!r} is not an amount of memory from 100M on",
                "Write it with its unit, like 800M or 2G, as a part of the machine's, like 25%, or "
                "infinity for no limit",
            )


def _check_maintenance(values: Values) -> Iterator[TunnelError]:
    reason, timeout = "mcp_tunnel_drain_reason", "mcp_tunnel_reboot_timeout"
    if isinstance(values[reason], str):
        yield from _attempt(lambda: check_line(values[reason], reason))
    if as_number(values[timeout], 1, _DAY) is None:
        yield TunnelError(
            timeout,
            f"must be a number of seconds, is {described(values[timeout])}",
            f"Use a whole number from 1 to {_DAY}",
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


def _check_encryption(values: Values) -> Iterator[TunnelError]:
    """The controller's state stays as the operator keeps it, and that must not be a surprise."""
    wanted = values[at_rest.VARIABLE]
    on_controller = values["mcp_tunnel_state_host"] == "localhost"
    if on_controller and wanted in (at_rest.HOST, at_rest.TPM2):
        yield TunnelError(
            at_rest.VARIABLE,
            f"is {wanted}, but the state host is the controller, where nothing is encrypted",
            "Use auto, which encrypts on the replicas alone, or a replica as mcp_tunnel_state_host",
        )


def _check_bundle(values: Values) -> Iterator[TunnelError]:
    value, name = values["mcp_tunnel_bundle"], "mcp_tunnel_bundle"
    if isinstance(value, str) and value:
        yield from _attempt(lambda: _check_place(value, name))


def _check_backups(values: Values) -> Iterator[TunnelError]:
    variable = "mcp_tunnel_backup_recipients"
    yield from _attempt(lambda: check_recipients(values[variable], variable))
    for name in (f"mcp_tunnel_backup_{n}" for n in _BACKUP_PATHS):
        value = values[name]
        if isinstance(value, str) and value:
            yield from _attempt(functools.partial(_check_place, value, name))


def _check_place(value: str, name: str) -> str:
    return check_path(os.path.expanduser(value), name)


def _check_textfile_directory(values: Values) -> Iterator[TunnelError]:
    value, name = values["mcp_tunnel_textfile_dir"], "mcp_tunnel_textfile_dir"
    if isinstance(value, str) and value:
        yield from _attempt(lambda: check_path(value, name))


def _check_support(values: Values) -> Iterator[TunnelError]:
    value, name = values["mcp_tunnel_support_dest"], "mcp_tunnel_support_dest"
    path = os.path.expanduser(value) if isinstance(value, str) else value
    yield from _attempt(lambda: check_path(path, name))


def read_token_file(path: Any) -> str:
    """The content of *mcp_tunnel_token_file* on the controller.

    :raises TunnelError: if it cannot be read.
    """
    absolute = os.path.expanduser(str(path))
    if not os.path.isabs(absolute):
        # The path may be the token itself, and roles look for files in other places than we do.
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
