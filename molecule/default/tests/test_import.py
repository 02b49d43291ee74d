"""Hosts join a deployment that was imported, and it is stopped: no call fails.

The first host stands in for the vendor's deployment, with its own token, CA and proxy; the imported
inventory does not know it. The last host is made bare, and joins it.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from caller import calling
from deployed import STATE, none_failed, nothing_is_left_to_do, stored
from replicas import (
    CHECKOUT,
    DOMAIN,
    HOSTS,
    LAB,
    RUN,
    await_connections,
    command_line,
    inventory,
    lab,
    play,
    recap,
    shell,
)

from tests.unit.plugins.support.runs import client

OLD, NEW = HOSTS[0], HOSTS[-1]
CONFIRMED = ("-e", "mcp_tunnel_teardown_confirmed=true")
#: Of the laboratory's inventory; the imported one has them of the deployment.
IMPORTED = ("mode", "domain", "id", "token_file", "routes")


def with_inventory(place: Path, playbook: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a playbook over the imported inventory, as the last lines of the import say."""
    (_python, _program, *words), environment = command_line(playbook)
    words[words.index("--inventory") + 1] = str(place)
    password = str(place.parent / "password")
    words += ["--vault-password-file", password, *arguments]
    return client.run(words, CHECKOUT, environment, 600)


def of_the_lab() -> dict[str, Any]:
    """The group's variables in the inventory of the laboratory."""
    document = yaml.safe_load(Path(inventory("default")).read_text())
    return dict(document["mcp_tunnel"]["vars"])


def write_deployment(root: Path) -> None:
    """Write the directory that the vendor's Compose guide would have left on the first host."""
    given = of_the_lab()
    for name in ("", "data", "config"):
        (root / name).mkdir(mode=0o700)
    for name in ("tunnel-token", "ca.crt", "ca.key"):
        (root / "data" / name).write_text(stored(name) + "\n")
    for name in ("tls.crt", "tls.key"):
        content = shell(OLD).check_output(f"cat /etc/mcp-tunnel/default/tls/{name}")
        (root / "data" / name).write_text(content + "\n")
    (root / "data/tunnel-id").write_text(given["mcp_tunnel_id"])
    (root / "data/upstreams.crt").write_text(given["proxy_upstream_ca"])
    config = {
        "listen_addr": ":8080",
        "tunnel_domain": DOMAIN,
        "tls": {"cert_file": "/data/tls.crt", "key_file": "/data/tls.key"},
        "routes": given["mcp_tunnel_routes"],
        "upstream": {"tls": {"ca_file": "/data/upstreams.crt"}},
    }
    (root / "config/mcp-proxy.yaml").write_text(yaml.safe_dump(config))
    services: dict[str, Any] = {"cloudflared": {}, "mcp-proxy": {}}
    (root / "docker-compose.yaml").write_text(yaml.safe_dump({"services": services}))


@pytest.fixture
def joined(tmp_path: Path) -> Iterator[Path]:
    """The imported inventory with the last host, which is bare; afterwards all is as it was."""
    done = play(*CONFIRMED, "--limit", NEW, playbook="teardown")
    assert done.returncode == 0, done.stdout[-3000:]
    write_deployment(tmp_path / "mcp-tunnel")
    place = tmp_path / "inventory"
    (tmp_path / "password").write_text("a password\n")
    variables = {
        "mcp_tunnel_import_src": str(tmp_path / "mcp-tunnel"),
        "mcp_tunnel_import_dest": str(place),
    }
    password = ("--vault-password-file", str(tmp_path / "password"))
    done = play(*password, "-e", json.dumps(variables), playbook="import")
    assert done.returncode == 0, done.stdout[-3000:]
    for name in (f"mcp_tunnel_{each}" for each in IMPORTED):
        assert name in of_the_lab()
    left = {f"mcp_tunnel_{each}" for each in IMPORTED} | {"proxy_upstream_ca"}
    group = {
        "hosts": {NEW: {"ansible_host": NEW}},
        "vars": {name: value for name, value in of_the_lab().items() if name not in left},
    }
    (place / "hosts.yml").write_text(yaml.safe_dump({"mcp_tunnel": group}))
    try:
        yield place
    finally:
        shell(OLD).check_output("systemctl start mcp-proxy@default mcp-cloudflared@default")
        await_connections(OLD)
        done = with_inventory(place, "teardown", *CONFIRMED)
        assert done.returncode == 0, done.stdout[-3000:]
        done = play()
        assert done.returncode == 0, done.stdout[-3000:]


def test_hosts_join_a_deployment_and_replace_it_without_a_failed_call(joined: Path) -> None:
    tunnel, ca = of_the_lab()["mcp_tunnel_id"], stored("ca.crt")
    with calling(RUN, LAB["edge_front"], tunnel, ca) as calls:
        done = with_inventory(joined, "site")
        assert done.returncode == 0, done.stdout[-4000:]
        assert set(recap(done.stdout)) == {NEW}
        await_connections(NEW)
        assert shell(NEW).check_output(f"cat {STATE}/ca.crt").strip() == ca
        done = with_inventory(joined, "verify")
        assert done.returncode == 0, done.stdout[-4000:]
        # In the order that the import says.
        shell(OLD).check_output("systemctl stop mcp-cloudflared@default")
        shell(OLD).check_output("systemctl stop mcp-proxy@default")
        answered = lab("call", "default", "echo", "echo", '{"text": "of the new one"}')
        assert "of the new one" in answered
        done = with_inventory(joined, "site")
        assert done.returncode == 0, done.stdout[-4000:]
        assert all(counters["changed"] == 0 for counters in recap(done.stdout).values())
    none_failed(calls)


def test_the_replicas_are_as_they_were() -> None:
    nothing_is_left_to_do()
