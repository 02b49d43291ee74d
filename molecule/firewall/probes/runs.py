"""Send all cells of the matrix at once, and judge each by the packets at its destination."""

from __future__ import annotations

import base64
import itertools
import json
import random
import struct
import subprocess
import time
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import packets
from capture import SOURCES, Capture, Flow
from matrix import OUTSIDE, Cell, cells, moved
from places import Agent, inside
from replicas import CHECKOUT

#: Loads the deployed rules again.
RELOAD = ("systemctl", "reload", "mcp-tunnel-firewall")
_TABLE = ("inet", "mcp_tunnel")
#: The sender's view of a refusal: TCP gets the reset at once, a datagram is not even taken.
_REFUSED = {"tcp": "ECONNREFUSED", "udp": "EPERM", "segment": "EPERM"}
#: The same view in the middle of a connection.
_CUT = "ECONNRESET"
#: Removes the table of the ports that a host publishes.
_FORGOTTEN = "table inet published; delete table inet published;"
_SECONDS_TO_ANSWER = 10.0
_SECONDS_OF_SILENCE = 1.5


@dataclass(frozen=True)
class _Sent:
    """A cell on its way. Its text and one of its ports are its own, which tells where it is seen.

    Without a text, it only connects.
    """

    cell: Cell
    text: str
    source_port: int
    port: int

    @property
    def _protocol(self) -> str:
        protocol = self.cell.protocol
        return "tcp" if protocol in ("segment", "mptcp") else protocol

    @property
    def _source(self) -> str:
        return self.cell.source.replace("::ffff:", "")

    @property
    def key(self) -> str:
        """The name of the socket that is handed over, if one is."""
        return f"{self.cell.source} {self.source_port} {self.port}" if self.cell.handed else ""

    @property
    def _place(self) -> tuple[str, int]:
        """The place where it is seen to arrive: outside of the host, after the host's changes."""
        if self.cell.to and not self.cell.inbound:
            return self.cell.to
        return self.cell.address, self.port

    @property
    def flow(self) -> Flow:
        return Flow(self._protocol, self._source, self.source_port, *self._place)

    @property
    def reverse(self) -> Flow:
        return Flow(self._protocol, *self._place, self._source, self.source_port)

    def probe(self) -> dict[str, Any]:
        cell = self.cell
        silent = cell.expected == "silent"
        data = _data(cell, self.text, self.source_port) if self.text else b""
        return {
            "id": self.text or str(cell),
            "protocol": cell.protocol,
            "address": cell.address,
            "port": self.port,
            "source": self.source_port,
            "handed": self.key,
            "keep": bool(cell.set) or not self.text,
            "data": base64.b64encode(data).decode(),
            "wait": _SECONDS_OF_SILENCE if silent else _SECONDS_TO_ANSWER,
        }


def _data(cell: Cell, text: str, source_port: int) -> bytes:
    """Return the data to send: something that makes a service answer, with the text in it."""
    if cell.protocol == "icmp":
        return packets.echo_request(cell.address, source_port, text.encode())
    if cell.protocol == "segment":
        return packets.segment(cell.source, source_port, cell.address, cell.port, text.encode())
    if cell.port != 53:
        return f"GET /{text} HTTP/1.1\r\nHost: matrix\r\nConnection: close\r\n\r\n".encode()
    name = bytes([len(text)]) + text.encode() + b"\x04test\0"
    query = struct.pack(">6H", 7, 0x0100, 1, 0, 0, 0) + name + struct.pack(">2H", 1, 1)
    return query if cell.protocol == "udp" else struct.pack(">H", len(query)) + query


@dataclass
class Verdict:
    """The results of a host's cells.

    Attributes:
        policy: firewall_host_policy.
        wrong: cell -> its deviations; all cells are there.
        counters: names of the table's counters -> packets that moved them.
        seen: whether the captures have seen all, the last packet of root's included.
    """

    policy: str
    wrong: dict[Cell, list[str]]
    counters: dict[str, int]
    seen: bool

    def missing(self) -> list[str]:
        """Return the counters that have not moved as often as they had to."""
        due = self._due()
        return [
            f"counter {name}: {self.counters.get(name, 'is not there')} of {count}"
            for name, count in sorted(due.items())
            if self.counters.get(name, -1) < count
        ]

    def unexplained(self) -> set[str]:
        """Return the counters of the table that no cell stands for."""
        return set(self.counters) - set(self._due())

    def _due(self) -> Counter[str]:
        due = Counter(dict.fromkeys(moved(self.policy), 1))
        due.update(cell.counter for cell in self.wrong if cell.counter)
        return due

    def red(self, broken: Collection[str] = ()) -> list[str]:
        """Return everything that is wrong, a line each, but for what is sent to *broken*."""
        lines = [
            f"{cell}: {each}"
            for cell, found in self.wrong.items()
            for each in found
            if cell.address not in broken
        ]
        lines += [] if self.seen else ["the last packet was to be seen, and was not"]
        return lines + self.missing()


