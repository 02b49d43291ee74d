"""The last lines of an import name what to stop, and stop it last."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.imports.deployment import Deployment
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.imports.told import told


def lines(**about):
    """Return the lines for a deployment, as one text."""
    root = Path("/srv/inventory")
    return "\n".join(told("/srv/copy", root, [], ["a note"], "0f" * 32, Deployment(**about)))


def test_of_compose_cloudflared_is_stopped_before_the_proxy():
    text = lines(services=["setup", "tunnel-cloudflared", "mcp-proxy"])
    words = [
        "a note",
        "0f0f",
        "/srv/inventory/hosts.yml",
        "mcp_tunnels.stack.site",
        "mcp_tunnels.stack.verify",
        "docker compose stop --timeout 60 tunnel-cloudflared.",
        "docker compose stop mcp-proxy.",
        "Remove /srv/copy",
    ]
    places = [text.index(word) for word in words]
    assert places == sorted(places)
    assert "kubectl" not in text


def test_of_services_that_cannot_be_told_apart_the_usual_name_is_given():
    text = lines(services=["cloudflared-a", "cloudflared-b"])
    assert "docker compose stop --timeout 60 cloudflared." in text


def test_of_kubernetes_the_deployment_is_ended_in_its_namespace():
    text = lines(is_of_kubernetes=True, namespaces=["tunnels"])
    assert "kubectl -n tunnels scale deployment/mcp-tunnel --replicas=0" in text
    assert "docker" not in text
    assert text.index("mcp_tunnels.stack.verify") < text.index("kubectl")


def test_a_path_with_blanks_stays_one_word_of_the_commands():
    root = Path("/srv/my inventory")
    text = "\n".join(told("/srv/copy", root, [], [], "0f" * 32, Deployment()))
    assert "ansible-playbook -i '/srv/my inventory' mcp_tunnels.stack.site" in text
    assert "ansible -i '/srv/my inventory' mcp_tunnel" in text
