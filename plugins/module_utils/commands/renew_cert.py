# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command mcp-tunnel-renew-cert: a new server certificate from the state host of this replica.

Like the vendor's ``setup renew-cert``: no call of the API, and nothing to do while more than
``--renew-before`` remains. A timer runs it from the proxy's release, on a host without Ansible. The
key is made here and stays here; the signer of the state host gets a request, over a socket behind
which it listens itself, or ssh does. Also when nothing is to do, it is asked whether it would sign,
on the same terms: a channel that is broken, and a state host with other settings, are then known
long before a certificate is due.
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
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.secret_files import read_file
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki import crypto, signing_channel
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki.key_pair import KeyPair
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki.outside import moment_of
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki.server import answer_problems
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki.server_store import (
    ServerCertOptions,
    install,
    request,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki.signing_channel import Question
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica.records import (
    LAST_SUCCESS,
    RECORDS,
    Records,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica.renewal import Renewal

_ANSWER = "the state host's answer"
CONFIGURATIONS = "/etc/mcp-tunnel"
# The owner, group and mode that the role proxy gives the pair.
OWNER, GROUP, MODE = "root", "mcp-proxy", "0640"


def main(arguments: list[str] | None = None) -> int:
    """Renews if it is time to, says in one line what was done, and returns the exit status."""
    given = _parse(arguments)
    renewal = Renewal(given.instance, given.domain, given.route, given.duration, given.renew_before)
    try:
        done = renew(renewal)
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


def renew(renewal: Renewal, now: datetime | None = None) -> str:
    """Renews the server certificate of this replica if less than ``renew_before`` remains.

    :returns: what was done, in one line.
    :raises TunnelError: if the state host does not sign, or renewal would gain nothing.
    """
    now = now or crypto.utc_now()
    configuration = os.path.join(CONFIGURATIONS, check_instance(renewal.instance))
    files = KeyPair(os.path.join(configuration, "tls"), "tls")
    options = _options(renewal, configuration)
    socket = signing_channel.socket_path(renewal.instance)
    terms = renewal.terms(options.ca_certificate or "")
    requested = request(options, check_mode=False, now=now)
    if not requested["needed"]:
        said = signing_channel.ask(socket, Question(signing_channel.CHECK, terms))
        _check_end(files, options, configuration, now)
        _remember(renewal)
        end = crypto.not_after(files.certificate())
        return (
            f"not needed: {(end - now).days} days remain, until {crypto.timestamp(end)}; "
            f"the state host {said[:200]}"
        )
    question = Question(signing_channel.SIGN, terms, requested["csr"])
    certificate = signing_channel.ask(socket, question)
    now = moment_of(crypto.load_certificate(certificate, _ANSWER), now)
    _check_answer(certificate, requested["csr"], options, now)
    installed = install(replace(options, certificate=certificate), check_mode=False, now=now)
    Records(renewal.instance, RECORDS).take_for_good([files.key_path, files.certificate_path])
    _remember(renewal)
    return (
        f"renewed, because {', '.join(requested['reasons'])}: "
        f"fingerprint {installed['fingerprint']}, until {installed['not_after']}"
    )


def _remember(renewal: Renewal) -> None:
    """Notes the time: mcp-tunnel status shows the last success, also after a failure or a boot."""
    Records(renewal.instance, RECORDS).store(LAST_SUCCESS, {})


def _options(renewal: Renewal, configuration: str) -> ServerCertOptions:
    ca = read_file(os.path.join(configuration, "ca.crt"))
    if not ca:
        raise TunnelError(
            configuration,
            f"has no CA certificate of instance {renewal.instance!r}",
            "Run this on a replica, after site.yml",
        )
    return ServerCertOptions(
        path=os.path.join(configuration, "tls"),
        domain=renewal.domain,
        owner=OWNER,
        group=GROUP,
        mode=MODE,
        duration=renewal.duration,
        renew_before=renewal.renew_before,
        routes=renewal.routes,
        ca_certificate=ca.decode("ascii", "replace"),
    )


def _check_end(
    files: KeyPair, options: ServerCertOptions, configuration: str, now: datetime
) -> None:
    """Refuses to be silent about a CA that ends before the next renewal could help.

    :raises TunnelError: if the certificate is due and cannot be made to last longer.
    """
    end = crypto.not_after(files.certificate())
    if end - now <= parse_duration(options.renew_before):
        raise TunnelError(
            os.path.join(configuration, "ca.crt"),
            f"ends on {crypto.timestamp(end)}, so no certificate of it can last longer than "
            "the one that is here",
            "Rotate the CA (rotate_ca.yml; in mode manual, see docs/provisioning.md of the "
            "collection)",
        )


def _check_answer(pem: str, asked: str, options: ServerCertOptions, now: datetime) -> None:
    """Checks what :func:`install` does not: it judges certificates that an operator brings, too.

    :param asked: the request.
    :raises TunnelError: if the state host has signed something else than was asked for.
    """
    certificate = crypto.load_certificate(pem, _ANSWER)
    problems = answer_problems(certificate, asked, parse_duration(options.duration), now)
    if problems:
        raise TunnelError(
            _ANSWER,
            "; ".join(problems),
            "The one that is here stays. Run the site playbook, and see who can sign there",
        )


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="mcp-tunnel-renew-cert",
        description="Renews the server certificate of a replica at its state host.",
    )
    parser.add_argument("--instance", required=True, help="name of the instance, like default")
    parser.add_argument("--domain", required=True, help="domain of the tunnel")
    parser.add_argument("--renew-before", default="720h", help="renew when less than this remains")
    parser.add_argument("--duration", default="2160h", help="lifetime of a new certificate")
    parser.add_argument(
        "--route", action="append", default=[], help="key of a route of the proxy; repeatable"
    )
    return parser.parse_args(arguments)
