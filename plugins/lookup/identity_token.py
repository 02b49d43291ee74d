# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: E402  # Ansible wants the documentation before the imports.
"""Lookup plugin identity_token: an identity token, fetched on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
name: identity_token
short_description: Fetches an identity token on the controller
version_added: 0.1.0
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
description:
  - Fetches an identity token (a JWT of an OIDC issuer) from where the controller runs, for the
    option O(mcp_tunnels.stack.tunnel#module:identity_literal) of a module that runs elsewhere.
  - The value is a secret. Use it in a task with C(no_log=true), or directly in the module's option,
    which is not logged.
extends_documentation_fragment:
  - mcp_tunnels.stack.identity
options:
  _terms:
    description: None are used.
    required: false
requirements:
  - requests >= 2.25.0
"""

EXAMPLES = r"""
- name: Attach a state directory with the identity of the machine that runs Ansible
  mcp_tunnels.stack.tunnel:
    path: /var/lib/mcp-tunnel/default
    display_name: production
    federation_rule_id: fdrl_01AbCdEf
    organization_id: 6f5b1c0e-5f0a-4c57-9d9e-2f0a7e1f4b2c
    identity_source: literal
    identity_literal: "{{ lookup('mcp_tunnels.stack.identity_token', identity_source='gcp') }}"
"""

RETURN = r"""
_raw:
  description: The token, as a list of one.
  type: list
  elements: str
"""

from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.options import local_web
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.identity.identity import Identity
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.identity.jwt_claims import check_jwt
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.identity.sources import (
    IDENTITY_SPEC,
    check_source,
    origin,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.web.web import Web


class LookupModule(LookupBase):
    def run(self, terms: list[Any], variables: Any = None, **kwargs: Any) -> list[str]:
        self.set_options(var_options=variables, direct=kwargs)
        if terms:
            raise AnsibleError(
                f"identity_token: takes no terms, but {len(terms)} were given. "
                "Name the options, like identity_source='gcp'."
            )
        try:
            options = {name: self.get_option(name) for name in IDENTITY_SPEC}
            source = check_source(options)
            token = source.fetch(Identity(options, Web(), local_web()))
            return [check_jwt(token, origin(options))]
        except TunnelError as error:
            raise AnsibleError(f"identity_token: {error}") from None
