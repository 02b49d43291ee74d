"""Every wrong variable stops the play in its first task, on the controller, before any connection.

Every rule is tested in full with the modules; these tests show what an operator sees.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from replicas import DOMAIN, HOSTS, play, recap, unquoted

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

# The operator's variables, and what the message must name: variable, shape, remedy.
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
        ("mcp_tunnel_routes['echo']: invalid upstream", "and no path"),
    ),
    (
        "https without trust anchor",
        {"mcp_tunnel_routes": {"echo": "https://10.0.0.1:443"}, "proxy_upstream_ca": ""},
        ("mcp_tunnel_routes['echo']", "proxy_upstream_ca"),
    ),
    (
        "route key outside the domain",
        {"mcp_tunnel_routes": {"echo.example.org": "http://10.0.0.1:80"}},
        ("mcp_tunnel_routes['echo.example.org']: outside mcp_tunnel_domain", DOMAIN),
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
        "a mode that is not there",
        {"mcp_tunnel_mode": "automatic"},
        ("mcp_tunnel_mode", "manual"),
    ),
    (
        "two services on one port",
        {"proxy_admin_port": 8080},
        ("proxy_admin_port", "8080"),
    ),
]


# Mistakes that only the hosts themselves can reveal.
STORED: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [
    (
        "a token of another tunnel",
        {"mcp_tunnel_token": token(), "mcp_tunnel_token_file": ""},
        ("317b0706-252d-460b-b017-3acb22e6fd1c", "another tunnel"),
    ),
    (
        "a port taken by a foreign process",
        {"proxy_admin_port": 22},
        ("proxy_admin_port", "22"),
    ),
]
# Options of a CA's certificate, and what the message must name.
AUTHORITIES: list[tuple[str, tuple[str, ...], dict[str, str], str]] = [
    ("not critical", ("basicConstraints=CA:TRUE", CA[1]), {}, "BasicConstraints"),
    ("cannot sign", (CA[0], "keyUsage=critical,digitalSignature"), {}, "keyCertSign"),
    ("no identifier", (*CA, "subjectKeyIdentifier=none"), {}, "SubjectKeyIdentifier"),
    ("weak key", CA, {"key": "weak"}, "1024"),
    ("weak signature", CA, {"digest": "sha1"}, "SHA-1"),
]


def certificates(folder: Path) -> list[tuple[str, dict[str, Any], tuple[str, ...]]]:
    """Return certificates and keys that must be refused."""
    cases: list[tuple[str, dict[str, Any], tuple[str, ...]]] = []
    for case, extensions, options, said in AUTHORITIES:
        certificate, private_key = made(folder, case, *extensions, **options)
        given = {"mcp_tunnel_ca_cert": certificate, "mcp_tunnel_ca_key": private_key}
        cases.append((case, given, ("mcp_tunnel_ca_cert", said)))
    ca, ca_key = made(folder, "ca", *CA)
    _, other_key = made(folder, "other", *CA)
    given = {"mcp_tunnel_ca_cert": ca, "mcp_tunnel_ca_key": other_key}
    cases.append(("CA with another key", given, ("mcp_tunnel_ca_key",)))
    server, server_key = made(folder, "server", *SERVER, ca="other")
    given = {
        **{"mcp_tunnel_ca_cert": ca, "mcp_tunnel_ca_key": ca_key},
        **{"mcp_tunnel_server_cert": server, "mcp_tunnel_server_key": server_key},
    }
    cases.append(("certificate of another CA", given, ("mcp_tunnel_server_cert",)))
    return cases


def stopped(*arguments: str, secrets: tuple[str, ...] = ()) -> tuple[str, dict[str, Any]]:
    """Run the play, which must stop in preflight and show no secret; return output and recap."""
    done = play("--diff", *arguments)
    assert done.returncode != 0, done.stdout
    assert "PLAY [Ship the releases]" not in done.stdout
    output = done.stdout + done.stderr
    for secret in (PLANTED, PLANTED.rstrip("="), *secrets):
        assert secret not in output
    counters = recap(done.stdout)
    assert all(each["changed"] == 0 for each in counters.values()), counters
    return output, counters


def plain(text: str) -> str:
    """Return the text without the effects of line breaks and spellings."""
    return unquoted(text).lower().replace("-", "")


def test_every_wrong_variable_is_refused_before_any_connection(tmp_path: Path) -> None:
    """All in one run: each case is a host of its own, beside the replicas, and refused by itself.

    Nobody answers at its address, so a play that connects to it fails in another way.
    """
    cases = {name.replace(" ", "_"): case for name, *case in VALUES + certificates(tmp_path)}
    hosts = {
        name: {
            **{"ansible_host": f"192.0.2.{number}", "mcp_tunnel_instance": f"case{number}"},
            **values,
        }
        for number, (name, (values, _said)) in enumerate(cases.items(), 1)
    }
    extra = tmp_path / "cases.json"
    extra.write_text(json.dumps({"mcp_tunnel": {"hosts": hosts}}))
    secrets = [
        values[key].split("\n")[1]
        for values, _said in cases.values()
        for key in ("mcp_tunnel_ca_key", "mcp_tunnel_server_key")
        if key in values
    ]
    output, counters = stopped("--inventory", str(extra), secrets=tuple(secrets))
    assert {name: each["failed"] for name, each in counters.items()} == {
        **dict.fromkeys(cases, 1),
        **dict.fromkeys(HOSTS, 0),
    }
    assert all(each["unreachable"] == 0 for each in counters.values())
    _head, *parts = re.split(r"^fatal: \[(.+?)\]: ", output, flags=re.MULTILINE)
    messages = dict(zip(parts[::2], map(plain, parts[1::2]), strict=True))
    for name, (_values, said) in cases.items():
        assert [text for text in said if plain(text) not in messages[name]] == [], messages[name]


@pytest.mark.parametrize(
    ("values", "said"), [case[1:] for case in STORED], ids=[case[0] for case in STORED]
)
def test_what_the_hosts_know(tmp_path: Path, values: dict[str, Any], said: tuple[str, ...]) -> None:
    given = tmp_path / "given.json"
    given.write_text(json.dumps(values))
    output, counters = stopped("--extra-vars", f"@{given}")
    assert any(counters[name]["failed"] for name in HOSTS)
    output = unquoted(output)
    assert [text for text in said if text not in output] == [], output
