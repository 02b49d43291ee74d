"""Changes that others make behind a program's back, as in the vendor's Console."""

from __future__ import annotations

import anthropic
import pytest

from lab.core.errors import LabError
from lab.tests.platforms import Api, authority


@pytest.fixture
def client(api: Api) -> anthropic.Anthropic:
    return api.client()


def test_rotated_elsewhere(api: Api, client: anthropic.Anthropic) -> None:
    tunnel = client.beta.tunnels.create()
    before = client.beta.tunnels.reveal_token(tunnel.id)
    told = api.ask("rotate", tunnel.id)
    after = client.beta.tunnels.reveal_token(tunnel.id)
    assert (after.id, after.tunnel_token != before.tunnel_token) == (told["token_id"], True)
    with pytest.raises(LabError, match="no tunnel tnl_none"):
        api.ask("rotate", "tnl_none")


def test_certificate_of_someone_else(api: Api, client: anthropic.Anthropic) -> None:
    tunnel = client.beta.tunnels.create()
    told = api.ask("register-ca", tunnel.id, authority())
    found = client.beta.tunnels.certificates.retrieve(told["id"], tunnel_id=tunnel.id)
    assert found.fingerprint == told["fingerprint"]
    with pytest.raises(LabError, match="not a PEM certificate"):
        api.ask("register-ca", tunnel.id, "nonsense")
    with pytest.raises(LabError, match="tunnel tnl_none not found"):
        api.ask("register-ca", "tnl_none", authority())


def test_tunnel_for_manual_mode(api: Api) -> None:
    """A federated token of the default workspace does not see it, one of its own does."""
    api.state = api.directory.fill(manual_tunnel=True)
    manual = api.state["tunnels"][0]
    assert list(api.client().beta.tunnels.list()) == []
    account = api.ask("add-service-account", [manual["workspace_id"]])
    options = {"workspaces": [manual["workspace_id"]], "service_account_id": account["id"]}
    member = api.client(api.add_rule(**options))
    assert [each.id for each in member.beta.tunnels.list()] == [manual["id"]]
    assert api.ask("status")["tunnels"][0]["any_ca"] is True
    member.beta.tunnels.certificates.create(manual["id"], ca_certificate_pem=authority())
    assert api.ask("status")["tunnels"][0]["any_ca"] is False


def test_unknown_workspaces(api: Api) -> None:
    with pytest.raises(LabError, match="no workspace wrkspc_none"):
        api.ask("add-service-account", ["wrkspc_none"])
    with pytest.raises(LabError, match="no workspace wrkspc_none"):
        api.add_rule(workspaces=["wrkspc_none"])
    assert api.ask("status")["rules"] == []
