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
    try:
        from ansible.template import trust_as_template as trusted
    except ImportError:  # before ansible-core 2.19
        trusted = str
    text = yaml.safe_load(VARIABLES.read_text())["__proxy_workers"]
    made = Templar(loader=DataLoader(), variables=variables).template(trusted(text))
    assert int(made) == expected
