"""The answers of hosts with nothing to do, as a run on the laboratory's hosts has recorded them."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from typing import Any

from benchmarks import BenchError
from benchmarks.playbook import ROOT

COLLECTIONS = ROOT / ".build/collections"
DOMAIN = "abcd1234.tunnel.example"
ROUTES = {"echo": "http://10.0.0.1:8000"}

# The names of the releases that a host of today runs: the controller works them out again.
_RELEASES = """
import json, sys
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import role_options
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.cloudflared import (
    DownloadedCloudflared,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.proxy import (
    Target,
    release_for,
)
values = role_options.defaults()
cloudflared = DownloadedCloudflared(
    values["cloudflared_version"],
    "x86_64",
    values["cloudflared_download_url"],
    values["cloudflared_checksums"],
)
proxy = release_for(Target("3.11.2", "x86_64"), sys.executable)
print(json.dumps({"proxy": proxy.version, "cloudflared": cloudflared.version}))
"""


def _pem(label: str) -> str:
    body = base64.b64encode(b"recorded" * 90).decode()
    lines = "\n".join(body[at : at + 64] for at in range(0, len(body), 64))
    return f"-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n"


_CA = _pem("CERTIFICATE")
_TIMES = {"not_before": "2026-11-01T11:55:00Z", "not_after": "2027-01-30T12:00:00Z"}
_CERTIFICATE = {"fingerprint": "ab" * 32, "names": [f"*.{DOMAIN}"], "issuer": "CN=CA", **_TIMES}


def answers() -> dict[str, Any]:
    """Module to result.

    :raises BenchError: the releases of today could not be worked out
    """
    releases = _releases()
    rows = ["service", "service", "proxy", "edge", "ingress", "inner TLS", "route"]
    return {
        "host_check": {
            "changed": False,
            "facts": {
                "machine": "MACHINE",
                "identity": "MACHINE",
                "remembered": {"state_host": "", "replicas": []},
                "drained": False,
                "architecture": "x86_64",
                "distribution": "debian",
                "python_version": "3.11.2",
                "systemd_version": 252,
                "cores": 2,
                "resolvers": ["10.77.0.1"],
                "users": ["mcp-proxy", "mcp-cloudflared", "mcp-tunnel-renew"],
                "renewal_key": "",
                "standby": "",
                "stale_files": [],
                "releases": releases,
                "unpacked": {part: [version] for part, version in releases.items()},
                "encryption": "none",
            },
        },
        "state_host": {
            "changed": False,
            "holder": {},
            "present": True,
            "contents": {"ca.crt": _CA.strip(), "tunnel-domain": DOMAIN},
            "missing": [],
            "breach": {"token": "", "due": [], "marked": []},
            "host_keys": [],
            "noted": True,
            "standby": "",
            "already_stored": True,
            "misfit": "",
        },
        "stored_token": {"changed": False, "content": _token()},
        "file_set": {"changed": False, "changed_paths": []},
        "server_cert": {
            **{"changed": False, "needed": False, "reasons": [], "csr": ""},
            **_CERTIFICATE,
        },
        "firewall": {"changed": False, "actions": [], "armed": False, "proven": True},
        "replica": {"changed": False, "actions": [], "proven": True, "waits": False},
        "replica_health": {
            "changed": False,
            "healthy": True,
            "findings": [
                {
                    **{"layer": layer, "object": "x", "detail": "ok", "remedy": "", "unit": ""},
                    **{"ok": True, "required": True, "purpose": ""},
                }
                for layer in rows
            ],
            "drained": "",
            "table": [f"{layer:<10} something  ok  as it should be" for layer in rows * 4],
            "ca_fingerprint": "cd" * 32,
            "firewall": {"findings": [], "rows": []},
        },
        "tunnel_ca": {
            "changed": False,
            "certificate": _CA,
            "fingerprint": "cd" * 32,
            "subject": "CN=CA",
            **_TIMES,
            "private_key_stored": True,
            "registration": "To be registered in the Console.",
        },
    }


def _token() -> str:
    """A tunnel token, in the form of a stored one."""
    tunnel = {
        "a": "0" * 32,
        "t": "6f5b1c0e-5f0a-4c57-9d9e-2f0a7e1f4b2c",
        "s": base64.b64encode(bytes(32)).decode(),
    }
    token = base64.b64encode(json.dumps(tunnel).encode())
    return base64.b64encode(token).decode()


def _releases() -> dict[str, str]:
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", _RELEASES],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(COLLECTIONS)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"the releases of today: {done.stderr[-500:]}")
    names: dict[str, str] = json.loads(done.stdout)
    return names
