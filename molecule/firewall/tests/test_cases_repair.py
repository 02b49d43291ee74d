"""Rules that somebody has changed, runs that were killed, and runs that only look."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from replicas import HOSTS, play, shell
from rules import PLAYBOOK, RULES, UNIT, changes_nothing, files, load_rules, table
from trials import write

INSTANCE_RULES = "/etc/nftables.d/mcp-tunnel.d/default.nft"
NEW = "10.77.0.53"
# Rules that differ from those in force.
OTHER = {"firewall_resolvers": ["10.77.0.1", NEW]}

State = tuple[str, str]

# Stands in for nft, and kills the module that runs it when the rules are to be loaded.
KILLER = r"""#!/bin/sh
case "$*" in
    "-f -")
        %s
        kill -9 $PPID
        exit 1 ;;
esac
exec /root/nft "$@"
"""


def states() -> dict[str, State]:
    """Return the rules of every host, in the kernel and on disk."""
    return {name: (table(shell(name)), files(shell(name))) for name in HOSTS}


@contextmanager
def ordered_in_a_circle(name: str) -> Iterator[None]:
    """Add a drop-in to our unit, which shows before the next boot only to those who look for it."""
    directory = f"/etc/systemd/system/{UNIT}.service.d"
    shell(name).check_output(f"mkdir {directory}")
    write(shell(name), f"{directory}/late.conf", "[Unit]\nAfter=ssh.service\n")
    try:
        yield
    finally:
        shell(name).check_output(f"rm -r {directory}")


def test_a_deleted_rule_is_found_and_healed() -> None:
    healthy = {name: table(shell(name)) for name in HOSTS}
    for name in HOSTS:
        host = shell(name)
        # A rule that no working part needs.
        chain = json.loads(
            host.check_output("nft --json --handle list chain inet mcp_tunnel proxy")
        )
        handle = next(
            item["rule"]["handle"]
            for item in chain["nftables"]
            if item.get("rule", {}).get("comment") == "cloud metadata"
        )
        host.check_output(f"nft delete rule inet mcp_tunnel proxy handle {handle}")
        assert table(host) != healthy[name]

    with ordered_in_a_circle(HOSTS[0]):
        looked = play(playbook="verify")
    assert looked.returncode != 0, looked.stdout
    said = " ".join(looked.stdout.split())
    # Which one, another boot decides in another way.
    circle = re.search(r"next boot: systemd would leave out one of (.*?), because", said)
    assert circle, looked.stdout
    assert f"{UNIT}.service" in circle[1]
    assert "mcp_tunnel" in looked.stdout.rsplit("TASK [", 1)[1], looked.stdout
    for name in HOSTS:
        assert table(shell(name)) != healthy[name]  # looking mends nothing

    healed = load_rules()
    assert all(counters["changed"] == 1 for counters in healed.values()), healed
    assert {name: table(shell(name)) for name in HOSTS} == healthy
    changes_nothing(load_rules())


def test_check_mode_shows_the_rules_and_changes_nothing() -> None:
    before = states()
    done = play("--check", "--diff", "--extra-vars", json.dumps(OTHER), playbook=PLAYBOOK)
    assert done.returncode == 0, done.stdout[-4000:]
    sets = [line for line in done.stdout.splitlines() if "set resolvers_v4" in line]
    shown = [line for line in sets if NEW in line]
    assert [line[0] for line in shown] == ["+"] * len(HOSTS), done.stdout
    assert states() == before


@pytest.fixture
def healthy() -> Iterator[dict[str, State]]:
    """The rules of every host, which must be the same again after the test."""
    found = states()
    yield found
    load_rules()
    assert states() == found


def test_a_run_that_is_killed_is_completed_by_the_next(healthy: dict[str, State]) -> None:
    killed(KILLER % "")
    assert states() == healthy
    killed(KILLER % '/root/nft "$@"')
    for name, (rules, written) in states().items():
        assert NEW in rules
        assert written == healthy[name][1]

    load_rules(**OTHER)
    for name in HOSTS:
        assert NEW in table(shell(name))
        assert NEW in shell(name).file(RULES).content_string


def killed(program: str) -> None:
    """Run the play with a program in the place of nft, which is at /root/nft meanwhile."""
    for name in HOSTS:
        host = shell(name)
        host.check_output("cp --update /usr/sbin/nft /root/nft")
        host.check_output("printf %s > /run/nft && chmod 0755 /run/nft", program)
        host.check_output("mount --bind /run/nft /usr/sbin/nft")
    together = json.dumps({**OTHER, "mcp_tunnel_batch": "100%"})
    try:
        done = play("--extra-vars", together, playbook=PLAYBOOK)
    finally:
        for name in HOSTS:
            shell(name).check_output("umount /usr/sbin/nft && rm /root/nft")
    assert done.returncode != 0, done.stdout


@pytest.mark.usefixtures("healthy")
def test_files_that_somebody_edited_are_put_right() -> None:
    for name in HOSTS:
        shell(name).check_output(f"sed -i 's/ accept / drop /' {INSTANCE_RULES}")
