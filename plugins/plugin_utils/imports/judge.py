# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the parts of a deployment are all there and fit together, and the variables of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.values import shown
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki.server import (
    validate_server_cert,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.imports import proxy_fields
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.imports.deployment import (
    Deployment,
    upstream_ca,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.imports.files import Files
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.imports.pieces import CONFIG, Pieces
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import (
    plan,
    role_options,
)

#: The variables that are secrets.
SECRETS = ("mcp_tunnel_token", "mcp_tunnel_ca_key")
#: Variables, and the parts that they are.
_PARTS = {
    "mcp_tunnel_domain": "tunnel-domain",
    "mcp_tunnel_id": "tunnel-id",
    "mcp_tunnel_token": "tunnel-token",
    "mcp_tunnel_ca_cert": "ca.crt",
    "mcp_tunnel_ca_key": "ca.key",
}
#: Parts without which nothing can be imported, and where they are to be had.
_NEEDED = {
    "tunnel-token": "Put it there: the output of the setup component, or the tunnel token of the "
    "Console, which cloudflared has as TUNNEL_TOKEN or from the chart's Secret",
    "tunnel-domain": "Put it there, or set tunnel_domain in the configuration of the proxy",
    "ca.crt": "Put the CA certificate there that is registered on the tunnel",
    "ca.key": "Put the key there that ca.crt was made with: replicas get certificates of that CA. "
    "Without it, see docs/import.md of the collection, on lost keys",
    CONFIG: "Put the configuration of the proxy there: config/mcp-proxy.yaml of Compose, or the "
    "chart's ConfigMap",
}
_PAIR = ("tls.crt", "tls.key")
_TEMPLATES = ("{{", "{%", "{#")
_OF_KUBERNETES = (".svc", ".cluster.local")
#: As containers of Docker and Podman name the machine that they run on.
_OF_ONE_HOST = (".localhost", ".docker.internal", ".containers.internal")
_ONE_HOST = "the containers' own host, which for each replica would be another one"
_CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


@dataclass
class Judged:
    """The variables that a deployment becomes, or what is in the way.

    Attributes:
        variables: by name; those of SECRETS are secrets.
        notes: what was not taken over, and what to look at.
        problems: everything that is wrong.
    """

    variables: dict[str, Any] = field(default_factory=dict, repr=False)
    notes: list[str] = field(default_factory=list)
    problems: list[TunnelError] = field(default_factory=list)


def judge(deployment: Deployment, files: Files) -> Judged:
    """The variables for our hosts, of a deployment that was read as a whole."""
    pieces = deployment.pieces
    problems = list(_missing(pieces))
    where = deployment.config_where
    translated = proxy_fields.translate(deployment.config, where)
    variables = {**translated.variables, "mcp_tunnel_mode": "manual"}
    for name, part in _PARTS.items():
        if found := pieces.get(part):
            variables[name] = found.text + ("\n" if name.startswith("mcp_tunnel_ca_") else "")
    if translated.ca_file:
        problems += _take_upstream_ca(files, translated.ca_file, where, variables)
    problems += translated.problems
    problems += _templates(variables)
    problems += _not_reached(variables, deployment)
    problems += _unfit(variables, pieces, where)
    if not (problems or pieces.broken):
        problems += _foreign_pair(variables, pieces)
    notes = translated.left + list(_notes(variables, pieces))
    return Judged(variables, notes, problems)


def _missing(pieces: Pieces) -> Iterator[TunnelError]:
    for name, remedy in _NEEDED.items():
        if pieces.lacks(name):
            yield TunnelError(name, "is not in the directory, nor in a Secret there", remedy)
    for name, other in (_PAIR, _PAIR[::-1]):
        if pieces.get(name) and pieces.lacks(other):
            yield TunnelError(name, "is only half of a pair", f"Put {other} there, too")


def _take_upstream_ca(
    files: Files, path: str, where: str, variables: dict[str, Any]
) -> Iterator[TunnelError]:
    try:
        text = upstream_ca(files, path)
    except TunnelError as error:
        yield error
        return
    if text is not None:
        variables["proxy_upstream_ca"] = _certificates(text)
        return
    yield TunnelError(
        f"{where}: {proxy_fields.CA_FILE}",
        f"is {shown(path)}, and no file of that name is in the directory or in its data",
        "Copy that file from the container, or from the volume, into data",
    )


def _certificates(text: str) -> str:
    """The certificates of a bundle, without texts beside them: they are written in clear.

    A text with anything else in it stays as it is, and the preflight refuses it.
    """
    found = _CERTIFICATE.findall(text)
    return "\n".join(found if found and "PRIVATE KEY" not in text else [text.strip()]) + "\n"


def _templates(variables: Mapping[str, Any]) -> Iterator[TunnelError]:
    """In an inventory, such a text would be evaluated, on the controller."""
    for name, value in variables.items():
        if any(mark in text for text in _texts(value) for mark in _TEMPLATES):
            yield TunnelError(
                _PARTS.get(name, name),
                "has a text that Ansible would evaluate as a template",
                "Find out who wrote that; no deployment needs it",
            )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from (*_texts(key), *_texts(item))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value


def _hosts(variables: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The routes and the hosts of their upstreams, of those that can be read."""
    routes = variables.get("mcp_tunnel_routes")
    for name, url in routes.items() if isinstance(routes, Mapping) else ():
        try:
            yield str(name), urlsplit(str(url)).hostname or ""
        except ValueError:
            continue  # the proxy's rules refuse it


def _not_reached(variables: Mapping[str, Any], deployment: Deployment) -> Iterator[TunnelError]:
    """Upstreams that only containers know."""
    for route, host in _hosts(variables):
        if kind := _kind(host.rstrip("."), deployment):
            yield TunnelError(
                f"{deployment.config_where}: routes[{shown(route)!r}]",
                f"leads to {shown(host)}, {kind}",
                "Make that server reachable for the hosts, and write its address into the copy",
            )


def _kind(host: str, deployment: Deployment) -> str:
    """What is wrong with an upstream's host, in small letters; empty if nothing is."""
    try:
        address = ip_address(host)
    except ValueError:
        pass
    else:
        return _ONE_HOST if address.is_loopback or address.is_unspecified else ""
    if f".{host}".endswith(_OF_ONE_HOST):
        return _ONE_HOST
    if host in map(str.lower, deployment.services):
        return "a service of Compose, which no other host can resolve"
    name, _dot, namespace = host.partition(".")
    is_short = deployment.is_of_kubernetes and namespace in ("", *deployment.namespaces)
    if name and (is_short or host.endswith(_OF_KUBERNETES)):
        return "a Service of Kubernetes, which no other host can resolve"
    return ""


def _unfit(variables: Mapping[str, Any], pieces: Pieces, where: str) -> Iterator[TunnelError]:
    """The problems of what does not fit together, and those that the preflight would find."""
    fields = {ours: theirs for theirs, ours in proxy_fields.VARIABLES.items()}
    fields["proxy_upstream_ca"] = proxy_fields.CA_FILE
    # Of two that belong together, one that is missing is told of already.
    ca = ("mcp_tunnel_ca_cert", "mcp_tunnel_ca_key")
    told = {name for name, part in _PARTS.items() if not pieces.get(part)}
    told |= set(ca if told & set(ca) else ())
    is_whole = pieces.get(CONFIG) and CONFIG not in pieces.broken
    told |= set() if is_whole else {"mcp_tunnel_routes"}
    values = role_options.as_meant({**role_options.defaults(), **variables})
    for problem in plan.check_values(values):
        name, _bracket, item = problem.subject.partition("[")
        if name in told:
            continue
        place = ""
        if name in _PARTS and (found := pieces.get(_PARTS[name])):
            place = f"{_PARTS[name]} in {found.where}"
        elif name in fields:
            place = f"{where}: {fields[name]}{_bracket}{item}"
        subject = f"{place} ({name})" if place else problem.subject
        yield TunnelError(subject, problem.problem, problem.remedy)


def _foreign_pair(variables: Mapping[str, Any], pieces: Pieces) -> Iterator[TunnelError]:
    """Whether the deployment's own certificate is of this CA, and for this domain."""
    certificate, key = (pieces.get(name) for name in _PAIR)
    if certificate is None or key is None:
        return
    try:
        validate_server_cert(
            certificate.text,
            variables["mcp_tunnel_ca_cert"],
            variables["mcp_tunnel_domain"],
            private_key=key.text,
            subject=f"tls.crt in {certificate.where}",
            key_subject=f"tls.key in {key.where}",
        )
    except TunnelError as error:
        yield TunnelError(
            error.subject,
            error.problem,
            "Put the pair there with which the deployment runs, renewed if need be; without "
            "tls.crt and tls.key, this is not looked at",
        )


def _notes(variables: Mapping[str, Any], pieces: Pieces) -> Iterator[str]:
    if not pieces.get(_PAIR[0]):
        yield (
            "tls.crt was not there, so nothing proves that ca.crt is the CA with which the "
            "deployment runs. Compare its fingerprint with the Console."
        )
    for route, host in _hosts(variables):
        if host and "." not in host:
            yield (
                f"The route {shown(route)} leads to {shown(host)}, a name without a domain: see "
                "that each host resolves it."
            )
