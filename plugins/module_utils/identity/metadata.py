# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Identity tokens of platforms that hand them out over HTTP: GCP, Azure, GitHub Actions."""

from __future__ import annotations

import os

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.identity.identity import (
    Identity,
    asked,
    json_text,
    metadata_url,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.web.messages import Request
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.web.places import check_url

_GCP = "http://metadata.google.internal"
_AZURE = "http://169.254.169.254"


def from_gcp(identity: Identity) -> str:
    """Asks the metadata server of a Google Cloud machine for its service account's token."""
    endpoint = metadata_url(identity.text("endpoint", _GCP), "identity_endpoint")
    request = Request(
        "GET",
        f"{endpoint}/computeMetadata/v1/instance/service-accounts/default/identity",
        headers={"Metadata-Flavor": "Google"},
        query={"audience": identity.audience, "format": "full"},
    )
    remedy = "Run this on a Google Cloud machine that has a service account"
    return asked(identity.local_web, request, "GCP metadata", remedy).text


def from_azure(identity: Identity) -> str:
    """Asks the metadata service of an Azure machine for its managed identity's token."""
    endpoint = metadata_url(identity.text("endpoint", _AZURE), "identity_endpoint")
    query = {
        "api-version": "2018-02-01",
        "resource": f"api://{identity.text('azure_app_id').removeprefix('api://')}",
    }
    if identity.text("azure_client_id"):
        query["client_id"] = identity.text("azure_client_id")
    request = Request(
        "GET",
        f"{endpoint}/metadata/identity/oauth2/token",
        headers={"Metadata": "true"},
        query=query,
        wants_json=True,
    )
    remedy = (
        "Run this on an Azure machine with a managed identity; check identity_azure_app_id, and "
        "identity_azure_client_id when the machine has several identities"
    )
    reply = asked(identity.local_web, request, "Azure instance metadata", remedy)
    return json_text(reply, "access_token", "Azure instance metadata", remedy)


def from_github_actions(identity: Identity) -> str:
    """Asks GitHub for the token of the workflow's job."""
    url = os.environ.get("ACTIONS_ID_TOKEN_REQUEST_URL", "")
    bearer = os.environ.get("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "")
    remedy = "Give the job the permission id-token: write, and pass its environment to this task"
    if not url or not bearer:
        raise TunnelError(
            "identity_source",
            "github_actions: ACTIONS_ID_TOKEN_REQUEST_URL and ACTIONS_ID_TOKEN_REQUEST_TOKEN "
            "are not both set",
            remedy,
        )
    # The URL comes with a query of its own, to which the audience is added.
    check_url(url.partition("?")[0], "ACTIONS_ID_TOKEN_REQUEST_URL")
    request = Request(
        "GET",
        url,
        headers={"Authorization": f"Bearer {bearer}"},
        query={"audience": identity.audience},
        wants_json=True,
    )
    reply = asked(identity.web, request, "GitHub Actions", remedy)
    return json_text(reply, "value", "GitHub Actions", remedy)
