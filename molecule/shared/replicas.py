"""The laboratory of the running scenario, its replicas, and what a test does to them."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import testinfra
import yaml
from testinfra.host import Host

from lab.commands import cli
from lab.core.paths import LabPaths
from lab.supervision import facts
from tests.unit.plugins.support.runs import client

LAB_NAME = os.environ["MOLECULE_SCENARIO_NAME"]
#: How credentials reach the state host: manual in the scenario default, wif in the others.
MODE = "manual" if LAB_NAME == "default" else "wif"
CHECKOUT = Path(__file__).resolve().parents[2]
#: ansible-playbook, which need not pack the same modules for every run.
_PLAYBOOK = CHECKOUT / "tests/unit/plugins/support/kept_playbook.py"
#: The run directories of this checkout's laboratories are here.
LABS = CHECKOUT / ".build/lab"
RUN = LABS / LAB_NAME
LAB: dict[str, Any] = facts.read(LabPaths(LAB_NAME))
#: For runs that no client watches: both replicas at once take half of the time.
TOGETHER = ("-e", "mcp_tunnel_batch=2")
HOSTS: list[str] = [host["name"] for host in LAB["hosts"]]
DOMAIN: str = LAB["domain"]


#: Commands that only ask. A process for one takes half a second to load all that it may need, a
#: call three; tests wait by asking often. Other commands begin and end processes.
_QUESTIONS = ("api", "call", "edge")

# As a host was before its first deployment. Each unit that a command names is stopped by itself,
# so cloudflared leaves the edge in a command of its own, before the proxy ends.
_BARE = (
    "systemctl stop 'mcp-cloudflared@*'; systemctl stop 'mcp-*'"
    "; systemctl disable mcp-tunnel-firewall; nft flush ruleset"
    "; rm -rf /etc/mcp-tunnel* /opt/mcp-tunnel /var/lib/mcp-tunnel* /etc/nftables.d"
    " /etc/sysusers.d/mcp-* /usr/local/sbin/mcp-tunnel"
    "; find /etc/systemd/system -depth -path '*mcp-*' -delete; systemctl daemon-reload"
    "; for user in proxy cloudflared tunnel-renew tunnel-signer; do userdel mcp-$user; done"
)

#: Makes a host another machine, which an installation does.
ANOTHER_MACHINE = (
    # systemd-machine-id-setup would take the number that the container had before.
    "tr --delete - < /proc/sys/kernel/random/uuid > /root/id && mv -f /root/id /etc/machine-id"
    "; systemctl restart systemd-journald"
)

# What the tunnel has on a disk, and all settings of the host, with the time of the last change.
_ON_A_DISK = "find /etc /usr/local /var/lib/mcp-* -xdev -printf '%p %C@\\n' | sort"

#: Prints what the connector itself says of its connections.
_READY = (
    "python3 -c 'import urllib.request as u;"
    ' print(u.urlopen("http://127.0.0.1:20241/ready").read().decode())\''
)


def lab(*arguments: str, timeout: float = 900) -> str:
    """Run ``lab ARGUMENTS…`` and return its output, which a failing test shows.

    *timeout*, in seconds, is for commands that do more than ask: a question has a limit of its own.
    """
    if arguments[0] in _QUESTIONS:
        output, errors = io.StringIO(), io.StringIO()
        with redirect_stdout(output), redirect_stderr(errors):
            status = cli.main(arguments)
        said = output.getvalue()
        assert status == 0, f"lab {' '.join(arguments)}:\n{said}{errors.getvalue()}"
        return said
    done = subprocess.run(
        [sys.executable, "-m", "lab", *arguments],
        cwd=CHECKOUT,
        text=True,
        capture_output=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, f"lab {' '.join(arguments)}:\n{done.stdout}{done.stderr}"
    return done.stdout


def lost(lab_name: str = LAB_NAME) -> str | None:
    """Return why a laboratory is not up any more, and where its logs are; None while it is up."""
    return facts.gone(LabPaths(lab_name))


def shell(name: str, lab_name: str = LAB_NAME) -> Host:
    """Return root's shell on the host NAME of a laboratory, over SSH."""
    config = LABS / lab_name / "ssh_config"
    return testinfra.get_host(f"ssh://{name}?sudo=true&ssh_config={config}")


def state_host() -> Host:
    """Return the host that keeps the CA's key: by default the first of the group."""
    return shell(HOSTS[0])


@contextmanager
def only(name: str) -> Iterator[None]:
    """Let NAME be the only connected replica: the connectors of all others are stopped.

    Afterwards all are connected again: a unit is active long before its connector has tried QUIC.
    """
    others = [other for other in HOSTS if other != name]
    for other in others:
        shell(other).check_output("systemctl stop mcp-cloudflared@default")
    try:
        yield
    finally:
        for other in others:
            shell(other).check_output("systemctl start mcp-cloudflared@default")
        for other in others:
            await_connections(other)


def await_connections(name: str) -> None:
    """Wait until NAME and the edge have all four connections: up to four minutes.

    The edge has one a moment before NAME knows of it.
    """
    address = next(entry["address"] for entry in LAB["hosts"] if entry["name"] == name)
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        connections = json.loads(lab("edge", LAB_NAME, "status"))["connections"]
        there = sum(entry["peer"] == address for entry in connections) == 4
        if there and '"readyConnections":4' in shell(name).run(_READY).stdout:
            return
        time.sleep(0.5)
    raise AssertionError(f"{name} has no four connections to the edge: {connections}")


