#!/usr/bin/python
# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: server_cert
short_description: Keeps the inner-TLS server certificate of a replica
version_added: 0.1.0
description:
  - Each replica makes its own key; only a certificate request and a certificate travel between the
    hosts.
  - With O(state=requested), on the replica, the stored certificate is checked. When it is missing,
    breaks a requirement, or is due for renewal, a new key is put beside the live one and a request
    (CSR) is returned. This is the only call that a replica with a good certificate needs.
  - With O(state=signed), on the state host, that request is checked and signed directly with the
    tunnel's CA, but only if O(domain) is that of the CA's tunnel, which is stored beside the CA
    as C(tunnel-domain).
  - Where the CA's key is on no host, O(signer) names the program that has the request signed. Its
    answer is judged before it is returned.
  - With O(state=installed), on the replica, the new certificate is checked and replaces the live
    pair together with its key. The proxy picks the pair up without a restart.
  - A certificate and key that the operator brings need only O(state=installed).
  - The next run completes one that was interrupted half-way.
extends_documentation_fragment:
  - mcp_tunnels.stack.attributes
  - mcp_tunnels.stack.cryptography
options:
  state:
    description: The step to take.
    type: str
    choices: [requested, signed, installed]
    required: true
  path:
    description:
      - With O(state=requested) and O(state=installed) the existing directory of C(tls.crt) and
        C(tls.key) on the replica, for example V(/etc/mcp-tunnel/default/tls).
      - With O(state=signed) the state directory that holds C(ca.crt) and C(ca.key).
    type: path
    required: true
  domain:
    description: Domain of the tunnel. The certificate is made for C(*.<domain>) and C(<domain>).
    type: str
    required: true
  routes:
    description:
      - Keys of the proxy's routes. Those that are full host names more than one label below
        O(domain) are added to the certificate, because a wildcard does not cover them.
      - A certificate that the operator brings may list the host name of each route instead of the
        wildcard.
    type: list
    elements: str
    default: []
  ca_certificate:
    description:
      - The tunnel's CA certificate (PEM), as RV(mcp_tunnels.stack.tunnel_ca#module:certificate)
        returns it.
      - Required with O(state=requested) and O(state=installed). May be empty in check mode, when
        the CA is still to be made.
    type: str
  csr:
    description: The request to sign. Required with O(state=signed); may be empty in check mode.
    type: str
  certificate:
    description: The certificate to install. Required with O(state=installed); may be empty in check
      mode.
    type: str
  private_key:
    description:
      - Unencrypted private key (PEM) of O(certificate), for O(state=installed) of a pair that the
        operator brings.
      - Without it the key is the one that O(state=requested) has made on this host.
    type: str
  signer:
    description:
      - Who signs with O(state=signed), if the CA's key is not in O(path), which then holds
        C(ca.crt) alone.
      - The answer has to be a certificate for the key and the names of O(csr) and for no others,
        for a TLS server, signed directly by C(ca.crt), for at most O(duration) and for longer than
        O(renew_before). Else the task fails. In check mode, nobody is asked.
    type: dict
    suboptions:
      source:
        description: V(command) runs a program on this host; V(vault) asks HashiCorp Vault or
          OpenBao.
        type: str
        choices: [command, vault]
        required: true
      command:
        description:
          - The absolute path of a program, and its arguments, none of them a secret. No shell
            reads them.
          - It gets the request (PEM) on standard input, and writes the certificate (PEM) to
            standard output, with or without its chain. It has 30 seconds and 64 KiB.
          - With systemd and as root, it runs as a user that exists for that moment, with the
            limits of the unit in which the state host answers renewals by timers.
          - Required with V(command).
        type: list
        elements: str
      secret_file:
        description: A file on this host. The program finds it as C($CREDENTIALS_DIRECTORY/secret);
          for V(vault) it has the token, and is required.
        type: path
      address:
        description: URL of Vault, for V(vault).
        type: str
      path:
        description: Path of the call, like V(pki/sign/tunnel), for V(vault). A mount of the PKI
          secrets engine, C(sign), and a role.
        type: str
      namespace:
        description: Namespace of Vault, if there is one.
        type: str
      ca_file:
        description: File on this host with the CAs (PEM) that verify Vault's certificate. By
          default the system's.
        type: path
  duration:
    description:
      - Lifetime of a certificate that is signed, as hours and minutes (V(2160h)) or days (V(90d)).
      - It never outlives the CA, and starts five minutes in the past for hosts whose clocks are
        behind.
    type: str
    default: 2160h
  renew_before:
    description:
      - A certificate is renewed when less than this remains. Must be shorter than O(duration).
      - A certificate that already lasts as long as its CA is not renewed, as that would gain
        nothing.
    type: str
    default: 720h
  owner:
    description: Owner of C(tls.crt) and C(tls.key).
    type: str
    default: root
  group:
    description: Group of C(tls.crt) and C(tls.key).
    type: str
    default: mcp-proxy
  mode:
    description: Permissions of C(tls.crt) and C(tls.key), four octal digits in quotes.
    type: str
    default: "0640"
  encryption:
    description:
      - With O(state=requested) and O(state=installed), how C(tls.key) is on the disk, see
        O(mcp_tunnels.stack.file_set#module:entries[].encryption). Without it, it stays as it is; a
        new one is in clear.
      - The key of a new certificate is the live one where that is encrypted. systemd hands it to
        the proxy when it starts, and another one would need a restart. To get another, remove the
        file.
    type: str
    choices: [none, host, tpm2]
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: Check the certificate of this replica
  mcp_tunnels.stack.server_cert:
    state: requested
    path: /etc/mcp-tunnel/default/tls
    domain: abcd1234.tunnel.anthropic.com
    ca_certificate: "{{ ca.certificate }}"
  register: request

- name: Sign the request with the tunnel's CA
  mcp_tunnels.stack.server_cert:
    state: signed
    path: /var/lib/mcp-tunnel/default
    domain: abcd1234.tunnel.anthropic.com
    csr: "{{ request.csr }}"
  delegate_to: "{{ state_host }}"
  register: signed
  when: request.needed

- name: Install the certificate
  mcp_tunnels.stack.server_cert:
    state: installed
    path: /etc/mcp-tunnel/default/tls
    domain: abcd1234.tunnel.anthropic.com
    ca_certificate: "{{ ca.certificate }}"
    certificate: "{{ signed.certificate }}"
  when: request.needed

- name: Have the company's CA sign the request
  mcp_tunnels.stack.server_cert:
    state: signed
    path: /var/lib/mcp-tunnel/default
    domain: abcd1234.tunnel.anthropic.com
    csr: "{{ request.csr }}"
    signer:
      source: command
      command: [/usr/local/bin/sign-csr, --profile, tunnel]
      secret_file: /etc/sign-csr/password
  delegate_to: "{{ state_host }}"
  register: signed
  when: request.needed

- name: Install a certificate and key that the operator brings
  mcp_tunnels.stack.server_cert:
    state: installed
    path: /etc/mcp-tunnel/default/tls
    domain: abcd1234.tunnel.anthropic.com
    routes: [echo, tickets]
    ca_certificate: "{{ lookup('ansible.builtin.file', 'tunnel-ca.crt') }}"
    certificate: "{{ lookup('ansible.builtin.file', 'tunnel-server.crt') }}"
    private_key: "{{ vault_tunnel_server_key }}"
"""

RETURN = r"""
needed:
  description: Whether a new certificate has to be signed and installed.
  returned: O(state=requested)
  type: bool
  sample: true
reasons:
  description: Why a new certificate is needed.
  returned: O(state=requested)
  type: list
  elements: str
  sample: ["it ends on 2026-12-01T12:00:00Z and is due for renewal"]
csr:
  description: The request to sign (PEM). Empty when none is needed, and in check mode.
  returned: O(state=requested)
  type: str
  sample: "-----BEGIN CERTIFICATE REQUEST-----\n..."
certificate:
  description: The signed certificate (PEM). Empty in check mode when it cannot be made yet.
  returned: O(state=signed)
  type: str
  sample: "-----BEGIN CERTIFICATE-----\n..."
fingerprint:
  description: Lower-case hexadecimal SHA-256 of the certificate's DER form.
  returned: when there is a certificate
  type: str
  sample: 0b62a1b5c55e1d41e8ae6e1f0c8d7f3a9a4b7b0b2c3d4e5f60718293a4b5c6d7
names:
  description: Host names that the certificate is made for.
  returned: when there is a certificate
  type: list
  elements: str
  sample: ["*.abcd1234.tunnel.anthropic.com", "abcd1234.tunnel.anthropic.com"]
issuer:
  description: Issuer of the certificate.
  returned: when there is a certificate
  type: str
  sample: CN=MCP tunnel CA
not_before:
  description: Start of validity, UTC.
  returned: when there is a certificate
  type: str
  sample: "2026-11-01T11:55:00Z"
not_after:
  description: End of validity, UTC.
  returned: when there is a certificate
  type: str
  sample: "2027-01-30T12:00:00Z"
"""

from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.at_rest import FORMS
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import run
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.quiet_module import QuietModule
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki.server_store import (
    ServerCertOptions,
    install,
    request,
    sign,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.signer import settings

VERBS = {"requested": request, "signed": sign, "installed": install}


def main() -> None:
    module = QuietModule(
        argument_spec={
            "state": {"type": "str", "choices": list(VERBS), "required": True},
            "path": {"type": "path", "required": True},
            "domain": {"type": "str", "required": True},
            "routes": {"type": "list", "elements": "str", "default": []},
            "ca_certificate": {"type": "str"},
            "csr": {"type": "str"},
            "certificate": {"type": "str"},
            "private_key": {"type": "str", "no_log": True},
            "signer": {
                "type": "dict",
                "options": {
                    "source": {"type": "str", "choices": list(settings.OPTIONS), "required": True},
                    "command": {"type": "list", "elements": "str"},
                    "secret_file": {"type": "path", "no_log": False},
                    "address": {"type": "str"},
                    "path": {"type": "str"},
                    "namespace": {"type": "str"},
                    "ca_file": {"type": "path"},
                },
            },
            "duration": {"type": "str", "default": "2160h"},
            "renew_before": {"type": "str", "default": "720h"},
            "encryption": {"type": "str", "choices": list(FORMS)},
            "owner": {"type": "str", "default": "root"},
            "group": {"type": "str", "default": "mcp-proxy"},
            "mode": {"type": "str", "default": "0640"},
        },
        required_if=[
            ("state", "requested", ["ca_certificate"]),
            ("state", "signed", ["csr"]),
            ("state", "installed", ["ca_certificate", "certificate"]),
        ],
        supports_check_mode=True,
    )
    options = {**module.params, "encryption": module.params["encryption"] or ""}
    run(module, lambda: take_step(options, module.check_mode))


def take_step(options: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Takes the step that the options name, and returns its result."""
    verb = VERBS[options.pop("state")]
    signer = settings.read(options.pop("signer"))
    chosen = ServerCertOptions(**options)
    if signer and verb is sign:
        # Loaded here: it takes longer to load than any other step needs.
        from ansible_collections.mcp_tunnels.stack.plugins.module_utils.signer import sources

        return sign(chosen, check_mode, signer=sources.asker(signer, chosen.duration))
    return verb(chosen, check_mode)


if __name__ == "__main__":
    main()
