"""A host was broken into: it is taken out while a client calls a tool 20 times a second.

The tests go on from each other. At the end the host is as if it were installed anew, and deployed.
Where one replica alone is left, clients notice that its connector starts with the new token; so
there is a laboratory of four hosts for whole runs, of which a replica and then the state host are
taken out.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from caller import calling
from deployed import STATE, all_the_time, fingerprint, none_failed, stored, tunnel
from exposure import EXPOSURE, all_are_hardened, measured
from replicas import (
    ANOTHER_MACHINE,
    HOSTS,
    LAB,
    LAB_NAME,
    LABS,
    TOGETHER,
    await_connections,
    killed_after_a_change,
    lab,
    play,
    recap,
    shell,
    unquoted,
)
from secrets_search import PLACES, found, key_lines, shown, token_forms
from tunnels_api import active

from lab.core.paths import LabPaths
from lab.supervision import facts

STAYS, LOST = HOSTS[0], HOSTS[-1]
FOUR = "four"
CONFIG = "/etc/mcp-tunnel/default"
UNITS = "mcp-proxy@default.service mcp-proxy@default.socket mcp-cloudflared@default.service"
SOCKET = "mcp-proxy@default.socket"
EDGE, UPSTREAM = "198.41.192.7 7844", "10.77.0.2 8000"
ANEW = (
    "rm -f /etc/mcp-tunnel-containment.nft /etc/systemd/system/mcp-tunnel-containment.service"
    " /etc/systemd/system/nftables.service.d/mcp-tunnel-containment.conf"
    " /etc/systemd/system/sysinit.target.wants/mcp-tunnel-containment.service"
    f"; cd /etc/systemd/system && rm -f {UNITS} {SOCKET}.~1~"
    f"; {ANOTHER_MACHINE}; systemctl daemon-reload"
    "; systemctl stop mcp-tunnel-containment.service"
    "; nft delete table inet mcp_tunnel_containment"
)


def addresses() -> set[str]:
    """Return the addresses of the hosts that have connections to the edge."""
    return {each["peer"] for each in json.loads(lab("edge", LAB_NAME, "status"))["connections"]}


def address(name: str) -> str:
    """Return the address of a host."""
    return str(next(host["address"] for host in LAB["hosts"] if host["name"] == name))


def until(condition: Callable[[], bool], told: str) -> None:
    """Wait for something: what a host does reaches the edge, or a user, a moment later."""
    deadline = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < deadline, told
        time.sleep(0.2)


def await_addresses(*names: str) -> None:
    """Wait until these hosts, and no others, have connections to the edge."""
    until(lambda: addresses() == {address(name) for name in names}, "others are at the edge")


def await_reach(name: str, place: str) -> None:
    """Wait until a connection of root on this host comes about, at last."""
    until(lambda: reaches(name, place), f"{name} does not reach {place}")


def reaches(name: str, place: str) -> bool:
    """Whether a TCP connection of root on this host comes about."""
    where = place.replace(" ", "/")
    return bool(shell(name).run(f"timeout 3 bash -c ': < /dev/tcp/{where}'").rc == 0)


def changes(output: str) -> dict[str, int]:
    """Return the number of changes on each host."""
    return {name: counters["changed"] for name, counters in recap(output).items()}


class Breach:
    """The run's arguments, its output, and the secrets that the host had before."""

    def __init__(self, directory: Path) -> None:
        self.folder = directory / "evidence"
        self.named = ("-e", json.dumps({"mcp_tunnel_breached": [LOST]}), "--diff", "-vvv")
        self.arguments = (*self.named, "-e", f"mcp_tunnel_support_dest={self.folder}")
        self.needles = [*token_forms(stored("tunnel-token")), *key_lines(LOST)]
        self.ca, self.token = stored("ca.crt"), stored("tunnel-token")
        self.output = ""

    def run(self, *arguments: str) -> Any:
        """Run the playbook; it has to end well."""
        done = play(*self.arguments, *arguments, playbook="breach")
        self.output += done.stdout + done.stderr
        assert done.returncode == 0, done.stdout[-4000:]
        return done


@pytest.fixture(scope="module")
def breach(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Breach]:
    """The breach; afterwards there are two replicas again, whatever has failed."""
    yield Breach(tmp_path_factory.mktemp("breach"))
    if shell(LOST).file("/etc/mcp-tunnel-containment.nft").exists:
        shell(LOST).run(ANEW)
        play("-e", json.dumps({"mcp_tunnel_forget": [LOST]}))


