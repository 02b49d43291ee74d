# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The marks of hosts that were broken into. A marked host gets no credentials any more.

The state host keeps them beside its members, as an inventory may show the host for ever. A mark
also says which CA had signed for the host, whose certificates are good until that CA is archived,
and which token it knows, by its digest.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError

MOST = 500
UNKNOWN = ("", "d96ddd9f503d262b")
"""Machines that are none: nobody has looked at one, or its /etc/machine-id is empty."""
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.:-]{0,252}[A-Za-z0-9_])?\Z")
_FORM = {
    "machine": re.compile(r"(?:[0-9a-f]{16,64})?\Z"),
    "since": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z"),
    "ca": re.compile(r"(?:[0-9a-f]{64})?\Z"),
    "token": re.compile(r"(?:[0-9a-f]{64})?\Z"),
    "evidence": re.compile(r"(?:\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)?\Z"),
}
_OUT = "Take it out of the inventory, or leave it out with --limit. "
_ANEW = (
    "Once it was installed anew, set mcp_tunnel_forget: [{names}] for one run of site.yml; the "
    "same /etc/machine-id counts as the same machine, and so does an empty one"
)
_RENAMED = (
    "Nobody knows which machine {names} was, so once it was installed anew, give it another name"
)


@dataclass(frozen=True)
class Mark:
    """The mark of a host.

    :param machine: what tells its machine from others, empty if that is not known.
    :param since: time of the mark in UTC, as in RFC 3339.
    :param ca: SHA-256 of the CA at that time, empty if the state host had none: it is a new one.
    :param token: SHA-256 of the tunnel token at that time, empty if the state host had none. It is
        a random secret, so that gives nothing away.
    :param evidence: time at which evidence was first collected there, empty if it never was.
    """

    machine: str
    since: str
    ca: str
    token: str = ""
    evidence: str = ""


@dataclass(frozen=True)
class Found:
    """The findings of a run about a host that was broken into.

    :param machine: what tells its machine from others, empty if that is not known.
    :param evidence: whether evidence was collected.
    """

    machine: str = ""
    evidence: bool = False


@dataclass(frozen=True)
class Stored:
    """The credentials that the replicas of a state host live on.

    :param ca: SHA-256 of the CA, empty if there is none.
    :param token: SHA-256 of the tunnel token, empty if there is none.
    """

    ca: str
    token: str


Marks = Mapping[str, Mark]


def with_hosts(
    marks: Marks, hosts: Mapping[str, Found], stored: Stored, now: str
) -> dict[str, Mark]:
    """The marks with these hosts. One that is there only learns what it did not know."""
    return {**marks, **{n: _marked(marks.get(n), found, stored, now) for n, found in hosts.items()}}


def _marked(mark: Mark | None, found: Found, stored: Stored, now: str) -> Mark:
    before = mark or Mark("", now, stored.ca)
    return replace(
        before,
        machine=found.machine if before.machine in UNKNOWN and found.machine else before.machine,
        # A new state host asks for it later. Until then, nobody has replaced it.
        token=before.token or stored.token,
        evidence=before.evidence or (now if found.evidence else ""),
    )


def due(marks: Marks, stored: Stored, is_rotating: bool) -> list[str]:
    """The credentials that marked hosts know and that are still good: ``ca``, ``token``.

    A CA that was registered before the mark is not new enough, even if it was being rotated in. A
    run may have replaced the CA alone, so each of the two is looked at.

    :param is_rotating: whether another CA is registered beside the one in use.
    """
    if not marks:
        return []
    cas, tokens = ({getattr(each, name) for each in marks.values()} for name in ("ca", "token"))
    ca = is_rotating or not stored.ca or stored.ca in cas
    token = not stored.token or stored.token in tokens
    return [name for name, is_due in (("ca", ca), ("token", token)) if is_due]


def check(
    marks: Marks,
    names: Iterable[str],
    forget: Collection[str],
    machines: Mapping[str, str],
    members: Collection[str],
    subject: str,
) -> None:
    """Refuses credentials for a marked host, unless it is another machine now and is named.

    A marked machine is refused under any name but that of a member: clones have one machine-id.

    :param names: the hosts that are to get credentials.
    :param forget: the hosts that the operator names as gone.
    :param machines: host of the run to what tells its machine from others.
    :param members: the hosts that the state host remembers.
    :raises TunnelError: naming the hosts.
    """
    names = set(names)
    taken_out = {name for name in names if name in marks} - returning(marks, forget, machines)
    former = {m.machine: name for name, m in marks.items() if m.machine not in UNKNOWN}
    strangers = names.difference(members)
    renamed = {n: former[machines[n]] for n in strangers if machines.get(n) in former}
    found = {**{name: name for name in taken_out}, **renamed}
    if found:
        told = [name if name == was else f"{name} (as {was})" for name, was in found.items()]
        since = min(marks[was].since for was in found.values())
        raise TunnelError(
            subject,
            f"{', '.join(sorted(told))} was taken out as broken into ({since}), and gets no "
            "credentials",
            way_back({was: marks[was].machine for was in found.values()}),
        )


