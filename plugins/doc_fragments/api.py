# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the modules that call the Tunnels API."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  api_url:
    description:
      - URL of the API. It has to be https; plain http is accepted for this host only.
    type: str
    default: https://api.anthropic.com
  api_surface:
    description:
      - Which of the API's two surfaces is used.
      - V(tunnels) is C(/v1/tunnels) with the scope C(workspace:manage_tunnels).
      - V(organizations) is the older C(/v1/organizations/tunnels) with the scope
        C(org:manage_tunnels). It cannot create tunnels, and ends with its migration window.
    type: str
    choices: [tunnels, organizations]
    default: tunnels
  api_ca_bundle:
    description:
      - File of PEM certificates, or hashed directory, of the CAs that are trusted.
      - Without it, C(REQUESTS_CA_BUNDLE), C(CURL_CA_BUNDLE) and C(SSL_CERT_FILE) of the task's
        environment are used, else the system's CAs.
    type: path
  api_proxy:
    description:
      - URL of the proxy that leads to the API.
      - Without it, C(HTTPS_PROXY) and C(NO_PROXY) of the task's environment are used.
    type: str
  api_timeout:
    description: Seconds to wait for an answer.
    type: int
    default: 30
  api_retries:
    description:
      - How often a call is repeated after a connection error or an answer 429 or 5xx, with growing
        pauses or the one that the API asks for, of at most a minute.
      - Calls that must not happen twice are repeated only after a check that they had no effect.
    type: int
    default: 4
  federation_rule_id:
    description: ID of the federation rule, V(fdrl_...).
    type: str
  organization_id:
    description: ID of the organization, a UUID.
    type: str
  service_account_id:
    description: ID of the service account that the rule lets in, V(svac_...).
    type: str
  workspace_id:
    description:
      - ID of the workspace, V(wrkspc_...) or V(default). Needed when the rule covers several.
    type: str
  session_file:
    description:
      - File below C(/run) that keeps the access token (mode V(0600)) for the tasks that follow, so
        that they need no exchange of their own. Remove it after the last of them.
      - It is written in check mode, too, so remove it then as well. An identity token that has a
        C(jti) can be exchanged once only.
    type: path
requirements:
  - requests >= 2.25.0
"""
