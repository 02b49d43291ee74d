# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proxy's configuration, from the variables of a host, judged by the proxy's own code.

The collection ships that code. It needs PyYAML and the standard library, which every controller
has. The text that is judged here is the file on the host, to the byte.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.values import (
    Values,
    shape,
    shown,
)
from ansible_collections.mcp_tunnels.stack.proxy_src.src.mcp_proxy.config import load as proxy

# The fields of the proxy that an operator reaches, in the order of the file, to their variables.
# Maps are passed on whole: a new timeout or limit of the proxy needs no change here.
FIELDS = {
    "listen_addr": "proxy_listen_port",
    "admin_addr": "proxy_admin_port",
    "log_level": "proxy_log_level",
    "access_log": "proxy_access_log",
    "workers": "proxy_workers",
    "shutdown_timeout": "proxy_shutdown_timeout",
    "tunnel_domain": "mcp_tunnel_domain",
    "routes": "mcp_tunnel_routes",
    "route_options": "mcp_tunnel_route_options",
    "upstream.allowed_ips": "proxy_allowed_ips",
    "upstream.disable_ip_validation": "proxy_disable_ip_validation",
    "upstream.rewrite_host": "proxy_rewrite_host",
    "upstream.tls.ca_file": "proxy_upstream_ca_file",
    "upstream.tls.include_system_cas": "proxy_upstream_include_system_cas",
    "timeouts": "proxy_timeouts",
    "limits": "proxy_limits",
}
# All other fields of the proxy, by their names in its file. A new one needs no change here.
FURTHER = "proxy_settings"
_FIELD = re.compile(r"[a-z0-9_]{1,64}(?:\.[a-z0-9_]{1,64}){0,3}\Z")
_ORDER = (*dict.fromkeys(field.partition(".")[0] for field in FIELDS), "tls", "metrics")
_PORTS = ("listen_addr", "admin_addr")
_IN_TEXT = {
    **FIELDS,
    "upstream.tls.ca_file": "proxy_upstream_ca (PEM) or proxy_upstream_ca_file (path on the host)",
}
# A value in quotes is the operator's, and so is the host of an upstream. In the table, the longer
# of two fields comes first.
_QUOTED_OR_FIELD = re.compile(
    rf"'(?:\\.|[^'\\])*'|(?<![\w./-])({'|'.join(map(re.escape, _IN_TEXT))})"
    r"(?:\.([\w.-]*\w))?(?!\w)"
)
# Stands for a domain that only the API knows so far. RFC 2606 keeps the name for such uses.
_STAND_IN = "tunnel.invalid"
_HEADER = "# Of the Ansible collection mcp_tunnels.stack; edits are overwritten.\n"
_LONGEST = 4096  # characters of one text: those of a path (PATH_MAX)


@dataclass(frozen=True)
class Judged:
    """The verdict of the proxy's code on the variables of a host.

    ``text`` is the content of the file, without a domain as long as nobody knows it; ``config`` is
    its meaning, with defaults in place of what is wrong; ``domain`` is empty while it is unknown.
    """

    text: str
    config: proxy.Config
    domain: str
    problems: tuple[TunnelError, ...]


def judge(values: Values) -> Judged:
    """Writes the proxy's file for these variables, and has the proxy's code judge it.

    :param values: all variables of a host with their defaults, truth values as such.
    """
    document = _document(values)
    early = (*_too_long(document), *_add_further(document, values[FURTHER]))
    text = _written(_cut(document))
    is_known = document["tunnel_domain"] != ""
    stand_in = {} if is_known else {"tunnel_domain": _STAND_IN}
    judged = text if is_known else _written({**_cut(document), **stand_in})
    config, found = proxy.examine(judged.encode(), on_host=False)
    told = {_place(problem) for problem in early}
    problems = [item for item in map(_translated, found) if _place(item) not in told]
    return Judged(text, config, config.tunnel_domain if is_known else "", (*early, *problems))


def with_domain(text: str, domain: str) -> str:
    """The content of the file, now that the API has said the domain of the tunnel.

    :param text: what :func:`judge` has written for a host whose domain was unknown.
    :raises TunnelError: if the proxy's code refuses the file with that domain.
    """
    document = {**yaml.safe_load(text), "tunnel_domain": domain}
    complete = _written(document)
    _config, found = proxy.examine(complete.encode(), on_host=False)
    for problem in found:
        raise _translated(problem)
    return complete


def _document(values: Values) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for field, variable in FIELDS.items():
        _put(document, field, _plain(values[variable]))
    # Nothing about them is no line about them: files of before stay as they are.
    document["route_options"] = document["route_options"] or None
    for field in _PORTS:
        document[field] = f"127.0.0.1:{document[field]}"
    directory = f"/etc/mcp-tunnel/{values['mcp_tunnel_instance']}"
    if values["proxy_upstream_ca"]:
        _put(document, "upstream.tls.ca_file", f"{directory}/upstream-ca.crt")
    document["tls"] = {
        "cert_file": f"{directory}/tls/tls.crt",
        "key_file": f"{directory}/tls/tls.key",
    }
    # Both are of the role firewall: the kernel's counters, and cloudflared's connections.
    document["metrics"] = {
        "firewall_counters_file": "/run/mcp-tunnel/firewall-counters.json",
        "connections_file": f"/run/mcp-tunnel/connections-{values['mcp_tunnel_instance']}.json",
    }
    return document


def _put(document: dict[str, Any], field: str, value: Any) -> None:
    *sections, name = field.split(".")
    for section in sections:
        document = document.setdefault(section, {})
    document[name] = value


