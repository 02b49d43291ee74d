# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The members of an instance: the replicas that the state host remembers.

An inventory need not show all of them: a platform that runs jobs leaves out hosts that are
disabled, sliced away or outside a limit. The list says who may live on the credentials of the state
host.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision import breaches

FILE = "replicas.json"
"""Name of the list in the state directory."""

_VERSION = 2
"""Of a list with marks. One without has version 1, which earlier releases read, too."""
MOST = 500
"""Replicas in a list. A tunnel needs no more than a few: the edge takes those of 25."""
NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.:-]{0,252}[A-Za-z0-9_])?\Z")
"""Name of a replica in the list, and wherever hosts keep it."""
_MACHINE = re.compile(r"[0-9a-f]{16,64}\Z")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z")
_DOMAIN = re.compile(r"[a-z0-9.-]{0,253}\Z")


@dataclass(frozen=True)
class Member:
    """A replica: what tells its ``machine`` from others, and when it was last ``confirmed``.

    ``confirmed`` is a time in UTC as in RFC 3339, empty if the replica got credentials and was not
    proven since.
    """

    machine: str
    confirmed: str = ""


@dataclass(frozen=True)
class Members:
    """The members by name. ``domain`` is that of their tunnel, empty while it is unknown.

    ``breached``: the hosts that were broken into. None of them is a member.
    """

    domain: str = ""
    by_name: Mapping[str, Member] = field(default_factory=dict)
    breached: breaches.Marks = field(default_factory=dict)

    def text(self) -> str:
        """The list as a file."""
        replicas = {
            name: {"machine": member.machine, "confirmed": member.confirmed}
            for name, member in sorted(self.by_name.items())
        }
        content: dict[str, Any] = {"version": 1, "domain": self.domain, "replicas": replicas}
        if self.breached:
            content.update(version=_VERSION, breached=breaches.as_entries(self.breached))
        return json.dumps(content, indent=1) + "\n"

    def missing(self, names: Iterable[str]) -> list[str]:
        """The members that are not among *names*, sorted."""
        return sorted(set(self.by_name).difference(names))

    def without(self, names: Iterable[str]) -> Members:
        """The list after *names* were forgotten. Their marks stay."""
        gone = set(names)
        kept = {name: each for name, each in self.by_name.items() if name not in gone}
        return replace(self, by_name=kept)

    def unmarked(self, names: Iterable[str]) -> Members:
        """The list after *names*, which are other machines now, have lost their marks."""
        back = set(names)
        marks = {name: mark for name, mark in self.breached.items() if name not in back}
        return replace(self, breached=marks)

    def with_breached(
        self, hosts: Mapping[str, breaches.Found], stored: breaches.Stored, now: str
    ) -> Members:
        """The list after *hosts* were marked as broken into; they are no members any more.

        :param stored: what they know, or have certificates of.
        """
        # What the state host has known before counts for more than what such a host says.
        known = {n: self.by_name[n].machine for n in hosts if n in self.by_name}
        found = {n: replace(each, machine=known.get(n, each.machine)) for n, each in hosts.items()}
        kept = {name: each for name, each in self.by_name.items() if name not in hosts}
        marks = breaches.with_hosts(self.breached, found, stored, now)
        return replace(self, by_name=kept, breached=marks)

    def with_replicas(self, machines: Mapping[str, str], domain: str) -> Members:
        """The list with the replicas of a run, before they get credentials.

        :param machines: host to what tells its machine from others.
        """
        added = {
            name: self.by_name.get(name, Member(machine)) for name, machine in machines.items()
        }
        return replace(self, domain=domain or self.domain, by_name={**self.by_name, **added})

    def confirmed(self, names: Iterable[str], now: str) -> Members:
        """The list after *names*, which are in it, were proven at the time *now*."""
        proven = {name: Member(self.by_name[name].machine, now) for name in names}
        return replace(self, by_name={**self.by_name, **proven})


