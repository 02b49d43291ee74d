"""Hosts join a deployment that was imported, and it is stopped: no call fails.

The first host stands in for the vendor's deployment, with its own token, CA and proxy; the imported
inventory does not know it. The last host is made bare, and joins it. That its routes cannot be
reached from there at first costs no call either.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import journal
import pytest
import yaml
from caller import calling
from deployed import STATE, none_failed, stored
from replicas import (
    CHECKOUT,
    DOMAIN,
    HOSTS,
    LAB,
    RUN,
    TOGETHER,
    await_connections,
    command_line,
    inventory,
    killing,
    lab,
    play,
    recap,
    shell,
)

from tests.unit.plugins.support.runs import client

OLD, NEW = HOSTS[0], HOSTS[-1]
MEMORY = "/etc/mcp-tunnel/default/members.json"
CONFIRMED = ("-e", "mcp_tunnel_teardown_confirmed=true")
#: Of the laboratory's inventory; the imported one has them of the deployment.
IMPORTED = ("mode", "domain", "id", "token_file", "routes")


def with_inventory(
    place: Path, playbook: str, *arguments: str, settings: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a playbook over the imported inventory, as the last lines of the import say."""
    (_python, _program, *words), environment = command_line(playbook)
    environment |= settings or {}
    words[words.index("--inventory") + 1] = str(place)
    password = str(place.parent / "password")
    words += ["--vault-password-file", password, *arguments]
    return client.run(words, CHECKOUT, environment, 1200)


def lab_inventory() -> dict[str, Any]:
    """The group in the inventory of the laboratory."""
    return dict(yaml.safe_load(Path(inventory("default")).read_text())["mcp_tunnel"])


def of_the_lab() -> dict[str, Any]:
    """The variables of that group."""
    return dict(lab_inventory()["vars"])


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


def write_release(root: Path, compose: Path) -> None:
    """Write the output of kubectl about a release of the chart with the same credentials."""
    root.mkdir(mode=0o700)
    names = ("tunnel-token", "tunnel-id", "ca.crt", "ca.key", "tls.crt", "tls.key")
    data = {name: (compose / "data" / name).read_bytes() for name in names}
    data["tunnel-domain"] = DOMAIN.encode()
    config = yaml.safe_load((compose / "config/mcp-proxy.yaml").read_text())
    del config["tunnel_domain"]
    about = {"namespace": "tunnels"}
    items = [
        {
            "kind": "Secret",
            "metadata": {"name": "mcp-tunnel", **about},
            "data": {name: base64.b64encode(content).decode() for name, content in data.items()},
        },
        {
            "kind": "ConfigMap",
            "metadata": {"name": "mcp-tunnel-config", **about},
            "data": {"config.yaml": yaml.safe_dump(config)},
        },
    ]
    (root / "release.yaml").write_text(yaml.safe_dump({"kind": "List", "items": items}))
    (root / "upstreams.crt").write_bytes((compose / "data/upstreams.crt").read_bytes())


def import_from(src: Path, place: Path, *arguments: str) -> tuple[int, str]:
    """Run the import; return how much it has changed, and its output."""
    variables = {"mcp_tunnel_import_src": str(src), "mcp_tunnel_import_dest": str(place)}
    password = ("--vault-password-file", str(src.parent / "password"))
    done = play(*password, "-e", json.dumps(variables), *arguments, playbook="import")
    assert done.returncode == 0, done.stdout[-3000:]
    for name in ("tunnel-token", "ca.key"):
        for line in stored(name).splitlines():
            assert "-----" in line or line not in done.stdout, name
    return recap(done.stdout)["localhost"]["changed"], done.stdout


def import_into(src: Path, place: Path, stop: str) -> None:
    """Import: first in check mode, and once more at the end."""
    assert import_from(src, place, "--check", "--diff")[0] == 1
    assert not place.exists()
    changed, output = import_from(src, place, "--diff")
    assert changed == 1
    in_order(output, stop)
    assert import_from(src, place)[0] == 0


def in_order(output: str, stop: str) -> None:
    """The import ends with what is left to do, and what stops the old deployment comes last."""
    steps = [output.index(word) for word in (".site,", ".verify,", stop)]
    assert steps == sorted(steps)