def test_check_mode_changes_nothing(breach: Breach) -> None:
    done = breach.run("--check")
    assert changes(done.stdout)[LOST] > 0
    assert "would be stopped and masked" in unquoted(done.stdout)
    assert not breach.folder.exists()
    assert stored("ca.crt") == breach.ca
    await_addresses(STAYS, LOST)
    await_reach(LOST, EDGE)
    await_reach(LOST, UPSTREAM)


def test_the_other_serves_and_an_interrupted_run_is_completed(breach: Breach) -> None:
    # A unit file of somebody else's, in the place of a mask.
    shell(LOST).check_output(
        f"cd /etc/systemd/system && cp $(systemctl show -P FragmentPath {SOCKET}) {SOCKET}"
    )
    with all_the_time() as calls:
        at = killed_after_a_change(*breach.arguments, playbook="breach", tasks=["Wipe them"])
    none_failed(calls)
    assert at == f"Wipe them on {LOST}"
    await_addresses(STAYS)
    assert not reaches(LOST, UPSTREAM)
    assert stored("ca.crt") == breach.ca
    breach.run()
    assert stored("tunnel-token") != breach.token
    assert stored("ca.crt") != breach.ca
    assert active(tunnel()) == [fingerprint(stored("ca.crt"))]
    await_addresses(STAYS)
    (mark,) = json.loads(stored("replicas.json"))["breached"].values()
    assert mark["token"] == hashlib.sha256(breach.token.encode()).hexdigest()
    assert mark["evidence"]
    assert shell(LOST).file(f"/etc/systemd/system/{SOCKET}.~1~").is_file


def test_no_secret_is_left_there_or_in_the_evidence(breach: Breach) -> None:
    assert len(breach.needles) == 4 + 2
    for directory in (
        CONFIG,
        STATE,
        *(f"/var/lib/mcp-tunnel-{each}/default" for each in ("standby", "replica")),
    ):
        assert not shell(LOST).file(directory).exists, directory
    kept = "find /etc /var/lib /run /root /home -xdev -type f -size -2M -exec cat {} +"
    for command in (*PLACES[:5], f"{kept} 2>/dev/null || true"):
        assert found(breach.needles, shown(LOST, command)) == [], command
    assert found(breach.needles, breach.output) == []
    (path,) = breach.folder.iterdir()
    assert path.name.startswith(f"{LOST}-breach-")
    with tarfile.open(path) as archive:
        files = {each.name.partition("/")[2]: archive.extractfile(each) for each in archive}
        texts = {
            name: file.read().decode("utf-8", "replace") for name, file in files.items() if file
        }
    assert found(breach.needles, "\n".join(texts.values())) == []
    assert "Registered tunnel connection" in texts["journals/mcp-cloudflared@default.service.txt"]
    assert "table inet mcp_tunnel " in texts["firewall/table.nft"]
    assert "/opt/mcp-tunnel/proxy/" in texts["host/sha256.txt"]


def test_another_run_replaces_nothing(breach: Breach) -> None:
    before = stored("ca.crt"), stored("tunnel-token")
    done = breach.run()
    assert set(changes(done.stdout).values()) == {0}, done.stdout[-3000:]
    assert (stored("ca.crt"), stored("tunnel-token")) == before
    assert len(list(breach.folder.iterdir())) == 1


def test_a_flushed_containment_comes_back_and_evidence_is_collected_where_nothing_is_left(
    breach: Breach, tmp_path: Path
) -> None:
    """A thief has removed the instance's files, say; or an earlier run, of another controller."""
    shell(LOST).check_output("nft flush ruleset")
    await_reach(LOST, UPSTREAM)
    elsewhere = tmp_path / "elsewhere"
    done = breach.run("-e", f"mcp_tunnel_support_dest={elsewhere}")
    assert changes(done.stdout)[LOST] > 0
    assert not reaches(LOST, UPSTREAM)
    assert not reaches(LOST, EDGE)
    (path,) = elsewhere.iterdir()
    with tarfile.open(path) as archive:
        (journal,) = (m for m in archive if m.name.endswith("/mcp-cloudflared@default.service.txt"))
        file = archive.extractfile(journal)
        assert file is not None
        assert b"Registered tunnel connection" in file.read()