def read(text: str | None, subject: str) -> Members:
    """The list in a file's *text*; without a file, which is ``None``, an empty list.

    :param subject: the file and its host, for errors.
    :raises TunnelError: if it is no such list, or one of a later version.
    """
    if text is None:
        return Members()
    if not text.strip():
        raise _corrupt(subject, "is empty")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise _corrupt(subject, "is no JSON") from None
    version = content.get("version") if isinstance(content, dict) else None
    # true and false are numbers in Python, too.
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise _corrupt(subject, "has no version")
    if version > _VERSION:
        raise TunnelError(
            subject,
            f"has version {version}, and this release of the collection knows {_VERSION} at most",
            "Run the release that has written it, or a later one",
        )
    replicas, domain = content.get("replicas"), content.get("domain")
    if not isinstance(domain, str) or not _DOMAIN.match(domain):
        raise _corrupt(subject, "names no domain")
    if not isinstance(replicas, dict) or len(replicas) > MOST:
        raise _corrupt(subject, f"has no replicas, or more than {MOST}")
    marks = breaches.as_marks(content.get("breached", {}))
    if marks is None:
        raise _corrupt(subject, "has marks of broken-into hosts that are none")
    found = {name: _member(name, each, subject) for name, each in replicas.items()}
    return Members(domain, found, marks)


def check_domain(known: Members, domain: str, subject: str) -> None:
    """Refuses a list of another tunnel.

    :param domain: that of the run's tunnel, empty while it is unknown.
    :raises TunnelError: if it is one.
    """
    if known.domain and domain and known.domain != domain:
        raise TunnelError(
            subject,
            f"is that of tunnel {known.domain}, and the variables name {domain}",
            "For another tunnel use another mcp_tunnel_instance",
        )


def check_forgotten(
    forget: Iterable[str], known: Members, machines: Mapping[str, str], inventory: Iterable[str]
) -> None:
    """Refuses to forget a replica of the inventory, also one that takes no part in the run.

    A machine in place of another is none.

    :raises TunnelError: naming the replicas.
    """
    replaced = {
        name
        for name, machine in machines.items()
        if name in known.by_name and known.by_name[name].machine != machine
    }
    replaced |= breaches.returning(known.breached, set(forget), machines)
    present = sorted(set(forget).intersection(inventory) - replaced)
    if present:
        raise TunnelError(
            "mcp_tunnel_forget",
            f"names {', '.join(present)}, a replica of this inventory",
            "Leave it out. Name only replicas that are gone for good and not in the inventory, "
            "and those that were installed anew, with a run on them",
        )


def check_machines(known: Members, machines: Mapping[str, str], subject: str) -> None:
    """Refuses a host whose name the list has for another machine.

    :param machines: host of the run to what tells its machine from others.
    :raises TunnelError: naming the hosts.
    """
    others = sorted(
        name
        for name, machine in machines.items()
        if name in known.by_name and known.by_name[name].machine != machine
    )
    if others:
        raise TunnelError(
            subject,
            f"has {', '.join(others)} as another machine: the host was installed anew, or another "
            "inventory has a host of this name",
            "If the earlier machine is gone for good, set mcp_tunnel_forget: "
            f"[{', '.join(others)}] for one run. Else give the host another name",
        )


def check_size(known: Members, missing: Iterable[str], subject: str) -> None:
    """Refuses a list that the next run would not read.

    :param missing: members that the inventory lacks; they may be gone for good.
    :raises TunnelError: if there are too many.
    """
    if len(known.by_name) > MOST:
        gone = len(list(missing))
        raise TunnelError(
            subject,
            f"would have {len(known.by_name)} replicas, and {MOST} is the most. The inventory "
            f"lacks {gone} of them",
            "Name those that are gone for good in mcp_tunnel_forget"
            if gone
            else "Give some of the replicas another mcp_tunnel_instance",
        )


def _member(name: str, each: Any, subject: str) -> Member:
    known = isinstance(each, dict) and set(each) == {"machine", "confirmed"}
    if not NAME.match(name) or not known:
        raise _corrupt(subject, "has an entry that is no replica")
    machine, confirmed = each["machine"], each["confirmed"]
    if not isinstance(machine, str) or not _MACHINE.match(machine):
        raise _corrupt(subject, f"knows no machine of {name}")
    if not isinstance(confirmed, str) or not (confirmed == "" or _TIME.match(confirmed)):
        raise _corrupt(subject, f"has no time for {name}")
    return Member(machine, confirmed)


def _corrupt(subject: str, problem: str) -> TunnelError:
    return TunnelError(
        subject,
        problem,
        "Nobody knows which replicas live on these credentials. Restore the file from a backup, or "
        "move it away and run site.yml on all replicas, which writes it anew",
    )