def _add_further(document: dict[str, Any], settings: Any) -> list[TunnelError]:
    """Puts the fields without a variable into the file; returns the problems with the others."""
    if not isinstance(settings, Mapping):
        remedy = "Write below it, indented, one `name: value` a line"
        return [TunnelError(FURTHER, f"must be a map, is {shape(settings)}", remedy)]
    problems = []
    for field, value in _plain(settings).items():
        subject = f"{FURTHER}[{shown(field)!r}]"
        problem = _no_place(document, field, subject)
        if problem:
            problems.append(problem)
        else:
            _put(document, field, value)
            problems += _too_long_in(value, subject)
    return problems


def _no_place(document: Mapping[str, Any], field: str, subject: str) -> TunnelError | None:
    """The reason why the file has no place for this field; ``None`` if it has one."""
    if not _FIELD.match(field):
        return TunnelError(subject, "is no field's name", "Write it like `tls.poll_interval`")
    for known, variable in FIELDS.items():
        if f"{field}.".startswith(f"{known}."):
            return TunnelError(subject, "has a variable of its own", f"Set {variable}")
    place: Any = document
    for name in field.split("."):
        if not isinstance(place, dict):
            break
        if name not in place:
            return None
        place = place[name]
    remedy = "Leave it out"
    if isinstance(place, dict):
        remedy = f"Name its fields one by one, like `{field}.NAME`"
    return TunnelError(subject, "is set already", remedy)


def _plain(value: Any) -> Any:
    """The value in Python's own types, which YAML knows; Ansible has types of its own.

    Maps are sorted, so that the order of an inventory does not change the file. A key that is no
    text, such as YAML's ``on:``, is refused by a rule of its own if it could be a route.
    """
    if isinstance(value, str):
        return str.__str__(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (int, float)):
        return int(value) if isinstance(value, int) else float(value)
    if isinstance(value, Mapping):
        named = {str.__str__(name) if isinstance(name, str) else str(name): name for name in value}
        return {name: _plain(value[named[name]]) for name in sorted(named, key=_in_order)}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value)


def _in_order(name: str) -> tuple[str, str]:
    return name.lower(), name


def _written(document: Mapping[str, Any]) -> str:
    """The content of the file, in one order, whenever the domain becomes known."""
    present = {name: document[name] for name in _ORDER if document.get(name) is not None}
    present.update((name, value) for name, value in document.items() if name not in _ORDER)
    if present.get("tunnel_domain") == "":
        del present["tunnel_domain"]
    return _HEADER + yaml.safe_dump(present, sort_keys=False, width=_LONGEST)


def _too_long(document: Mapping[str, Any]) -> Iterator[TunnelError]:
    """A problem for each text that is longer than any text of this file has to be.

    Reading such a text would take too much time.
    """
    for field in FIELDS:
        value: Any = document
        for name in field.split("."):
            value = value[name]
        yield from _too_long_in(value, field, _subject)


def _too_long_in(
    value: Any, field: str, subject: Callable[[str], str] = str
) -> Iterator[TunnelError]:
    for place, text in _texts(value):
        if len(text) > _LONGEST:
            yield TunnelError(
                subject(field + place),
                f"has a text of {len(text)} characters",
                f"Give one of at most {_LONGEST}",
            )


def _texts(value: Any) -> Iterator[tuple[str, str]]:
    """The texts of a value and the names in it, each with its place below the field."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield f".{name}", name
            yield from ((f".{name}", text) for _place, text in _texts(item))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from ((f"[{number}]", text) for _place, text in _texts(item))
    elif isinstance(value, str):
        yield "", value


def _cut(value: Any) -> Any:
    """The value with its texts and names cut to a length that is read quickly."""
    if isinstance(value, dict):
        return {name[: _LONGEST + 1]: _cut(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_cut(item) for item in value]
    return value[: _LONGEST + 1] if isinstance(value, str) else value


def _translated(problem: proxy.Problem) -> TunnelError:
    """A problem of the proxy's file as one of the variable behind that field."""
    within = "." in problem.field
    remedy = _in_variables(problem.remedy, within)
    remedy = remedy[:1].upper() + remedy[1:]
    if remedy.endswith("?"):
        remedy += " Otherwise leave it out"
    return TunnelError(_subject(problem.field), _in_variables(problem.what, within), remedy)


def _place(problem: TunnelError) -> str:
    """The variable of a problem; of a further field, that field."""
    variable = problem.subject.partition("[")[0]
    return problem.subject if variable == FURTHER else variable


def _subject(field: str) -> str:
    """The variable behind a field, and the place in it: ``limits.x`` is ``proxy_limits['x']``."""
    for known, variable in FIELDS.items():
        rest = field[len(known) :]
        if field.startswith(known) and rest[:1] in ("", "[", "."):
            return f"{variable}[{shown(rest[1:])!r}]" if rest[:1] == "." else variable + rest
    return f"{FURTHER}[{shown(field)!r}]"


def _in_variables(text: str, within: bool) -> str:
    """The text of a problem with variables in the place of fields.

    :param within: whether the problem is of a field within another. There, a plain word such as
        ``timeouts`` is a word, or a field of that one.
    """

    def variable(found: re.Match[str]) -> str:
        if not found[1] or (within and found[0].isalpha()):
            return found[0]
        return _IN_TEXT[found[1]] + (f"[{found[2]!r}]" if found[2] else "")

    return _QUOTED_OR_FIELD.sub(variable, text)