def make_bare(name: str) -> None:
    """Take everything of the tunnel from a host: it is as before its first deployment."""
    shell(name).run(_BARE)
    assert not shell(name).user("mcp-proxy").exists


def disks() -> dict[str, list[str]]:
    """Return the files and directories of each host, each with the time of its last change."""
    return {name: shell(name).run(_ON_A_DISK).stdout.splitlines() for name in HOSTS}


def inventory(lab_name: str) -> str:
    """Return the path of the inventory of a laboratory, for the mode of the scenario."""
    suffix = "" if MODE == "manual" else f"-{MODE}"
    return str(LABS / lab_name / f"inventory{suffix}.yml")


def play(
    *arguments: str,
    playbook: str = "site",
    lab_name: str = LAB_NAME,
    settings: dict[str, str] | None = None,
    timeout: float = 1200,
    hosts: Sequence[str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run ``ansible-playbook PLAYBOOK.yml ARGUMENTS…`` in a session of its own, as operators do.

    *settings* are Ansible's own environment variables; molecule's do not reach the run. *hosts* are
    those that the inventory shows, in that order, as a platform that runs jobs would have it.
    """
    (_python, _program, *words), environment = command_line(playbook, lab_name, hosts)
    environment |= settings or {}
    done = client.run([*words, *arguments], CHECKOUT, environment, timeout)
    if done.returncode != 0 and (gone := lost(lab_name)):
        raise RuntimeError(gone)
    return done


def command_line(
    playbook: str, lab_name: str = LAB_NAME, hosts: Sequence[str] | None = None
) -> tuple[list[str], dict[str, str]]:
    """Return the command that runs a playbook, and its environment; see play."""
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("ANSIBLE_", "MOLECULE_"))
    }
    shown = inventory(lab_name) if hosts is None else _inventory_of(lab_name, hosts)
    path = str(CHECKOUT / f"playbooks/{playbook}.yml")
    return [sys.executable, str(_PLAYBOOK), "--inventory", shown, path], environment


def _inventory_of(lab_name: str, hosts: Sequence[str]) -> str:
    """Write an inventory with some of the hosts, beside the laboratory's own."""
    whole = Path(inventory(lab_name))
    content = yaml.safe_load(whole.read_text())
    group = content["mcp_tunnel"]
    group["hosts"] = {name: group["hosts"][name] for name in hosts}
    path = whole.with_name(f"{whole.stem}-{'-'.join(hosts)}.yml")
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    path.chmod(0o600)
    return str(path)


def killed_after_a_change(
    *arguments: str,
    playbook: str = "site",
    lab_name: str = LAB_NAME,
    tasks: Sequence[str] = (),
    ended: list[dict[str, dict[str, int]]] | None = None,
    told: list[str] | None = None,
) -> str:
    """Run a playbook that is killed right after the first result that says "changed".

    With *tasks*, as TASK or as TASK on HOST, only their results count, and one of them must come.
    Returns the task and the host of that result. Returns empty text if there was none and the run
    ended well; its recap is then added to *ended*. The output is added to *told*.
    """
    settings = killing(*tasks)
    done = play(*arguments, playbook=playbook, lab_name=lab_name, settings=settings)
    if told is not None:
        told.append(done.stdout)
    if done.returncode == 0:
        assert not tasks, f"none of these has changed anything: {tasks}"
        counters = recap(done.stdout)
        assert all(each["changed"] == 0 for each in counters.values())
        if ended is not None:
            ended.append(counters)
        return ""
    assert done.returncode == -9, done.stdout[-4000:]
    return done.stdout.rsplit("KILLED after: ", 1)[1].strip()


def killing(*tasks: str) -> dict[str, str]:
    """Return the settings of a run that is killed after a change; see killed_after_a_change."""
    return {**_callback("kill_after_change"), "KILL_AFTER": "\n".join(tasks)}


def killed_when(condition: Callable[[], bool], *arguments: str, playbook: str) -> None:
    """Run a playbook that is killed as soon as something is so, whatever it does at that moment."""
    command, environment = command_line(playbook)
    run = subprocess.Popen(
        [*command, *arguments],
        cwd=CHECKOUT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 600
    try:
        while not condition():
            assert run.poll() is None, "the run has ended before"
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        with suppress(ProcessLookupError):  # it has ended by itself
            os.killpg(run.pid, signal.SIGKILL)
        run.wait()


def killed_before_deployment(lab_name: str = LAB_NAME) -> None:
    """Run the playbook that is killed when everything is provisioned."""
    done = play(lab_name=lab_name, settings=_callback("kill_before_deployment"))
    assert done.returncode == -9, done.stdout[-4000:]
    assert "KILLED before the deployment" in done.stdout


def _callback(name: str) -> dict[str, str]:
    return {
        "ANSIBLE_CALLBACK_PLUGINS": str(CHECKOUT / "molecule/shared/callback_plugins"),
        "ANSIBLE_CALLBACKS_ENABLED": name,
    }


def unquoted(output: str) -> str:
    """Return the text of results in YAML, without the effects of its line breaks and quotes."""
    return " ".join(output.replace("''", "'").split())


def recap(output: str) -> dict[str, dict[str, int]]:
    """Return the play recap: host → counter → number."""
    lines = output.rsplit("PLAY RECAP", 1)[1].splitlines()[1:]
    counters: dict[str, dict[str, int]] = {}
    for line in lines:
        if " : " in line:
            name, rest = line.split(" : ", 1)
            counters[name.strip()] = {
                key: int(value) for key, value in (pair.split("=") for pair in rest.split())
            }
    return counters