class Runs:
    """The agents and captures; each :meth:`run` sends the matrix once."""

    def __init__(self, hosts: Sequence[str]) -> None:
        self._hosts = hosts
        self._stack = ExitStack()
        self._ports = itertools.cycle(SOURCES)
        for _ in range(random.randrange(len(SOURCES))):  # not the ports of the last process
            next(self._ports)
        self._ways: set[Cell] = set()
        self._numbers = itertools.count()
        self._mark = f"m{random.getrandbits(24):06x}"

    def __enter__(self) -> Runs:
        enter = self._stack.enter_context
        places = {"bridge": "br0", **dict.fromkeys(self._hosts, "lo")}
        self._captures = {where: enter(Capture(where, dev)) for where, dev in places.items()}
        self.agents = {where: enter(Agent(where)) for where in (*self._hosts, *OUTSIDE)}
        for capture in self._captures.values():
            capture.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def renew(self, host: str) -> None:
        """Replace the agent of a host whose connection has suffered."""
        self.agents[host] = self._stack.enter_context(Agent(host))

    def run(self, policy: str, hosts: Sequence[str] = ()) -> dict[str, Verdict]:
        """Send the cells of these hosts (default: all), and judge.

        Raises:
            Unreachable: a host does not answer any more.
        """
        chosen = hosts or self._hosts
        sent = [self._sent(cell) for host in chosen for cell in cells(host, policy)]
        early = [replace(s, text="") for s in sent if s.cell.early]
        try:
            self._prepare(chosen, sent)
            self._hand_over(sent)
            self._listen(sent)
            begun = self._connect_without_rules(chosen, early)
            for host in chosen:
                self._publish(host, sent)
            before = {host: self._counters(host) for host in chosen}
            outcomes = self._send(sent)
            # The same ports, so the same connections.
            again = [replace(s, text=self._text()) for s in sent if s.cell.set]
            for host in chosen:
                for name in {s.cell.set for s in again}:
                    self.agents[host].run("nft", "flush", "set", *_TABLE, name)
            outcomes |= self._send(again)
            seen = self._see_the_last(chosen)
            after = {host: self._counters_at_last(host, before[host], sent) for host in chosen}
            heard = {host: self._heard(host, sent) for host in chosen}
        finally:
            for agent in self.agents.values():
                agent.tell({"end": True})
            for host in chosen:
                self.agents[host].run("nft", _FORGOTTEN)
        wrong: dict[str, dict[Cell, list[str]]] = {host: {} for host in chosen}
        for each in (*sent, *again):
            found = wrong[each.cell.host].setdefault(each.cell, [])
            found += self._judge(each, outcomes[each.text], heard[each.cell.host])
            if (outcome := begun.get(str(each.cell), "connected")) != "connected":
                found.append(f"it was to begin, and the sender's outcome is {outcome}")
        return {
            host: Verdict(
                policy,
                wrong[host],
                {
                    name: packets - before[host].get(name, 0)
                    for name, packets in after[host].items()
                },
                seen[host],
            )
            for host in chosen
        }

    def _text(self) -> str:
        return f"{self._mark}x{next(self._numbers)}"

    def _sent(self, cell: Cell) -> _Sent:
        return _Sent(
            cell,
            self._text(),
            cell.source_port or next(self._ports),
            cell.port or next(self._ports),
        )

    def _hand_over(self, sent: Iterable[_Sent]) -> None:
        """Open sockets as root, each for the user who sends from it."""
        users: dict[str, dict[str, dict[str, list[dict[str, Any]]]]] = {}
        for each in (s for s in sent if s.cell.handed):
            messages = users.setdefault(each.cell.host, {})
            place = {"key": each.key, "address": each.cell.source, "port": each.source_port}
            messages.setdefault(each.cell.user, {"handed": []})["handed"].append(place)
        for host, message in users.items():
            self.agents[host].ask({"users": message})

    def _connect_without_rules(
        self, hosts: Sequence[str], early: Sequence[_Sent]
    ) -> dict[str, str]:
        """Start connections that the rules about users would refuse; return their outcomes."""
        handles = {}
        for host in hosts:
            said = self.agents[host].run(
                *("nft", "--echo", "--handle", "insert", "rule", *_TABLE, "output", "accept")
            )
            handles[host] = said.rpartition("# handle ")[2].split()[0]
        outcomes = self._send(early)
        for host, handle in handles.items():
            self.agents[host].run("nft", "delete", "rule", *_TABLE, "output", "handle", handle)
        return outcomes

    def _prepare(self, hosts: Sequence[str], sent: Sequence[_Sent]) -> None:
        """Make the kernels ask for IPv6 neighbours anew; hosts would forward, and are asked to."""
        scripts = {"bridge": ["ip -6 neigh flush dev br0"]}
        for where in ("neighbour", *hosts):
            scripts[where] = ["ip -6 neigh flush dev eth0"]
        for cell in {s.cell for s in sent if s.cell.protocol == "udp" and s.cell.source_port}:
            # A flow that the last run left behind must not let this run's datagram through.
            forget = f"conntrack -D -p udp --orig-port-src {cell.source_port}; true"
            scripts[cell.host].append(forget)
        for cell in {s.cell for s in sent if s.cell.protocol == "mptcp"}:
            # The server names 127.0.0.1 as another address of its own, and the client takes it.
            scripts[cell.host] += [
                "ip mptcp limits set add_addr_accepted 8 subflows 8",
                "ip mptcp endpoint flush",
                "ip mptcp endpoint add 127.0.0.1 signal dev lo",
            ]
        for where, script in scripts.items():
            self.agents[where].tell({"run": ["sh", "-c", "\n".join(dict.fromkeys(script))]})
        for where in scripts:
            self.agents[where].answer()
        for cell in (s.cell for s in sent if s.cell.through):
            if cell not in self._ways:
                self._ways.add(cell)
                self._lead_through(cell)

    def _publish(self, host: str, sent: Iterable[_Sent]) -> None:
        """Have the host forward what it publishes, for its own programs and for others."""
        own, foreign = [], []
        for cell in {s.cell for s in sent if s.cell.host == host and s.cell.to}:
            assert cell.to
            address, port = cell.to
            family, shown = ("ip6", f"[{address}]") if ":" in address else ("ip", address)
            where = f"{family} daddr {cell.address} {cell.protocol} dport {cell.port}"
            rule = f"{where} dnat {family} to {shown}:{port};"
            (foreign if cell.inbound else own).append(rule)
        # A number, as nft 1.0.6 knows the names for incoming packets only.
        hook = "type nat hook {} priority -100;"
        self.agents[host].run(
            "nft",
            f"{_FORGOTTEN} table inet published {{"
            f" chain own {{ {hook.format('output')} {' '.join(sorted(own))} }};"
            f" chain foreign {{ {hook.format('prerouting')} {' '.join(sorted(foreign))} }}; }}",
        )

    def _lead_through(self, cell: Cell) -> None:
        """Make the host a router, and the cell's sender use it."""
        # This is done from outside: a host cannot change its own setting.
        forward = inside(cell.host, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
        subprocess.run(forward, cwd=CHECKOUT, check=True, timeout=300)
        sender = self.agents[cell.sender]
        sender.run("ip", "route", "replace", cell.address, "via", cell.through)
        # The sender hears of a shorter way, and must not take it the next time.
        sender.run("sh", "-c", "echo 0 | tee /proc/sys/net/ipv4/conf/*/accept_redirects")

    def _listen(self, sent: Iterable[_Sent]) -> None:
        users: dict[str, dict[str, dict[str, list[dict[str, Any]]]]] = {}
        for cell, port in {(s.cell, s.port) for s in sent if s.cell.listener}:
            messages = users.setdefault(cell.host, {})
            places = messages.setdefault(cell.listener, {"listen": []})["listen"]
            address, port = cell.to or (cell.address, port)
            place = {"protocol": cell.protocol, "address": address, "port": port}
            if place not in places:
                places.append(place)
        for host, message in users.items():
            self.agents[host].tell({"users": message})
        for host in users:
            self.agents[host].answer()

    def _send(self, sent: Iterable[_Sent]) -> dict[str, str]:
        messages: dict[str, dict[str, dict[str, list[dict[str, Any]]]]] = {}
        for each in sent:
            users = messages.setdefault(each.cell.sender, {})
            users.setdefault(each.cell.user, {"send": []})["send"].append(each.probe())
        for where, users in messages.items():
            self.agents[where].tell({"users": users})
        outcomes: dict[str, str] = {}
        for where in messages:
            for answer in self.agents[where].answer().values():
                outcomes |= answer["send"]
        return outcomes

    def _see_the_last(self, hosts: Sequence[str]) -> dict[str, bool]:
        """Wait until the captures see a packet that was sent after all others, on each host."""
        loopback = [
            Cell(host, host, "root", "", "udp", "127.0.0.1", "127.0.0.1", 9, "") for host in hosts
        ]
        source, destination = OUTSIDE["neighbour"][0], OUTSIDE["internet"][0]
        wire = Cell("bridge", "neighbour", "root", "", "udp", source, destination, 7844, "")
        last = [self._sent(cell) for cell in (*loopback, wire)]
        self._send(last)
        seen = {s.cell.host: self._captures[s.cell.host].sees(s.flow, s.text) for s in last}
        assert seen.pop("bridge"), "tcpdump on the bridge has not seen the last packet"
        return seen

    def _counters(self, host: str) -> dict[str, int]:
        listing = json.loads(
            self.agents[host].run("nft", "-j", "list", "counters", "table", *_TABLE)
        )
        found = [entry["counter"] for entry in listing["nftables"] if "counter" in entry]
        return {entry["name"]: int(entry["packets"]) for entry in found}

    def _counters_at_last(
        self, host: str, before: dict[str, int], sent: Iterable[_Sent]
    ) -> dict[str, int]:
        """Return the counters, once the kernel has tried what it tries in its own time."""
        due = Counter(
            s.cell.counter for s in sent if s.cell.host == host and s.cell.protocol == "mptcp"
        )
        deadline = time.monotonic() + _SECONDS_TO_ANSWER
        while True:
            found = self._counters(host)
            moved = all(found.get(name, 0) - before.get(name, 0) >= due[name] for name in due)
            if moved or time.monotonic() > deadline:
                return found

    def _heard(self, host: str, sent: Iterable[_Sent]) -> str:
        """Return everything that the listeners of a host have received."""
        users = {s.cell.listener for s in sent if s.cell.host == host and s.cell.listener}
        answers = self.agents[host].ask({"users": {user: {"heard": True} for user in users}})
        return json.dumps(answers)

    def _judge(self, sent: _Sent, outcome: str, heard: str) -> list[str]:
        cell = sent.cell
        wrong = []
        if cell.protocol == "segment" and cell.expected == "answered":
            # There is no such connection: the segment only has to arrive.
            arrived = sent.text.encode() in (self._captures["bridge"].payload(sent.flow) or b"")
            return [] if arrived else ["it was to arrive, and has not"]
        wanted = cell.expected
        if wanted == "refused":
            wanted = _CUT if cell.early else _REFUSED[cell.protocol]
        if outcome != wanted:
            wrong.append(f"{wanted} was to be, the sender's outcome is {outcome}")
        if cell.protocol == "icmp":  # has no ports to find it by; the answer carries the text
            return wrong
        capture = self._captures[cell.host if cell.loopback else "bridge"]
        there, back = capture.payload(sent.flow), capture.payload(sent.reverse)
        arrived = sent.text.encode() in (there or b"")
        if cell.expected == "answered":
            if not arrived:
                wrong.append("it was to arrive, and has not")
            if not back:
                wrong.append("it was to be answered, and was not")
            if cell.listener and f"/{sent.text} " not in heard:
                wrong.append("the listener has not heard it")
        elif cell.early:
            if arrived or sent.text in heard:
                wrong.append("nothing was to be carried, and something was")
        elif not cell.inbound:
            if there is not None:
                wrong.append("no packet was to leave, and one has")
        elif cell.protocol == "tcp" and (arrived or sent.text in heard):
            wrong.append("nothing was to be carried, and something was")
        elif cell.expected == "silent" and back is not None:
            wrong.append("nobody was to answer, and someone has")
        elif back:
            wrong.append("nothing was to be said, and something was")
        return wrong
