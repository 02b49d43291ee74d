"""Every wrong variable stops the play in its first task, on the controller, before any connection.

What each rule is in full is tested with the modules; here is what an operator sees.
"""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from replicas import DOMAIN, HOSTS, play, recap

PLANTED = "cGxhbnRlZC1zZWNyZXQtb2YtYS1iYWQtdG9rZW4tMDEyMzQ1Njc4OQ=="


def token(**changes: Any) -> str:
    fields = {
        "a": "0" * 32,
        "t": "317b0706-252d-460b-b017-3acb22e6fd1c",
        "s": PLANTED,
        **changes,
    }
    return base64.b64encode(json.dumps(fields).encode()).decode()


def made(
    folder: Path, name: str, *extensions: str, key: str = "ec", ca: str = "", digest: str = "sha256"
) -> tuple[str, str]:
    """Make a certificate with the openssl command line; return it and its key, as PEM."""
    kind = {
        "ec": ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
        "weak": ("-newkey", "rsa:1024"),
    }[key]
    signer = ("-CA", f"{folder}/{ca}.crt", "-CAkey", f"{folder}/{ca}.key") if ca else ()
    subprocess.run(
        [
            *("openssl", "req", "-x509", *kind, "-nodes", "-days", "30", f"-{digest}", *signer),
            *("-subj", f"/CN={name}", "-keyout", f"{folder}/{name}.key"),
            *("-out", f"{folder}/{name}.crt"),
            *(part for extension in extensions for part in ("-addext", extension)),
        ],
        check=True,
        capture_output=True,
    )
    return (folder / f"{name}.crt").read_text(), (folder / f"{name}.key").read_text()


CA = ("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign")
SERVER = (f"subjectAltName=DNS:*.{DOMAIN}", "basicConstraints=CA:FALSE")

# What the operator sets, and what the message must name: variable, shape, remedy.
VALUES: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [
    (
        "routes as a list",
        {"mcp_tunnel_routes": ["http://10.0.0.1:80"]},
        ("mcp_tunnel_routes: must be a map", "is a list of 1", "scheme://host:port"),
    ),
    (
        "upstream without port",
        {"mcp_tunnel_routes": {"echo": "http://10.0.0.1"}},
        ("mcp_tunnel_routes['echo']: invalid upstream", "scheme://host:port"),
    ),
    (
        "upstream with a path",
        {"mcp_tunnel_routes": {"echo": "http://10.0.0.1:80/mcp"}},
        ("mcp_tunnel_routes['echo']: invalid upstream", "without a path"),
    ),
    (
        "https without trust anchor",
        {"mcp_tunnel_routes": {"echo": "https://10.0.0.1:443"}, "proxy_upstream_ca": ""},
        ("mcp_tunnel_routes['echo']", "proxy_upstream_ca"),
    ),
    (
        "route key outside the domain",
        {"mcp_tunnel_routes": {"echo.example.org": "http://10.0.0.1:80"}},
        ("mcp_tunnel_routes: 'echo.example.org' lies outside", DOMAIN),
    ),
    (
        "allowed_ips with disable_ip_validation",
        {"proxy_allowed_ips": ["10.0.0.0/8"], "proxy_disable_ip_validation": True},
        ("proxy_disable_ip_validation", "proxy_allowed_ips"),
    ),
    (
        "a token that is not a token",
        {"mcp_tunnel_token": "hello", "mcp_tunnel_token_file": ""},
        ("mcp_tunnel_token:",),
    ),
    (
        "a token without secret",
        {"mcp_tunnel_token": token(s=""), "mcp_tunnel_token_file": ""},
        ("mcp_tunnel_token:",),
    ),
    (
        "a token of another tunnel",
        {"mcp_tunnel_token": token(), "mcp_tunnel_token_file": ""},
        ("317b0706-252d-460b-b017-3acb22e6fd1c", "another tunnel"),
    ),
    (
        "a mode that is not there",
        {"mcp_tunnel_mode": "automatic"},
        ("mcp_tunnel_mode", "manual"),
    ),
    (
        "two services on one port",
        {"proxy_admin_port": 8080},
        ("proxy_admin_port", "8080"),
    ),
    (
        "a port taken by a foreign process",
        {"proxy_admin_port": 22},
        ("proxy_admin_port", "22"),
    ),
]


def refused(tmp_path: Path, values: dict[str, Any]) -> str:
    """Run the play with the values; return what it said. It must stop in preflight."""
    given = tmp_path / "given.json"
    given.write_text(json.dumps(values))
    done = play("--diff", "--extra-vars", f"@{given}")
    assert done.returncode != 0, done.stdout
    assert "PLAY [Ship the releases]" not in done.stdout
    counters = recap(done.stdout)
    assert sum(counters[name]["changed"] for name in HOSTS) == 0
    assert any(counters[name]["failed"] for name in HOSTS)
    output = done.stdout + done.stderr
    assert PLANTED not in output
    assert PLANTED.rstrip("=") not in output
    return " ".join(output.split())


@pytest.mark.parametrize(
    ("values", "said"), [case[1:] for case in VALUES], ids=[c[0] for c in VALUES]
)
def test_values(tmp_path: Path, values: dict[str, Any], said: tuple[str, ...]) -> None:
    output = refused(tmp_path, values)
    assert [text for text in said if text not in output] == [], output


@pytest.mark.parametrize(
    ("extensions", "key", "digest", "said"),
    [
        (("basicConstraints=CA:TRUE", CA[1]), "ec", "sha256", "BasicConstraints"),
        ((CA[0], "keyUsage=critical,digitalSignature"), "ec", "sha256", "keyCertSign"),
        ((CA[0], CA[1], "subjectKeyIdentifier=none"), "ec", "sha256", "SubjectKeyIdentifier"),
        (CA, "weak", "sha256", "1024"),
        (CA, "ec", "sha1", "SHA-1"),
    ],
    ids=["not critical", "cannot sign", "no identifier", "weak key", "weak signature"],
)
def test_ca(tmp_path: Path, extensions: tuple[str, ...], key: str, digest: str, said: str) -> None:
    certificate, private_key = made(tmp_path, "ca", *extensions, key=key, digest=digest)
    output = refused(
        tmp_path, {"mcp_tunnel_ca_cert": certificate, "mcp_tunnel_ca_key": private_key}
    )
    assert "mcp_tunnel_ca_cert" in output
    assert said.lower().replace("-", "") in output.lower().replace("-", ""), output
    assert private_key.split("\n")[1] not in output


def test_ca_with_another_key(tmp_path: Path) -> None:
    certificate, _ = made(tmp_path, "ca", *CA)
    _, other = made(tmp_path, "other", *CA)
    output = refused(tmp_path, {"mcp_tunnel_ca_cert": certificate, "mcp_tunnel_ca_key": other})
    assert "mcp_tunnel_ca_key" in output
    assert other.split("\n")[1] not in output


def test_certificate_of_another_ca(tmp_path: Path) -> None:
    ca, ca_key = made(tmp_path, "ca", *CA)
    made(tmp_path, "other", *CA)
    certificate, private_key = made(tmp_path, "server", *SERVER, ca="other")
    output = refused(
        tmp_path,
        {
            "mcp_tunnel_ca_cert": ca,
            "mcp_tunnel_ca_key": ca_key,
            "mcp_tunnel_server_cert": certificate,
            "mcp_tunnel_server_key": private_key,
        },
    )
    assert "mcp_tunnel_server_cert" in output
    assert private_key.split("\n")[1] not in output
