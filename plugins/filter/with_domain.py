# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of a host, once the API has given its tunnel's domain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import proxy_config

DOCUMENTATION = r"""
---
name: with_domain
short_description: Completes a plan with the domain that the API has reported
version_added: 0.1.0
description:
  - In mode C(wif), the domain of a tunnel may be unknown when the variables are checked. This
    filter puts it into the plan, and into the proxy's configuration there, which is judged anew.
  - A plan that has a domain, and an empty domain, leave the plan as it is.
positional: domain
options:
  _input:
    description: The result of M(mcp_tunnels.stack.preflight).
    type: dict
    required: true
  domain:
    description: The tunnel's domain.
    type: str
    required: true
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
"""

EXAMPLES = r"""
- name: Take the domain that the API has reported
  ansible.builtin.set_fact:
    mcp_tunnel_plan: "{{ mcp_tunnel_plan | mcp_tunnels.stack.with_domain(tunnel.domain) }}"
"""

RETURN = r"""
_value:
  description: The plan, with C(domain) and C(proxy_config).
  type: dict
"""


def with_domain(plan: Mapping[str, Any], domain: str) -> dict[str, Any]:
    """See the filter's documentation."""
    if plan["domain"] or not domain:
        return dict(plan)
    try:
        text = proxy_config.with_domain(str(plan["proxy_config"]), str.__str__(domain))
    except TunnelError as error:
        raise AnsibleFilterError(str(error)) from None
    return {**plan, "domain": domain, "proxy_config": text}


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """See the filter's documentation."""
        return {"with_domain": with_domain}
