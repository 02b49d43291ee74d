"""Whole playbooks over simulated hosts: nothing is connected to, run or written anywhere."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.mcp_tunnels import stack
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.proxy import (
    Target,
    release_for,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import simulated_hosts
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.bundles import (
    pack_program,
    write_bundle,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.runs import client
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.terminal import (
    run_at_terminal,
)

_COLLECTION = Path(stack.__path__[0])
_SUPPORT = Path(__file__).parent
_PROGRAM = _SUPPORT / "kept_playbook.py"
_CLOUDFLARED = b"pretends to be cloudflared"
_CHECKSUM = hashlib.sha256(_CLOUDFLARED).hexdigest()
# Asked for once: it depends on every file of a release.
_PROXY = release_for(Target("3.11.2", "x86_64"), sys.executable).version
_DEFAULTS = yaml.safe_load((_COLLECTION / "roles/cloudflared/defaults/main.yml").read_text())
_UNPACKED = {
    "proxy": [_PROXY],
    "cloudflared": [f"{_DEFAULTS['cloudflared_version']}-{_CHECKSUM[:8]}"],
}
_WIF = {
    "mcp_tunnel_mode": "wif",
    "mcp_tunnel_id": "tnl_01ABCDEF",
    "mcp_tunnel_federation_rule_id": "fdrl_01AbCdEf",
    "mcp_tunnel_organization_id": "6f5b1c0e-5f0a-4c57-9d9e-2f0a7e1f4b2c",
    "mcp_tunnel_identity": {"source": "file", "file": "/run/identity"},
}


class Simulation:
    """Two replicas, host1 with the credentials and host2, and a controller that is neither."""

    def __init__(self, directory: Path, mode: str = "manual") -> None:
        self.directory = directory
        self.world: dict[str, Any] = {"attacks": {}, "unpacked": _UNPACKED}
        self.variables: dict[str, Any] = {
            "mcp_tunnel_domain": simulated_hosts.DOMAIN,
            "mcp_tunnel_routes": {"echo": "http://10.0.0.1:8000"},
            "ansible_connection": "simulated",
            "ansible_python_interpreter": "/usr/bin/python3",
            # Nothing is assembled or downloaded for them.
            "mcp_tunnel_bundle": str(_bundle(directory)),
            "cloudflared_checksums": {"x86_64": _CHECKSUM},
            "mcp_tunnel_support_dest": str(directory / "archives"),
            **(_WIF if mode == "wif" else {}),
        }
        self.settings: dict[str, str] = {}
        self.hosts: dict[str, dict[str, Any]] = {"host1": {}, "host2": {}}

    def attack(self, host: str = "host2", module: str = "*", **how: Any) -> None:
        """Let a host answer something else; see simulated_hosts.py."""
        self.world["attacks"].setdefault(host, []).append({"module": module, **how})

    def run_tasks(self, tasks: list[dict[str, Any]]) -> tuple[int, str]:
        """Return exit status and output of a play of these tasks over all hosts."""
        play = self.directory / "play.yml"
        about = {"hosts": "mcp_tunnel", "gather_facts": False, "tasks": tasks}
        play.write_text(yaml.safe_dump([about]))
        return self.run(str(play))

    def run(self, playbook: str = "site", *arguments: str) -> tuple[int, str]:
        """Return exit status and output of a playbook of the collection, without a terminal."""
        done = client.run(*self._prepare(playbook, arguments))
        return done.returncode, done.stdout + done.stderr

    def run_at_terminal(
        self, playbook: str, *arguments: str, question: str = "", answer: str = ""
    ) -> tuple[int, str]:
        """Return the same for a run with a terminal, where somebody answers a question."""
        words, directory, environment = self._prepare(playbook, arguments)
        command = [sys.executable, str(_PROGRAM), *words]
        return run_at_terminal(command, directory, environment, question, answer)

    def _prepare(
        self, playbook: str, arguments: tuple[str, ...]
    ) -> tuple[list[str], Path, dict[str, str]]:
        """Write inventory and world; return the arguments, directory and environment of a run."""
        inventory = {
            "mcp_tunnel": {"hosts": self.hosts, "vars": self.variables},
            # A task that is led to the controller is noticed, and runs nothing.
            "ungrouped": {"hosts": {"localhost": {"ansible_connection": "simulated"}}},
        }
        (self.directory / "inventory.yml").write_text(yaml.safe_dump(inventory))
        world = self.directory / "world.json"
        world.write_text(json.dumps(self.world))
        path = _COLLECTION / "playbooks" / f"{playbook.removesuffix('.yml')}.yml"
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(_COLLECTION.parents[2]),
            "ANSIBLE_CONNECTION_PLUGINS": str(_SUPPORT / "connection_plugins"),
            "ANSIBLE_CONFIG": str(_SUPPORT / "ansible.cfg"),
            "ANSIBLE_LOCAL_TEMP": str(self.directory / "tmp"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_FORKS": "2",
            "ANSIBLE_PIPELINING": "1",
            "SIMULATED_HOSTS": str(world),
            client.WITHOUT_PROCESSES: "1",
            **self.settings,
        }
        words = ["-vvv", "-i", "inventory.yml", str(path), *arguments]
        return words, self.directory, environment

    def calls(self) -> list[dict[str, Any]]:
        """Return all requests to any host: host, module (its last part) and arguments."""
        journal = self.directory / "world.json.journal"
        lines = journal.read_text().splitlines() if journal.exists() else []
        found = [json.loads(line) for line in lines]
        return [
            {**entry, "module": str(entry.get("module", "")).rpartition(".")[2]} for entry in found
        ]


def _bundle(directory: Path) -> Path:
    """Make a bundle of what the simulated hosts need; the proxy in it is none."""
    files = {
        f"proxy-{_PROXY}.tar.gz": b"pretends to be the proxy",
        f"cloudflared-{_CHECKSUM}.tar.gz": pack_program(_CLOUDFLARED),
    }
    return write_bundle(directory / "bundle", files)
