"""Settings that the role derives from the host and writes for the proxy."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

VARIABLES = Path(__file__).resolve().parents[3] / "roles/proxy/vars/main.yml"


@pytest.mark.parametrize(
    ("given", "cores", "expected"), [(0, 1, 1), (0, 3, 3), (0, 384, 256), (2, 384, 2), ("2", 1, 2)]
)
def test_workers(given, cores, expected):
    """The proxy itself counts like this: the processors that it may use, of at most 256."""
    variables = {
        "__mcp_tunnel_settings": {"variables": {"proxy_workers": given}},
        "__mcp_tunnel_host": {"facts": {"cores": cores}},
    }
    assert int(rendered("__proxy_workers", variables)) == expected


@pytest.mark.parametrize(("systemd", "expected"), [(247, 1), (248, 1), (249, 3), (257, 3)])
def test_sockets(systemd, expected):
    """At a reload, systemd before 249 keeps one of several with the same address."""
    variables = {
        "__proxy_workers": "3",
        "__mcp_tunnel_host": {"facts": {"systemd_version": systemd}},
    }
    assert int(rendered("__proxy_sockets", variables)) == expected


def rendered(name, variables):
    """The value of a variable of the role."""
    try:
        from ansible.template import trust_as_template as trusted
    except ImportError:  # before ansible-core 2.19
        trusted = str
    text = yaml.safe_load(VARIABLES.read_text())[name]
    return Templar(loader=DataLoader(), variables=variables).template(trusted(text))
