"""Deployments as the vendor's guides leave them: a directory of Compose, and Secrets."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import openssl, tokens

TUNNEL_ID = "tnl_01AbCdEf"
ROUTES = {"echo": "http://10.0.0.15:9000", "wiki": "https://wiki.corp.example.net:8443"}
COMPOSE = """\
services:
  setup:
    entrypoint: ["/setup"]
    profiles: ["setup"]
  cloudflared: &hardened
    command: tunnel --no-autoupdate run --url http://localhost:8080
    environment: [TUNNEL_TOKEN]
    network_mode: "service:mcp-proxy"
  mcp-proxy:
    <<: *hardened
    volumes: ["./config/mcp-proxy.yaml:/etc/mcp-gateway/config.yaml:ro", "./data:/data:ro"]
  hello-mcp:
    image: python:3.13-slim
"""


def config(**changed: Any) -> dict[str, Any]:
    """The configuration of the proxy as the guide has it, with one more of each kind of field."""
    return {
        "listen_addr": ":8080",
        "log_level": "info",
        "shutdown_timeout": "30s",
        "tunnel_domain": openssl.DOMAIN,
        "tls": {"cert_file": "/data/tls.crt", "key_file": "/data/tls.key"},
        "routes": dict(ROUTES),
        "upstream": {"allowed_ips": ["10.0.0.0/8"], "tls": {"include_system_cas": True}},
        **changed,
    }


def parts(directory: Path) -> dict[str, str]:
    """The output of the setup component, by the names of its files."""
    ca = openssl.make_ca(directory / "openssl")
    certificate, key = openssl.make_server(directory / "openssl", ca)
    return {
        "tunnel-token": tokens.make_token(),
        "tunnel-id": TUNNEL_ID,
        "tunnel-domain": openssl.DOMAIN,
        "ca.crt": ca[0],
        "ca.key": ca[1],
        "tls.crt": certificate,
        "tls.key": key,
    }


def make_compose(directory: Path, given: dict[str, str], **changed: Any) -> Path:
    """Write a directory of Compose; return it."""
    root = directory / "mcp-tunnel"
    for name in ("", "data", "config"):
        (root / name).mkdir(mode=0o700)
    (root / "docker-compose.yaml").write_text(COMPOSE)
    (root / "config/mcp-proxy.yaml").write_text(yaml.safe_dump(config(**changed)))
    for name, text in given.items():
        (root / "data" / name).write_text(text)
    return root


def secret(name: str, given: dict[str, str]) -> dict[str, Any]:
    """A Secret as kubectl shows it."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": "tunnels"},
        "data": {key: base64.b64encode(text.encode()).decode() for key, text in given.items()},
    }


def config_map(**changed: Any) -> dict[str, Any]:
    """The ConfigMap of the chart, which has the domain as a flag from the Secret."""
    document = config(**changed)
    del document["tunnel_domain"]
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "mcp-tunnel-config", "namespace": "tunnels"},
        "data": {"config.yaml": yaml.safe_dump(document)},
    }


def make_helm(directory: Path, given: dict[str, str], **changed: Any) -> Path:
    """Write what kubectl shows of a release of the chart; return the directory."""
    root = directory / "helm"
    root.mkdir(mode=0o700)
    items = [secret("mcp-tunnel", given), config_map(**changed)]
    shown = {"apiVersion": "v1", "kind": "List", "items": items}
    (root / "release.json").write_text(json.dumps(shown))
    return root
