# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command mcp-tunnel-renew-cert: a new server certificate from the CA that this host holds.

Like the vendor's ``setup renew-cert``: no call of the API, and nothing to do while more than
``--renew-before`` remains. A timer runs it from the proxy's release, on a host without Ansible.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from datetime import datetime

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.duration import parse_duration
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.instances import check_instance
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.state_files import StateFile
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki import crypto
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki.key_pair import KeyPair
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki.server_store import (
    ServerCertOptions,
    install,
    request,
    sign,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica.records import (
    RECORDS,
    Records,
)

CONFIGURATIONS = "/etc/mcp-tunnel"
STATES = "/var/lib/mcp-tunnel"
# The owner, group and mode that the role proxy gives the pair.
OWNER, GROUP, MODE = "root", "mcp-proxy", "0640"


def main(arguments: list[str] | None = None) -> int:
    """Renews if it is time to, says in one line what was done, and returns the exit status."""
    given = _parse(arguments)
    try:
        done = renew(given.instance, given.route, given.duration, given.renew_before)
    except TunnelError as error:
        return _fail(str(error))
    except OSError as error:
        problem = error.strerror or error
        return _fail(
            f"{error.filename or 'file'}: {problem}. Run it as root, and check the file system."
        )
    sys.stdout.write(f"{done}\n")
    return 0


def _fail(message: str) -> int:
    sys.stderr.write(f"{message}\n")
    return 1


def renew(
    instance: str,
    routes: list[str],
    duration: str,
    renew_before: str,
    now: datetime | None = None,
) -> str:
    """Renews the server certificate of *instance* on this host if less than *renew_before* remains.

    :param routes: keys of the proxy's routes, for those that the wildcard does not cover.
    :param duration: lifetime of a new certificate, like *renew_before* as ``2160h`` or ``90d``.
    :returns: what was done, in one line.
    :raises TunnelError: if this host cannot sign, or renewal would gain nothing.
    """
    now = now or crypto.utc_now()
    state = os.path.join(STATES, check_instance(instance))
    ca_files = KeyPair(state, "ca")
    files = KeyPair(os.path.join(CONFIGURATIONS, instance, "tls"), "tls")
    ca = ca_files.certificate()
    domain = StateFile(state, "tunnel-domain").read()
    if ca is None or not domain:
        raise TunnelError(
            state,
            f"has no {'domain' if ca else 'CA'} of instance {instance!r}",
            "Run this on the state host, which keeps both, after site.yml",
        )
    options = ServerCertOptions(
        path=os.path.dirname(files.key_path),
        domain=domain,
        owner=OWNER,
        group=GROUP,
        mode=MODE,
        duration=duration,
        renew_before=renew_before,
        routes=routes,
        ca_certificate=crypto.pem_of(ca),
    )
    requested = request(options, check_mode=False, now=now)
    if not requested["needed"]:
        end = crypto.not_after(files.certificate())
        if end - now <= parse_duration(renew_before):
            raise TunnelError(
                ca_files.certificate_path,
                f"ends on {crypto.timestamp(end)}, so no certificate of it can last longer than "
                "the one that is here",
                "Rotate the CA (rotate_ca.yml; in mode manual, see docs/provisioning.md of the "
                "collection)",
            )
        return f"not needed: {(end - now).days} days remain, until {crypto.timestamp(end)}"
    signed = sign(replace(options, path=state, csr=requested["csr"]), check_mode=False, now=now)
    certificate = signed["certificate"]
    installed = install(replace(options, certificate=certificate), check_mode=False, now=now)
    Records(instance, RECORDS).take_for_good([files.key_path, files.certificate_path])
    return (
        f"renewed, because {', '.join(requested['reasons'])}: "
        f"fingerprint {installed['fingerprint']}, until {installed['not_after']}"
    )


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="mcp-tunnel-renew-cert",
        description="Renews the server certificate of a replica that holds its tunnel's CA.",
    )
    parser.add_argument("--instance", required=True, help="name of the instance, like default")
    parser.add_argument("--renew-before", default="720h", help="renew when less than this remains")
    parser.add_argument("--duration", default="2160h", help="lifetime of a new certificate")
    parser.add_argument(
        "--route", action="append", default=[], help="key of a route of the proxy; repeatable"
    )
    return parser.parse_args(arguments)
