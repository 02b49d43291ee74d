# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that say where an identity token comes from; an example of each source."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  identity_source:
    description:
      - Where the identity token (a JWT of an OIDC issuer) comes from.
      - An option that does not belong to the source is refused.
      - "V(file): O(identity_file). Example C(identity_source=file identity_file=/run/token)."
      - "V(environment): O(identity_variable), else exactly one of C(ANTHROPIC_IDENTITY_TOKEN) and
        C(ANTHROPIC_IDENTITY_TOKEN_FILE). Example C(identity_source=environment
        identity_variable=CI_JOB_JWT)."
      - "V(literal): O(identity_literal). Example C(identity_source=literal identity_literal={{
        vault_token }})."
      - "V(gcp): the metadata server of a Google Cloud machine. Example C(identity_source=gcp)."
      - "V(azure): the managed identity of an Azure machine. Example C(identity_source=azure
        identity_azure_app_id=00000000-0000-0000-0000-000000000000)."
      - "V(aws): STS C(GetWebIdentityToken), with credentials from the environment, a container's
        endpoint or the instance's metadata. Example C(identity_source=aws
        identity_aws_region=eu-central-1)."
      - "V(spiffe): a SPIFFE Workload API, by the Python library C(spiffe) or by SPIRE's command.
        Example C(identity_source=spiffe identity_spiffe_socket=/run/spire/agent/public/api.sock)."
      - "V(kubernetes): the projected token of a service account. Example
        C(identity_source=kubernetes identity_file=/var/run/secrets/tokens/anthropic)."
      - "V(github_actions): the workflow's job, with the permission C(id-token: write). Example
        C(identity_source=github_actions)."
      - "V(okta): client credentials with a private key, by the Python library C(pyjwt). Example
        C(identity_source=okta identity_okta_issuer=https://example.okta.com/oauth2/default
        identity_okta_client_id=0oa1 identity_okta_key_file=/etc/okta.pem
        identity_okta_scope=tunnels)."
      - "V(command): O(identity_command). Example C(identity_source=command
        identity_command=['/usr/local/bin/print-token', '--audience', 'x'])."
    type: str
    choices:
      - file
      - environment
      - literal
      - gcp
      - azure
      - aws
      - spiffe
      - kubernetes
      - github_actions
      - okta
      - command
  identity_audience:
    description:
      - Audience of the token, as the federation rule wants it; by default
        V(https://api.anthropic.com).
      - For the sources V(gcp), V(aws), V(spiffe) and V(github_actions).
    type: str
  identity_endpoint:
    description:
      - URL of the metadata server (V(gcp), V(azure)) or of STS (V(aws)), where it is not the
        platform's own.
    type: str
  identity_file:
    description:
      - File that holds the token, for V(file) and V(kubernetes). It is read on each exchange.
    type: path
  identity_variable:
    description: Name of the environment variable that holds the token, for V(environment).
    type: str
  identity_literal:
    description: The token itself, for V(literal).
    type: str
  identity_azure_app_id:
    description: ID of the application that the token is for, for V(azure).
    type: str
  identity_azure_client_id:
    description: Client ID of the managed identity, for V(azure) machines that have several.
    type: str
  identity_aws_region:
    description:
      - Region whose STS is asked, for V(aws); by default that of the environment or instance.
    type: str
  identity_aws_metadata_endpoint:
    description: URL of the instance's metadata service, for V(aws), where it is not the usual one.
    type: str
  identity_spiffe_socket:
    description:
      - Path of the Workload API's socket, for V(spiffe); by default C(SPIFFE_ENDPOINT_SOCKET) or
        C(/run/spire/agent/public/api.sock).
      - SPIRE's own default is in C(/tmp), where any local user can make it before the agent does.
        Such a path must be given, and is refused if its directory in C(/tmp) is not root's.
    type: str
  identity_spiffe_agent:
    description: Path of C(spire-agent), for V(spiffe) without the Python library C(spiffe).
    type: path
  identity_okta_issuer:
    description: Issuer of the authorization server, for V(okta).
    type: str
  identity_okta_client_id:
    description: Client ID of the service application, for V(okta).
    type: str
  identity_okta_key_file:
    description: File with the service application's private key (PEM), for V(okta).
    type: path
  identity_okta_key_id:
    description: ID of that key, for V(okta) applications that have several.
    type: str
  identity_okta_scope:
    description: Scope that the authorization server is asked for, for V(okta).
    type: str
  identity_okta_algorithm:
    description: Algorithm of that key, for V(okta); by default V(RS256).
    type: str
    choices: [RS256, RS384, RS512, ES256]
  identity_command:
    description:
      - Program and arguments whose output is the token, for V(command). No shell is involved.
    type: list
    elements: str
"""
