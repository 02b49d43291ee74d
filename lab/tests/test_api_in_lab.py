"""The Tunnels API and the identity platforms as the hosts of a lab see them: at real names."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

from lab.supervision import facts
from lab.tests.support import RunningLab, lab

# Standard library only, as a host has nothing else. Arguments: method, URL, headers, body.
_REQUEST = """
import json, sys, urllib.error, urllib.request
method, url, headers, body = sys.argv[1:]
request = urllib.request.Request(url, body.encode() or None, json.loads(headers), method=method)
try:
    answer = urllib.request.urlopen(request, timeout=60)
except urllib.error.HTTPError as error:
    answer = error
print(json.dumps([answer.status, answer.read().decode()]))
"""
_VERSION = {"anthropic-version": "2023-06-01", "anthropic-beta": "mcp-tunnels-2026-06-22"}
_BETAS = {"anthropic-beta": "oauth-2025-04-20,oidc-federation-2026-04-01"}


def _ask(
    lab: RunningLab, method: str, url: str, headers: dict[str, str], body: object = None
) -> tuple[int, Any]:
    """Return the answer that the host gets: (status, JSON or text)."""
    if body is not None:
        headers = {**headers, "content-type": "application/json"}
    given = "" if body is None else json.dumps(body)
    words = ["python3", "-c", _REQUEST, method, url, json.dumps(headers), given]
    status, text = json.loads(lab.on("host1", shlex.join(words)))
    try:
        return status, json.loads(text)
    except ValueError:
        return status, text


def _exchange(running: RunningLab, platform: str, token: str) -> dict[str, str]:
    """Headers for the Tunnels API."""
    federation = facts.read(running.paths)["federation"]
    body = {
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "assertion": token,
        "federation_rule_id": federation["rules"][platform],
        "organization_id": federation["organization_id"],
        "service_account_id": federation["service_account_id"],
        "workspace_id": federation["workspace_id"],
    }
    place = "https://api.anthropic.com/v1/oauth/token"
    status, answer = _ask(running, "POST", place, _BETAS, body)
    assert status == 200, answer
    return {"authorization": f"Bearer {answer['access_token']}", **_VERSION}


def test_metadata_servers(two: RunningLab) -> None:
    path = "computeMetadata/v1/instance/service-accounts/default/identity"
    place = f"http://metadata.google.internal/{path}?audience=https://api.anthropic.com"
    status, token = _ask(two, "GET", place, {"Metadata-Flavor": "Google"})
    assert status == 200
    assert _exchange(two, "gcp", token)
    resource = facts.read(two.paths)["federation"]["audiences"]["azure"]
    place = (
        "http://169.254.169.254/metadata/identity/oauth2/token"
        f"?api-version=2018-02-01&resource={resource}"
    )
    status, answer = _ask(two, "GET", place, {"Metadata": "true"})
    assert status == 200
    assert _exchange(two, "azure", answer["access_token"])
    seconds = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
    assert _ask(two, "PUT", "http://169.254.169.254/latest/api/token", seconds)[0] == 200


@pytest.mark.parametrize(
    ("method", "url", "status"),
    [
        ("POST", "https://sts.eu-central-1.amazonaws.com/", 403),
        ("POST", "https://lab.okta.com/oauth2/default/v1/token", 400),
        ("GET", "https://pipelines.actions.githubusercontent.com/actions/_apis/x", 404),
        ("GET", "https://accounts.google.com/.well-known/openid-configuration", 200),
    ],
)
def test_names(two: RunningLab, method: str, url: str, status: int) -> None:
    """TLS is verified against the host's own trust store."""
    assert _ask(two, method, url, {})[0] == status


@pytest.mark.parametrize("platform", ["aws", "github", "okta", "spiffe", "kubernetes"])
def test_identity_command(two: RunningLab, platform: str) -> None:
    status, token = lab("api", two.paths.name, "identity", platform)
    assert status == 0
    assert _exchange(two, platform, token.strip())


def test_commands(two: RunningLab) -> None:
    name = two.paths.name
    token = lab("api", name, "identity", "kubernetes")[1].strip()
    headers = _exchange(two, "kubernetes", token)
    place = "https://api.anthropic.com/v1/tunnels"
    assert lab("api", name, "fault", "list", "429", "--retry-after", "3")[0] == 0
    assert _ask(two, "GET", place, headers)[0] == 429
    assert _ask(two, "GET", place, headers) == (200, {"data": [], "next_page": None})
    last = json.loads(lab("api", name, "audit")[1].splitlines()[-1])
    assert (last["call"], last["status"]) == ("list", 200)
    expired = lab("api", name, "identity", "gcp", "--lifetime", "-60")[1].strip()
    with pytest.raises(AssertionError, match="authentication_error"):
        _exchange(two, "gcp", expired)
    audit = lab("api", name, "audit")[1].splitlines()
    assert "ExpiredSignature" in json.loads(audit[-1])["reason"]
    rotated = json.loads(lab("api", name, "rotate", facts.read(two.paths)["tunnel_id"])[1])
    assert rotated["token_id"].startswith("ttkn_")
    status, said = lab("api", name, "register-ca", "tnl_none", __file__)
    assert (status, "tunnel tnl_none not found" in said) == (1, True)
