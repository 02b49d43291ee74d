"""The cells of matrix.yml: the packets that are sent, and their expected outcomes."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from replicas import HOSTS, LAB

MATRIX: dict[str, Any] = yaml.safe_load(
    Path(__file__).parents[1].joinpath("matrix.yml").read_text()
)
_USERS: dict[str, str] = MATRIX["users"]
_LOGINS: dict[str, str] = {**_USERS, **MATRIX["more_users"]}
_STATE_HOST: str = LAB["hosts"][0]["name"]
#: Sources of the packets that no host sends: place -> its addresses.
OUTSIDE: dict[str, tuple[str, str]] = {
    **{
        where: (LAB[where]["address"], LAB[where]["address6"])
        for where in ("neighbour", "internet")
    },
    # The laboratory's controller; the kernel prefers this one of its addresses.
    "bridge": ("10.77.0.1", "fd77::2"),
}
_ADDRESSES = {host["name"]: (host["address"], host["address6"]) for host in LAB["hosts"]}
_FAMILIES = ("v4", "v6")
#: The kernel sends from these to any loopback address.
_LOOPBACK = ("127.0.0.1", "::1")


@dataclass(frozen=True)
class Cell:
    """A connection or a datagram that one user tries.

    Attributes:
        host: the host whose rules decide.
        sender: where the probe runs: the host, or a place outside.
        user: login name of the sender.
        what: the destination, for people.
        source: the address that it is sent from.
        port: the port that it is sent to; 0: any.
        expected: answered, refused or silent.
        counter: the counter that it moves, if any.
        listener: login name of the user who listens for the test; empty: a service or a sink does.
        through: address of the host, if it is only on the way to the destination.
        source_port: the port that it is sent from; 0: any.
        set: the set that is emptied before the sender goes on; empty: it does not.
        handed: whether it is sent from a socket that root has opened and bound.
        early: whether the connection stands when the rules come, and then goes on.
        to: the address and the port that the host itself sends it on to; empty: none.
    """

    host: str
    sender: str
    user: str
    what: str
    protocol: str
    source: str
    address: str
    port: int
    expected: str
    counter: str = ""
    listener: str = ""
    source_port: int = 0
    through: str = ""
    set: str = ""
    handed: bool = False
    early: bool = False
    to: tuple[str, int] | None = None

    def __str__(self) -> str:
        who = self.user if self.sender == self.host else self.sender
        who += f" from {self.source} port {self.source_port}" if self.handed else ""
        ends = f", {self.set} emptied" if self.set else ", begun early" if self.early else ""
        port = self.port or "any"
        return f"{self.host}: {who} to {self.what} {self.address} {self.protocol}/{port}{ends}"

    @property
    def inbound(self) -> bool:
        return self.sender != self.host

    @property
    def loopback(self) -> bool:
        return self.address == "::1" or self.address.startswith("127.")


def cells(host: str, policy: str) -> list[Cell]:
    """Return all cells of a host, for a value of firewall_host_policy."""
    found = [
        *(cell for row in MATRIX["outbound"] for cell in _outbound(host, policy, row)),
        *(cell for row in MATRIX["inbound"] for cell in _inbound(host, policy, row)),
        *(cell for row in MATRIX["survivors"] for cell in _survivors(host, row)),
        *(cell for row in MATRIX["handed"] for cell in _handed(host, row)),
        *(cell for row in MATRIX["early"] for cell in _early(host, row)),
    ]
    assert len({str(cell) for cell in found}) == len(found)
    return found


def moved(policy: str) -> list[str]:
    """Return the counters that the matrix moves, without telling which cell does."""
    return [*MATRIX["moved"], *(MATRIX["strict_moved"] if policy == "strict" else ())]


def _exists(counter: str, policy: str) -> bool:
    return policy == "strict" or not counter.startswith("host/")


def _ports(row: dict[str, Any]) -> Iterator[tuple[str, int]]:
    for each in row["ports"]:
        protocol, _, port = each.partition("/")
        yield protocol, int(port)


def _source(host: str, address: str) -> str:
    return _ADDRESSES[host][":" in address]


def _outbound(host: str, policy: str, row: dict[str, Any]) -> Iterator[Cell]:
    if row.get("of") == "replicas" and host == _STATE_HOST:
        return
    allowed, counts = row["may"], row.get("counts", {})
    if policy == "strict":
        allowed = row.get("strict", allowed)
        if host == _STATE_HOST:
            counts = {**counts, **row.get("state_host", {})}
            allowed = [*allowed, *row.get("state_host", {})]
    for family in (family for family in _FAMILIES if family in row):
        address = row[family].format(host=_ADDRESSES[host][0])
        loopback = address == "::1" or address.startswith("127.")
        for protocol, port in _ports(row):
            for user in row.get("as", _USERS):
                expected = "answered" if user in allowed else "refused"
                usual = MATRIX["refused"][user] if expected == "refused" else ""
                counter = counts.get(user, usual).format(family=family)
                yield Cell(
                    *(host, host, _LOGINS[user], row["what"], protocol),
                    source=_LOOPBACK[":" in address] if loopback else _source(host, address),
                    address=address,
                    port=port,
                    expected=expected,
                    counter=counter if _exists(counter, policy) else "",
                    listener=_LOGINS.get(row.get("at", ""), ""),
                    source_port=row.get("from", 0),
                    to=_sent_on(host, family, row),
                )


def _sent_on(host: str, family: str, row: dict[str, Any]) -> tuple[str, int] | None:
    if "leads_to" not in row:
        return None
    address = row["leads_to"][family].format(host=_ADDRESSES[host][0])
    return address, int(row["leads_to"]["port"])


def _inbound(host: str, policy: str, row: dict[str, Any]) -> Iterator[Cell]:
    expected, counter = row["verdict"], row.get("counts", "")
    if policy == "strict":
        expected, counter = row.get("strict", expected), row.get("strict_counts", counter)
    elif row.get("policy", policy) != policy:
        return
    for where in row.get("by", ("neighbour", "internet")):
        for family in row.get("families", _FAMILIES):
            address, source = _ends(host, where, family, row)
            for protocol, port in _ports(row):
                yield Cell(
                    *(host, where, "root", "the host", protocol, source, address, port, expected),
                    counter=counter,
                    listener=_LOGINS.get(row.get("at", ""), ""),
                    source_port=row.get("from", 0),
                    through=_ADDRESSES[host][0] if "through" in row else "",
                    to=_sent_on(host, family, row),
                )


def _ends(host: str, where: str, family: str, row: dict[str, Any]) -> tuple[str, str]:
    """Return the addresses that it is sent to, and from."""
    if row.get("link"):
        own = next(entry for entry in LAB["hosts"] if entry["name"] == host)
        return own["link_local"], LAB[where]["link_local"]
    index = _FAMILIES.index(family)
    address = _ADDRESSES[host][index]
    if "through" in row:
        behind = ipaddress.ip_network(row["through"])
        address = str(behind[HOSTS.index(host) + 1])
    return address, OUTSIDE[where][index]


def _survivors(host: str, row: dict[str, Any]) -> Iterator[Cell]:
    for protocol, port in _ports(row):
        yield Cell(
            *(host, host, _LOGINS[row["user"]], "the survivor", protocol),
            source=_source(host, row["address"]),
            address=row["address"],
            port=port,
            expected="answered",
            counter=row["counts"],
            set=row["set"],
        )


def _handed(host: str, row: dict[str, Any]) -> Iterator[Cell]:
    address = row["to"]
    for port in row["from"]:
        for user in _USERS.values():
            yield Cell(
                *(host, host, user, "a service of the host", "tcp", row["bound"], address, 0),
                expected="refused",
                counter=row["counts"],
                listener=_LOGINS[row["at"]],
                source_port=port,
                handed=True,
                early=row.get("early", False),
            )


def _early(host: str, row: dict[str, Any]) -> Iterator[Cell]:
    for protocol, port in _ports(row):
        yield Cell(
            *(host, host, _LOGINS[row["user"]], "the early one", protocol),
            source=row["address"],
            address=row["address"],
            port=port,
            expected="refused",
            counter=row["counts"],
            early=True,
        )