def test_it_reaches_nothing_and_starts_nothing_after_a_reboot() -> None:
    lab("host", LAB_NAME, "reboot", LOST)
    target = "systemctl is-active multi-user.target"
    until(
        lambda: shell(LOST).run(target).rc == 0,
        "the host does not boot, or SSH does not come through",
    )
    assert shell(LOST).check_output("systemctl is-active mcp-tunnel-containment") == "active"
    assert not reaches(LOST, EDGE)
    assert not reaches(LOST, UPSTREAM)
    assert not reaches(STAYS, f"{address(LOST)} 9100")
    states = shell(LOST).run(f"systemctl is-enabled {UNITS}").stdout.split()
    assert states == ["masked"] * 3
    assert shell(LOST).run(f"systemctl start {UNITS}").rc != 0
    listed = shell(LOST).check_output("systemctl list-units --all --plain --no-legend 'mcp-*'")
    running = [line.split()[0] for line in listed.splitlines() if " running " in line]
    assert [unit for unit in running if "default" in unit] == []


def test_its_only_service_may_do_nothing_else() -> None:
    """Also by the measure of the other host's systemd."""
    all_are_hardened(shell(LOST), "mcp-tunnel-containment")
    unit = "mcp-tunnel-containment.service"
    text = shell(LOST).file(f"/etc/systemd/system/{unit}").content_string
    shell(STAYS).check_output(f"cat >/run/{unit} <<'EOF'\n{text}EOF")
    try:
        (exposure,) = measured(shell(STAYS), f"--offline=true /run/{unit}").values()
    finally:
        shell(STAYS).check_output(f"rm /run/{unit}")
    assert exposure <= EXPOSURE


@pytest.mark.exhaustive  # tests/unit/plugins/action/fleets/test_breach.py has it
def test_a_token_that_was_not_replaced_is_rotated_without_another_ca(breach: Breach) -> None:
    """As after a run that was killed before the token, and a rotation of the CA by hand."""
    ca, token = stored("ca.crt"), stored("tunnel-token")
    known = json.loads(stored("replicas.json"))
    known["breached"][LOST]["token"] = hashlib.sha256(token.encode()).hexdigest()
    shell(STAYS).check_output(
        "cd %s && printf %%s %s > replicas.json && printf 1 > token-version",
        STATE,
        json.dumps(known),
    )
    breach.run()
    assert stored("tunnel-token") != token
    assert stored("ca.crt") == ca
    await_addresses(STAYS)


def test_no_run_deploys_it_by_accident() -> None:
    remembered = json.loads(shell(STAYS).file(f"{CONFIG}/members.json").content_string)
    assert [mark["name"] for mark in remembered["breached"]] == [LOST]
    refused = play()
    assert refused.returncode != 0
    assert f"{LOST} was taken out as broken into" in unquoted(refused.stdout)
    assert set(changes(refused.stdout).values()) == {0}
    # The name alone does not bring the same machine back.
    refused = play("-e", json.dumps({"mcp_tunnel_forget": [LOST]}))
    assert refused.returncode != 0
    assert "the same /etc/machine-id counts as the same machine" in unquoted(refused.stdout)
    assert not shell(LOST).file(CONFIG).exists


def test_it_comes_back_when_it_was_installed_anew() -> None:
    shell(LOST).run(ANEW)
    done = play(*TOGETHER, "-e", json.dumps({"mcp_tunnel_forget": [LOST]}))
    assert done.returncode == 0, done.stdout[-3000:]
    await_connections(LOST)
    await_addresses(STAYS, LOST)
    assert "breached" not in json.loads(stored("replicas.json"))
    for name in HOSTS:
        remembered = json.loads(shell(name).file(f"{CONFIG}/members.json").content_string)
        assert "breached" not in remembered, name


@pytest.fixture(scope="module")
def four() -> Iterator[dict[str, Any]]:
    """A laboratory of four hosts, deployed."""
    lab("up", FOUR, "--hosts", "4", "--debian", "12,13")
    done = play(lab_name=FOUR)
    assert done.returncode == 0, done.stdout[-3000:]
    yield facts.read(LabPaths(FOUR))
    lab("down", FOUR)


def the_tunnel_of_four(used: str) -> dict[str, Any]:
    """Return the tunnel with this ID, as the API of the laboratory of four hosts has it."""
    tunnels = json.loads(lab("api", FOUR, "status"))["tunnels"]
    return next(each for each in tunnels if each["id"] == used)


