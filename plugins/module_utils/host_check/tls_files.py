# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the proxy can use its files for TLS towards upstreams. Reads only."""

from __future__ import annotations

import os
import pwd
import ssl
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

OPTIONS = ("client_cert", "client_key", "ca_file")
_USER = "mcp-proxy"
# Below these, the proxy's unit shows it nothing, or something else (ProtectHome=, PrivateTmp=).
_HIDDEN = ("/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/")  # noqa: S108


def problems(routes: Iterable[Mapping[str, Any]]) -> list[str]:
    """What is wrong with the files of the routes, each with the variable and a remedy.

    :param routes: for each route, ``route``, its name, and the paths in OPTIONS, empty for none.
        Without a name, they are for all routes.
    """
    return [problem for route in routes for problem in _of_a_route(route)]


def _of_a_route(route: Mapping[str, Any]) -> Iterator[str]:
    paths = {option: route[option] for option in OPTIONS if route[option]}
    found = {option: _unusable(path) for option, path in paths.items()}
    for option, problem in found.items():
        if problem:
            yield f"{_variable(route, option)}: {paths[option]} {problem}"
    if not any(found.values()):
        yield from _misfits(route, paths)


def _variable(route: Mapping[str, Any], option: str) -> str:
    if not route["route"]:
        return f"proxy_upstream_{option}"
    return f"mcp_tunnel_route_options['{route['route']}.{option}']"


def _unusable(path: str) -> str:
    """Why the proxy cannot read the file, with the remedy; '' if it can."""
    # Of a link, the unit shows the proxy the name and hides the file.
    if path.startswith(_HIDDEN) or os.path.realpath(path).startswith(_HIDDEN):
        return "is hidden from the proxy by its unit. Put it elsewhere, for example below /etc"
    if not os.path.isfile(path):
        return "does not exist on the host. Put the file there, or correct the path"
    if _may_read(path):
        return ""
    return (
        f"cannot be read by the user {_USER}. Give it to the group {_USER} with mode 0640, and let "
        "that group enter its directories; where there is no such group yet, deploy once without it"
    )


def _may_read(path: str) -> bool:
    """Whether the user of the proxy may; before there is one, whether everybody may."""
    try:
        account = pwd.getpwnam(_USER)
    except KeyError:
        account = pwd.getpwnam("nobody")
    if account.pw_uid == os.geteuid():
        return os.access(path, os.R_OK)
    done = subprocess.run(  # noqa: S603
        ["/usr/bin/test", "-r", path],
        user=account.pw_uid,
        group=account.pw_gid,
        extra_groups=os.getgrouplist(account.pw_name, account.pw_gid),
        check=False,
    )
    return done.returncode == 0


def _misfits(route: Mapping[str, Any], paths: Mapping[str, str]) -> Iterator[str]:
    """What a TLS client has against the files."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if "client_cert" in paths:
        try:
            # An empty passphrase: OpenSSL would ask for that of an encrypted key.
            context.load_cert_chain(paths["client_cert"], paths["client_key"], password="")
        except (ssl.SSLError, OSError) as error:
            yield (
                f"{_variable(route, 'client_key')}: {paths['client_key']} is no key of "
                f"{paths['client_cert']} ({getattr(error, 'reason', None) or error}). Give a "
                "certificate and its key, both in PEM, the key without passphrase"
            )
    if "ca_file" in paths:
        try:
            context.load_verify_locations(paths["ca_file"])
        except (ssl.SSLError, OSError):
            yield (
                f"{_variable(route, 'ca_file')}: {paths['ca_file']} holds no usable PEM "
                "certificate. Put the CA certificates of the upstream there"
            )
