# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds an AWS machine's credentials and its region, in the order of AWS's own tools."""

from __future__ import annotations

import os

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.identity.aws_signature import (
    AwsCredentials,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.identity.identity import (
    Identity,
    asked,
    json_text,
    metadata_url,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.identity.local import read_token
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.web.messages import Reply, Request

_IMDS = "http://169.254.169.254"
_ECS = "http://169.254.170.2"
_WHAT = "AWS credentials"
_REMEDY = (
    "Run this on a machine or task with an IAM role, or pass AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY to this task (keyword environment)"
)


def find_credentials(identity: Identity) -> AwsCredentials:
    """From the environment, a container's endpoint, or the instance's metadata (IMDSv2).

    :raises TunnelError: if none of them has any.
    """
    access_key = os.environ.get("AWS_ACCESS_KEY_ID", "")
    secret_key = os.environ.get("AWS_SECRET_ACCESS_KEY", "")
    if access_key and secret_key:
        return AwsCredentials(access_key, secret_key, os.environ.get("AWS_SESSION_TOKEN", ""))
    url, headers = _container_endpoint()
    if not url:
        imds = _Imds(identity)
        path = "/latest/meta-data/iam/security-credentials/"
        role = imds.get(path).text.strip().split("\n")[0]
        return _credentials(imds.get(path + role))
    request = Request("GET", url, headers=headers)
    return _credentials(asked(identity.local_web, request, _WHAT, _REMEDY))


def find_region(identity: Identity) -> str:
    """From the option, the environment, or the instance's metadata.

    :raises TunnelError: if none of them knows.
    """
    known = identity.text("aws_region")
    for variable in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        known = known or os.environ.get(variable, "")
    return known or _Imds(identity).get("/latest/meta-data/placement/region").text.strip()


def _container_endpoint() -> tuple[str, dict[str, str]]:
    relative = os.environ.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "")
    full = os.environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI", "")
    if relative:
        url = _ECS + relative
    elif full:
        url = metadata_url(full, "AWS_CONTAINER_CREDENTIALS_FULL_URI")
    else:
        return "", {}
    token = os.environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")
    path = os.environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "")
    if path:
        token = read_token(path).strip()
    return url, {"Authorization": token} if token else {}


class _Imds:
    """The instance's metadata service, version 2: every request carries a session's token."""

    def __init__(self, identity: Identity) -> None:
        self._web = identity.local_web
        self._endpoint = metadata_url(
            identity.text("aws_metadata_endpoint")
            or os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", _IMDS),
            "identity_aws_metadata_endpoint",
        )
        request = Request(
            "PUT",
            f"{self._endpoint}/latest/api/token",
            headers={"X-aws-ec2-metadata-token-ttl-seconds": "300"},
        )
        self._token = asked(self._web, request, _WHAT, _REMEDY).text.strip()

    def get(self, path: str) -> Reply:
        headers = {"X-aws-ec2-metadata-token": self._token}
        request = Request("GET", self._endpoint + path, headers=headers)
        return asked(self._web, request, _WHAT, _REMEDY)


def _credentials(reply: Reply) -> AwsCredentials:
    values = [json_text(reply, name, _WHAT, _REMEDY) for name in ("AccessKeyId", "SecretAccessKey")]
    token = reply.fields.get("Token")
    if token is not None and not isinstance(token, str):
        raise TunnelError(_WHAT, "the answer's Token is not a text", _REMEDY)
    return AwsCredentials(values[0], values[1], token or "")