# With all credentials of the host gone; with a new CA; with the new token on one of the others.
KILLS = (
    "Wipe them",
    "mcp_tunnels.stack.provision : Make the CA, or check the one that is brought",
    "mcp_tunnels.stack.cloudflared : Write settings, units and the tunnel token",
)


@pytest.mark.exhaustive
def test_a_replica_is_taken_out_by_runs_that_are_killed_and_no_call_fails(
    four: dict[str, Any], tmp_path: Path
) -> None:
    state_host, *others, lost = (host["name"] for host in four["hosts"])
    used = shell(state_host, FOUR).check_output(f"cat {STATE}/tunnel-id").strip()
    before = the_tunnel_of_four(used)
    given = {"mcp_tunnel_breached": [lost], "mcp_tunnel_support_dest": str(tmp_path / "evidence")}
    arguments = ("-e", json.dumps(given))
    with calling(LABS / FOUR, four["edge_front"], before["id"]) as calls:
        for task in KILLS:
            killed_after_a_change(*arguments, playbook="breach", lab_name=FOUR, tasks=[task])
        done = play(*arguments, playbook="breach", lab_name=FOUR)
        assert done.returncode == 0, done.stdout[-4000:]
    none_failed(calls)
    after = the_tunnel_of_four(used)
    pem = shell(state_host, FOUR).check_output(f"cat {STATE}/ca.crt")
    assert active(after) == [fingerprint(pem)]
    assert active(after) != active(before)
    assert len(after["rotations"]) == len(before["rotations"]) + 1
    token = shell(state_host, FOUR).check_output(f"cat {STATE}/tunnel-token").strip()
    for name in (state_host, *others):
        found_there = shell(name, FOUR).check_output(f"cat {CONFIG}/tunnel-token")
        assert found_there.strip() == token
    assert not shell(lost, FOUR).file(CONFIG).exists
    done = play(*arguments, playbook="breach", lab_name=FOUR)
    assert done.returncode == 0, done.stdout[-4000:]
    assert set(changes(done.stdout).values()) == {0}


@pytest.mark.exhaustive
def test_the_state_host_is_taken_out_and_no_call_fails(
    four: dict[str, Any], tmp_path: Path
) -> None:
    """The third host is the state host from then on; nothing of the first one is gone by."""
    *names, gone = (host["name"] for host in four["hosts"])
    first, *others = names
    new = others[-1]
    used = shell(first, FOUR).check_output(f"cat {STATE}/tunnel-id").strip()
    before = the_tunnel_of_four(used)
    given = {
        "mcp_tunnel_breached": [first],
        "mcp_tunnel_id": before["id"],
        "mcp_tunnel_state_host": new,
        "mcp_tunnel_support_dest": str(tmp_path / "evidence"),
    }
    with calling(LABS / FOUR, four["edge_front"], before["id"]) as calls:
        done = play("-e", json.dumps(given), playbook="breach", lab_name=FOUR, hosts=names)
    assert done.returncode == 0, done.stdout[-4000:]
    none_failed(calls)
    after = the_tunnel_of_four(used)
    pem = shell(new, FOUR).check_output(f"cat {STATE}/ca.crt")
    assert active(after) == [fingerprint(pem)]
    assert active(after) != active(before)
    assert len(after["rotations"]) == len(before["rotations"]) + 1
    for name in others:
        token = shell(name, FOUR).check_output(f"cat {CONFIG}/tunnel-token")
        assert token.strip() == shell(new, FOUR).check_output(f"cat {STATE}/tunnel-token").strip()
    assert not shell(first, FOUR).file(STATE).exists
    for name in others:
        remembered = json.loads(shell(name, FOUR).check_output(f"cat {CONFIG}/members.json"))
        assert remembered["state_host"] == new
        assert {mark["name"] for mark in remembered["breached"]} == {first, gone}
    # Also where the variables still lead to the former state host, which knows of no mark, and
    # says that it is another machine.
    shell(first, FOUR).check_output(ANOTHER_MACHINE)
    for given_host in (new, first):
        refused = play("-e", f"mcp_tunnel_state_host={given_host}", lab_name=FOUR, hosts=names)
        assert refused.returncode != 0
        assert f"{first} was taken out as broken into" in unquoted(refused.stdout)
        assert not shell(first, FOUR).file(STATE).exists
