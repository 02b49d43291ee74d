"""Attempts (attempts.py) by the users of a host, and at a host from somewhere around it."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from replicas import LAB_NAME, lab
from testinfra.host import Host

HERE = Path(__file__).parent
PROGRAM = "/opt/attempts.py"
TASKS = "/run/attempts.json"
# No program gets a capability, whatever is started: root of a setuid program would be just a name.
_AS_USER = (
    "setpriv --reuid={user} --regid={user} --clear-groups --bounding-set=-all --inh-caps=-all"
    f" python3 {PROGRAM} <{TASKS}"
)

#: Groups whose members may send echo requests.
EVERYBODY, NOBODY = "0 2147483647", "1 0"
#: Name, function of attempts.py, its arguments.
Attempt = list[Any]


def write(host: Host, path: str, text: str) -> None:
    """Write a file of a host."""
    host.check_output(f"echo {base64.b64encode(text.encode()).decode()} | base64 -d >{path}")


def place(host: Host) -> None:
    """Bring the program to a host."""
    write(host, PROGRAM, (HERE / "attempts.py").read_text())


def command(host: Host, user: str, attempts: list[Attempt]) -> str:
    """Write the attempts down; return the command that makes them as a user, without a sandbox."""
    write(host, TASKS, json.dumps(attempts))
    return f"python3 {PROGRAM} <{TASKS}" if user == "root" else _AS_USER.format(user=user)


def made(host: Host, user: str, attempts: list[Attempt]) -> dict[str, str]:
    """Make the attempts as a user of a host, without a sandbox: name -> outcome."""
    return dict(json.loads(host.check_output(command(host, user, attempts))))


def made_from(where: str, attempts: list[Attempt]) -> dict[str, str]:
    """Make the attempts from a place of the laboratory's network."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "lab", "net", LAB_NAME, "exec", where),
            *(sys.executable, str(HERE / "attempts.py")),
        ],
        input=json.dumps(attempts),
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return dict(json.loads(done.stdout))


def marks(attempts: list[Attempt]) -> dict[str, str]:
    """Return the text by which each attempt is recognised where it arrives."""
    return {
        name: f"{name.replace(' ', '-')}.tunnel" if function == "resolve" else f"attempt:{name}|"
        for name, function, *_ in attempts
    }


def who_may_ping(where: str, groups: str) -> None:
    """Set the groups from outside, because a host's own /proc is read-only."""
    switch = f"net.ipv4.ping_group_range={groups}"
    lab("net", LAB_NAME, "exec", where, "sysctl", "-qw", switch)