def variables_of(place: Path) -> list[str]:
    """Return the variables of an imported inventory, with those that are encrypted."""
    command = [sys.executable, "-m", "ansible.cli.vault", "view", "--vault-password-file"]
    command += [place.parent / "password", place / "group_vars/mcp_tunnel/vault.yml"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [(place / "group_vars/mcp_tunnel/imported.yml").read_text(), done.stdout]


def name_the_host(place: Path) -> None:
    """Name the last host, with what a laboratory's inventory has beside the deployment."""
    left = {f"mcp_tunnel_{each}" for each in IMPORTED} | {"proxy_upstream_ca"}
    assert left <= set(of_the_lab())
    group = {
        "hosts": {NEW: lab_inventory()["hosts"][NEW]},
        "vars": {name: value for name, value in of_the_lab().items() if name not in left},
    }
    (place / "hosts.yml").write_text(yaml.safe_dump({"mcp_tunnel": group}))


@pytest.fixture
def joined(tmp_path: Path) -> Iterator[Path]:
    """The imported inventory with the last host, which is bare; afterwards all is as it was."""
    (tmp_path / "password").write_text("a password\n")
    write_deployment(tmp_path / "mcp-tunnel")
    write_release(tmp_path / "helm", tmp_path / "mcp-tunnel")
    place, other = tmp_path / "inventory", tmp_path / "of-helm"
    stop = "docker compose stop --timeout 60 cloudflared"
    import_into(tmp_path / "mcp-tunnel", place, stop)
    # The rest is the same for both forms.
    changed, output = import_from(tmp_path / "helm", other)
    assert changed == 1
    in_order(output, "kubectl -n tunnels scale deployment/mcp-tunnel")
    assert variables_of(place) == variables_of(other)
    name_the_host(place)
    done = play(*CONFIRMED, "--limit", NEW, playbook="teardown")
    assert done.returncode == 0, done.stdout[-3000:]
    try:
        yield place
    finally:
        shell(OLD).check_output("systemctl start mcp-proxy@default mcp-cloudflared@default")
        await_connections(OLD)
        # Its services go on, and it forgets that it is a state host.
        shell(NEW).check_output(f"rm -rf {STATE} {MEMORY}")
        done = play(*TOGETHER)
        assert done.returncode == 0, done.stdout[-3000:]


@contextmanager
def without_the_upstream() -> Iterator[None]:
    """The last host does not reach the MCP servers, which the first one does."""
    (address,) = {urlsplit(of_the_lab()["mcp_tunnel_routes"]["echo"]).hostname}
    shell(NEW).check_output(f"ip route add unreachable {address}")
    try:
        yield
    finally:
        shell(NEW).check_output(f"ip route del unreachable {address}")


def a_host_that_does_not_work_stays_away(place: Path) -> None:
    """The gate stops the host before its cloudflared has a single connection."""
    began = journal.moment(shell(NEW))
    with without_the_upstream():
        done = with_inventory(place, "site", "-e", "mcp_tunnel_health_timeout=5")
    assert done.returncode != 0
    assert "route: echo -> " in done.stdout, done.stdout[-4000:]
    units = shell(NEW).run("systemctl is-active mcp-proxy@default mcp-cloudflared@default")
    assert units.stdout.split() == ["active", "inactive"]
    assert (
        shell(NEW).run("systemctl is-enabled mcp-cloudflared@default").stdout.strip() == "disabled"
    )
    told = journal.logged(shell(NEW), "mcp-cloudflared@default.service", began)
    assert "Registered tunnel connection" not in told


def test_hosts_join_a_deployment_and_replace_it_without_a_failed_call(joined: Path) -> None:
    tunnel, ca = of_the_lab()["mcp_tunnel_id"], stored("ca.crt")
    with calling(RUN, LAB["edge_front"], tunnel, ca) as calls:
        a_host_that_does_not_work_stays_away(joined)
        done = with_inventory(joined, "site", settings=killing("Let it join the edge"))
        assert f"KILLED after: Let it join the edge on {NEW}" in done.stdout, done.stdout[-4000:]
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
