"""Run tasks of the collection in a real playbook, without any connection."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import openssl
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.runs import client

_COLLECTIONS = Path(__import__("ansible_collections.mcp_tunnels.stack").__path__[0]).parent
_SETTINGS = Path(__file__).with_name("ansible.cfg")
_GOOD = {
    "mcp_tunnel_domain": openssl.DOMAIN,
    "mcp_tunnel_routes": {"echo": "http://10.0.0.1:8000"},
    # A task that connects fails, and says so.
    "ansible_connection": "ssh",
    "ansible_ssh_executable": "/bin/false",
}


def run_playbook(
    directory: Path,
    tasks: list[dict[str, Any]],
    hosts: dict[str, dict[str, Any]],
    *arguments: str,
    **group: Any,
) -> tuple[int, str]:
    """Run the tasks over hosts (name to variables) with the group's variables and command line.

    Returns the exit status and all output at -vvv.
    """
    inventory = {"mcp_tunnel": {"hosts": hosts, "vars": {**_GOOD, **group}}}
    play = {
        "hosts": "mcp_tunnel",
        "gather_facts": False,
        "any_errors_fatal": True,
        "tasks": tasks,
    }
    (directory / "inventory.yml").write_text(yaml.safe_dump(inventory))
    (directory / "play.yml").write_text(yaml.safe_dump([play]))
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(_COLLECTIONS),
        "ANSIBLE_LOCAL_TEMP": str(directory / "tmp"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_CONFIG": str(_SETTINGS),
        client.WITHOUT_PROCESSES: "1",
    }
    words = ["-vvv", "-i", "inventory.yml", "play.yml", *arguments]
    done = client.run(words, directory, environment)
    return done.returncode, done.stdout + done.stderr
