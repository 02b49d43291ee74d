# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# ruff: noqa: E402  # Ansible wants the documentation before the imports.
"""Lookup plugin template: that of ansible-core, without a deep copy of all variables."""

from __future__ import annotations

DOCUMENTATION = r"""
name: template
short_description: Renders a template, without a copy of all variables
version_added: 0.1.0
author:
  - The mcp_tunnels.stack authors (@mcp-tunnels)
description:
  - Renders a template as the lookup C(ansible.builtin.template) does, by that plugin.
  - That plugin makes a deep copy of all variables for each template. They hold what is known of
    every host. With 25 hosts, the copies took nearly half of the time of a task with two templates.
    This one gives it variables that are copied one level deep. A template that changes a variable
    in place would therefore change it for others; those of this collection change none.
options:
  _terms:
    description: Names of templates.
    required: true
"""

EXAMPLES = r"""
- name: Write a drop-in
  mcp_tunnels.stack.file_set:
    entries:
      - path: /etc/systemd/system/mcp-proxy@default.service.d/10-instance.conf
        content: "{{ lookup('mcp_tunnels.stack.template', 'instance.conf.j2') }}"
        mode: "0644"
"""

RETURN = r"""
_raw:
  description: The rendered templates.
  type: list
  elements: str
"""

from typing import Any

from ansible.plugins.loader import lookup_loader
from ansible.plugins.lookup import LookupBase


class _Shared(dict):  # type: ignore[type-arg]  # Subscripted only since Python 3.9.
    """Variables of which a deep copy is a copy of one level."""

    def __deepcopy__(self, memo: Any) -> dict[str, Any]:
        return dict(self)


class LookupModule(LookupBase):
    """Hands over to the plugin of ansible-core."""

    def run(self, terms: list[Any], variables: Any = None, **kwargs: Any) -> list[str]:
        """See the documentation above."""
        plugin = lookup_loader.get(
            "ansible.builtin.template", loader=self._loader, templar=self._templar
        )
        rendered: list[str] = plugin.run(terms, variables=_Shared(variables or {}), **kwargs)
        return rendered
