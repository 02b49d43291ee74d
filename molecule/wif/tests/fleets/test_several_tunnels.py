"""Three tunnels of three replicas: a roll-out goes through all of them, and a cut stops one.

Each tunnel has a client that calls a tool all the time, not as often as elsewhere: two processors
have nine hosts to carry as well.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from caller import Calls, calling
from deployed import none_failed
from replicas import LABS, inventory, lab, play, recap, unquoted

NAME = "fleet"
TUNNELS = ("first", "second", "third")
EACH = 3
ROUTES = {"echo": "http://10.77.0.2:8000"}
_EVENT = re.compile(r"(registered|unregistered|lost) connection \d of ([0-9.]+) (\(\S+\))")
pytestmark = pytest.mark.exhaustive


@dataclass
class Fleet:
    """The laboratory, its hosts by tunnel, and their addresses."""

    facts: dict[str, Any]
    hosts: dict[str, list[str]] = field(default_factory=dict)

    @property
    def run(self) -> Path:
        return LABS / NAME

    def address(self, name: str) -> str:
        return str(next(each["address"] for each in self.facts["hosts"] if each["name"] == name))

    @contextmanager
    def called(self) -> Iterator[dict[str, Calls]]:
        """A client of each tunnel that calls all the time."""
        state = json.loads((self.run / "api" / "state.json").read_text())
        ids = {each["display_name"]: each["id"] for each in state["tunnels"]}
        front = self.facts["edge_front"]
        with ExitStack() as stack:
            yield {
                tunnel: stack.enter_context(calling(self.run, front, ids[tunnel], rate=10))
                for tunnel in TUNNELS
            }

    @contextmanager
    def cut_off(self, name: str) -> Iterator[None]:
        """Take the host's link away."""
        number = [each["name"] for each in self.facts["hosts"]].index(name)
        link = ("net", NAME, "exec", "bridge", "ip", "link", "set", f"port{number}")
        lab(*link, "down")
        try:
            yield
        finally:
            lab(*link, "up")


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    lab("up", NAME, "--hosts", str(len(TUNNELS) * EACH), "--debian", "12,13")
    found = Fleet(json.loads((LABS / NAME / "lab.json").read_text()))
    path = Path(inventory(NAME))
    content = yaml.safe_load(path.read_text())
    for number, (name, variables) in enumerate(content["mcp_tunnel"]["hosts"].items()):
        tunnel = TUNNELS[number % len(TUNNELS)]
        variables.update(mcp_tunnel_instance=tunnel, mcp_tunnel_display_name=tunnel)
        found.hosts.setdefault(tunnel, []).append(name)
    path.write_text(yaml.safe_dump(content))
    done = play(lab_name=NAME, timeout=1200)
    assert done.returncode == 0, done.stdout[-3000:]
    yield found
    lab("down", NAME)


class Edge:
    """The edge's own log: the replicas that are away from it at the same time."""

    def __init__(self, fleet: Fleet) -> None:
        self._log = fleet.run / "logs" / "edge.log"
        self._peers = {
            tunnel: [fleet.address(name) for name in names] for tunnel, names in fleet.hosts.items()
        }
        self._open: dict[str, set[str]] = {}
        self._read = 0
        self.most_away()

    def events(self) -> Iterator[tuple[str, str, str]]:
        """Each event since the last look: what it was, of which address, and the connection."""
        lines = self._log.read_text().splitlines()
        new, self._read = lines[self._read :], len(lines)
        yield from (found.groups() for found in map(_EVENT.search, new) if found)

    def most_away(self) -> dict[str, int]:
        """The most replicas of each tunnel that were without a connection since the last look."""
        most = dict.fromkeys(TUNNELS, 0)
        for what, peer, connection in self.events():
            known = self._open.setdefault(peer, set())
            (known.add if what == "registered" else known.discard)(connection)
            for tunnel, peers in self._peers.items():
                away = sum(not self._open.get(each) for each in peers)
                most[tunnel] = max(most[tunnel], away)
        return most


def changing(level: str) -> tuple[str, ...]:
    """A change of the routes and of the connector, which has to start anew."""
    routes = {**ROUTES, level: ROUTES["echo"]}
    return ("-e", json.dumps({"mcp_tunnel_routes": routes, "cloudflared_loglevel": level}))


def changes(output: str) -> dict[str, bool]:
    return {name: counters["changed"] > 0 for name, counters in recap(output).items()}


def test_a_roll_out_takes_one_replica_of_each_tunnel_at_a_time(fleet: Fleet) -> None:
    edge = Edge(fleet)
    with fleet.called() as calls:
        done = play(*changing("warn"), lab_name=NAME, timeout=1200)
    assert done.returncode == 0, done.stdout[-3000:]
    assert all(changes(done.stdout).values()), done.stdout[-3000:]
    for made in calls.values():
        none_failed(made)
    assert edge.most_away() == dict.fromkeys(TUNNELS, 1)


def test_a_replica_that_is_cut_off_stops_its_tunnel_and_no_other(fleet: Fleet) -> None:
    stopped = TUNNELS[1]
    cut, untouched = fleet.hosts[stopped][1:]
    others = [tunnel for tunnel in TUNNELS if tunnel != stopped]
    edge = Edge(fleet)
    with fleet.called() as calls, ThreadPoolExecutor(1) as pool:
        running = pool.submit(play, *changing("error"), lab_name=NAME, timeout=1200)
        deadline = time.monotonic() + 600
        # In its turn: its connector has left the edge, and the gate has not looked yet.
        while (fleet.address(cut)) not in [peer for _, peer, _ in edge.events()]:
            assert not running.done(), running.result().stdout[-3000:]
            assert time.monotonic() < deadline
            time.sleep(0.2)
        with fleet.cut_off(cut):
            done = running.result()
    assert done.returncode != 0
    told = (
        rf"{stopped}, \S+: stopped at {cut}: it could not be reached\. Not touched: {untouched}\."
    )
    assert re.search(told, unquoted(done.stdout)), done.stdout[-3000:]
    changed = changes(done.stdout)
    assert not changed[untouched]
    assert all(changed[name] for tunnel in others for name in fleet.hosts[tunnel])
    for tunnel in others:
        none_failed(calls[tunnel])


def test_the_next_run_completes_it(fleet: Fleet) -> None:
    done = play(*changing("error"), lab_name=NAME, timeout=1200)
    assert done.returncode == 0, done.stdout[-3000:]
    changed = {name for name, each in changes(done.stdout).items() if each}
    cut, untouched = fleet.hosts[TUNNELS[1]][1:]
    assert untouched in changed
    assert changed <= {cut, untouched}