def way_back(machines: Mapping[str, str]) -> str:
    """The remedy for marked hosts that a run would give credentials.

    :param machines: those hosts to the machines in their marks.
    """
    unknown = sorted(name for name, machine in machines.items() if machine in UNKNOWN)
    remedy = _RENAMED if unknown else _ANEW
    return _OUT + remedy.format(names=", ".join(unknown or sorted(machines)))


def check_ca(marks: Marks, ca: str, coming: str, subject: str) -> None:
    """Refuses a CA that has signed for a marked host: it cannot take its own place.

    A rotation that is under way has to be completed first, with the CA that it brings.

    :param ca: SHA-256 of the CA that the run is given, empty if it is given none.
    :param coming: SHA-256 of the CA that is being rotated in, empty if there is none.
    :param subject: the variable that has it.
    :raises TunnelError: naming the hosts.
    """
    if marks and ca and coming and ca != coming:
        raise TunnelError(
            subject,
            f"is another CA than the one of a rotation that was interrupted ({coming})",
            "Complete that first: run again with that CA, or without mcp_tunnel_ca_cert and "
            "mcp_tunnel_ca_key. The run after it takes the new one. No token or CA was replaced",
        )
    if ca == coming:
        return
    found = sorted(name for name, mark in marks.items() if ca and mark.ca == ca)
    if found:
        raise TunnelError(
            subject,
            f"is the CA that has signed for {', '.join(found)}, which was broken into, so it would "
            "stay in use",
            "Bring a new CA in mcp_tunnel_ca_cert, with its key in mcp_tunnel_ca_key or at your "
            "signer (mcp_tunnel_signer), or remove all of them for one that the state host makes. "
            "No token and no CA was replaced",
        )


def check_seen(
    marks: Marks,
    names: Iterable[str],
    members: Collection[str],
    machines: Mapping[str, str],
    subject: str,
) -> None:
    """Refuses credentials for a host that may be a marked one under another name.

    :param names: the hosts that are to get credentials.
    :param members: the hosts that the state host remembers.
    :param machines: host of the run to what tells its machine from others, if the run has looked.
    :raises TunnelError: naming the hosts.
    """
    found = sorted(set(names).difference(members, machines)) if marks else []
    if found:
        raise TunnelError(
            subject,
            f"does not have {', '.join(found)}, and {', '.join(sorted(marks))} was taken out as "
            "broken into: this run has not seen whether it is that machine under another name",
            "Run site.yml, which looks at the machines",
        )


def returning(marks: Marks, forget: Collection[str], machines: Mapping[str, str]) -> frozenset[str]:
    """The marked hosts that the operator names, and whose name another machine has now.

    Where one of the two is not known, nobody can tell that they differ.
    """
    return frozenset(
        name
        for name, mark in marks.items()
        if name in forget
        and mark.machine not in UNKNOWN
        and machines.get(name, "") not in (*UNKNOWN, mark.machine)
    )


def told(marks: Marks) -> list[dict[str, str]]:
    """The marks as runs pass them on; replicas keep them, too."""
    return [
        {"name": name, **{key: getattr(mark, key) for key in ("machine", "since", "evidence")}}
        for name, mark in sorted(marks.items())
    ]


def as_found(entries: Mapping[str, Any], subject: str) -> dict[str, Found]:
    """The hosts of a run that takes them out.

    :param subject: the option that names them.
    :raises TunnelError: if it says something else of a host than a :class:`Found` does.
    """
    for name, each in entries.items():
        right = isinstance(each, Mapping) and set(each) <= {"machine", "evidence"}
        if not right or not _is_found(**each):
            raise TunnelError(
                f"{subject}.{name}",
                "is not what a run finds out about a host",
                "Give its machine, empty if that is not known, and whether evidence was collected",
            )
    return {name: Found(**each) for name, each in entries.items()}


def _is_found(machine: Any = "", evidence: Any = False) -> bool:
    is_machine = isinstance(machine, str) and _FORM["machine"].match(machine) is not None
    return is_machine and isinstance(evidence, bool)


def as_entries(marks: Marks) -> dict[str, dict[str, str]]:
    """The marks for a file."""
    return {name: dict(vars(mark)) for name, mark in sorted(marks.items())}


def as_marks(entries: Any) -> dict[str, Mark] | None:
    """The marks in a file; ``None`` if they are none."""
    if not isinstance(entries, dict) or len(entries) > MOST:
        return None
    if not all(_NAME.match(name) and _is_mark(each) for name, each in entries.items()):
        return None
    return {name: Mark(**each) for name, each in entries.items()}


def _is_mark(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and entry.keys() == _FORM.keys()
        and all(isinstance(entry[key], str) and _FORM[key].match(entry[key]) for key in _FORM)
    )
