# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The work of module state_host: a run holds an instance, and its replicas are members."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.copies import recipients, records
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.copies.notes import Notes
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.copies.state import State
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import secret_files, ssh_keys
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.state_files import StateFile
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision import breaches, members
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision.lease import Lease, Run
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision.signatories import (
    Signatories,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision.token_store import (
    TokenRequest,
    ensure_token,
)

NOTHING = Notes()
_CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_READ = ("ca.crt", "tunnel-id", "tunnel-domain")


@dataclass(frozen=True)
class Renewal:
    """The replicas that ask this host for certificates, if that is ``wanted``.

    ``keys``: those of the run to their public keys, empty while they have none.
    """

    wanted: bool
    keys: Mapping[str, str]
    signatories: Signatories


@dataclass(frozen=True)
class Breached:
    """The hosts that were broken into, and the file that lets hosts ask for certificates.

    ``given``: the CA certificate (PEM) that the run is given, or empty. ``trusted``: the one that
    the other replicas trust, for a state host that has none.
    """

    hosts: Mapping[str, breaches.Found]
    signatories: Signatories
    given: str = ""
    trusted: str = ""


@dataclass(frozen=True)
class Request:
    """The request of a run to the state host.

    :param path: the state directory.
    :param replicas: the hosts of the run to their machines.
    :param inventory: the names of all replicas in the inventory.
    :param needs_all: whether to refuse if the list has others than the inventory.
    :param needs_list: whether to refuse if there are credentials and no list.
    :param note: whether to write the list.
    :param credentials_for: the hosts that the run gives credentials.
    :param installed_anew: hosts that replicas remember as broken into, and that are other machines.
    :param breached: the hosts that the run takes out.
    :param renewal: who may ask this host for certificates; ``None`` if that stays as it is.
    :param recipients: those for whom copies have to be encrypted.
    :param notes: what the run has learned of them.
    :param token: to be compared with the stored one; ``None`` for no comparison.
    """

    path: str
    run: Run
    seconds: int
    instead_of: str
    replicas: Mapping[str, str]
    inventory: tuple[str, ...]
    forget: tuple[str, ...]
    domain: str
    needs_all: bool
    needs_list: bool
    note: bool
    token: TokenRequest | None
    renewal: Renewal | None = None
    recipients: tuple[str, ...] = ()
    notes: Notes = NOTHING
    credentials_for: tuple[str, ...] = ()
    installed_anew: tuple[str, ...] = ()
    breached: Breached | None = None

    @property
    def taken_out(self) -> Mapping[str, breaches.Found]:
        """The hosts that the run takes out."""
        return self.breached.hosts if self.breached else {}


def hold(request: Request, lease: Lease, check_mode: bool) -> dict[str, Any]:
    """Takes the lease, looks at the list of replicas, and returns what is stored.

    :raises TunnelError: about the list of the replicas. The lease is given back then.
    """
    if check_mode:
        return _found(request, check_mode)
    # A run that has lost its lease may be at the list, too.
    with lease.alone():
        held = lease.take(request.run, request.seconds, request.instead_of, _now())
        if held:
            return {"changed": False, "holder": held}
        try:
            return _found(request, check_mode)
        except (TunnelError, OSError):
            lease.release(request.run)
            raise


def release(
    path: str,
    run: Run,
    lease: Lease,
    confirmed: list[str],
    forget: list[str],
    signatories: Signatories,
    notes: Notes = NOTHING,
) -> None:
    """Notes who was proven and who is gone, and what is known of copies; gives the lease back.

    A list that cannot be read stays as it is: the next run refuses it.
    """
    try:
        with lease.alone():
            # Without the directory, the instance was torn down.
            if not os.path.isdir(path):
                signatories.forget(None)
            elif confirmed or forget:
                file = StateFile(path, members.FILE)
                known = members.read(_text(file), file.path)
                names = [name for name in confirmed if name in known.by_name]
                file.ensure(known.confirmed(names, _now()).without(forget).text().strip(), False)
                signatories.forget(forget)
            notes.write(path)
    finally:
        lease.release(run)


def _found(request: Request, check_mode: bool) -> dict[str, Any]:
    request.notes.check()
    if request.taken_out and request.breached and request.note and not check_mode:
        # Whatever is wrong with the rest of the request, or with the list.
        request.breached.signatories.forget(request.taken_out)
    known, missing, noted = _look(request, check_mode)
    names = known.by_name.keys()
    if not check_mode:
        request.notes.write(request.path)
    if request.renewal is not None:
        noted &= _let_ask(request.renewal, names, check_mode or not request.note)
    return {
        "changed": request.note and not noted,
        "noted": noted,
        "holder": {},
        "present": os.path.isdir(request.path),
        "contents": _contents(request.path),
        "missing": missing,
        "host_keys": ssh_keys.host_keys(),
        "standby": _standby(request),
        "breach": _breach(request.path, known),
        **_compared(request.token),
    }


def _let_ask(renewal: Renewal, names: Collection[str], check_mode: bool) -> bool:
    """Whether those of the members *names* that have a key may ask, and no others, before this.

    One without a key is about to make it.
    """
    if not renewal.wanted:
        return not renewal.signatories.ensure({}, (), check_mode)
    changed = renewal.signatories.ensure(renewal.keys, names, check_mode)
    return all(renewal.keys.values()) and not changed


def _look(request: Request, check_mode: bool) -> tuple[members.Members, list[str], bool]:
    """The list, the members that the inventory lacks, and whether it had the run's replicas before.

    They are noted before they get credentials, so the list has all that may have some.
    """
    file = StateFile(request.path, members.FILE)
    text = _text(file)
    if text is None and request.needs_list and _contents(request.path).get("ca.crt"):
        raise TunnelError(
            file.path,
            "is missing, although this host has the credentials of the instance: nobody knows "
            "which replicas a rotation would cut off",
            "Restore it from a backup, or run site.yml with every replica"
            f"{_but(request.taken_out)}, which writes it anew; then repeat this run",
        )
    known = members.read(text, file.path)
    members.check_domain(known, request.domain, file.path)
    _check_marks(request, known, file.path)
    there, now = _known_there(request), _now()
    if request.taken_out and request.note and not check_mode:
        # Before the rest is judged: from here on, no run gives them credentials.
        _write(file, known.with_breached(request.taken_out, there, now))
    forget = set(request.forget).difference(request.installed_anew)
    members.check_forgotten(forget, known, request.replicas, request.inventory)
    back = breaches.returning(known.breached, request.forget, request.replicas)
    known = known.without(request.forget).unmarked(back)
    known = known.with_breached(request.taken_out, there, now)
    given, coming = _digest(_given(request)), _coming(request.path)
    breaches.check_ca(known.breached, given, coming, "mcp_tunnel_ca_cert")
    members.check_machines(known, request.replicas, file.path)
    missing = known.missing(request.inventory)
    if missing and request.needs_all:
        raise TunnelError(
            file.path,
            f"has {', '.join(missing)}, which would be cut off: the inventory of this run shows "
            "no such replica of this instance",
            "Run with an inventory that has every replica (no slices, no disabled hosts). If one "
            "has another mcp_tunnel_instance now, run teardown.yml with the former one there. If "
            f"they are gone for good, set mcp_tunnel_forget: [{', '.join(missing)}] for one run on "
            "the replicas of this instance",
        )
    grown = known.with_replicas(request.replicas, request.domain)
    members.check_size(grown, missing, file.path)
    wanted = grown.text().strip()
    if wanted == text or not (request.replicas or request.forget or request.taken_out):
        return known, missing, True
    if request.note and not check_mode:
        _write(file, grown)
    return grown, missing, False


def _write(file: StateFile, known: members.Members) -> None:
    secret_files.ensure_private_directory(os.path.dirname(file.path), check_mode=False)
    file.ensure(known.text().strip(), check_mode=False)


def _but(names: Collection[str]) -> str:
    return f" but {', '.join(sorted(names))}" if names else ""


def _check_marks(request: Request, known: members.Members, subject: str) -> None:
    """Refuses credentials for a host that was broken into.

    :raises TunnelError: naming it.
    """
    marks, names, machines = known.breached, request.credentials_for, request.replicas
    # A new state host has no list yet. The memory of the replicas was judged before.
    listed = known.by_name or names
    breaches.check(marks, names, request.forget, machines, listed, subject)
    breaches.check_seen(marks, names, listed, machines, subject)


def _breach(path: str, known: members.Members) -> dict[str, Any]:
    """The marks, the digest of the token, and what marked hosts know and is still good."""
    rotating = any(StateFile(path, f"{stem}.crt").read() for stem in ("ca-previous", "ca-next"))
    marks = known.breached
    stored = breaches.Stored(_ca(path), _token(path) if marks else "")
    return {
        "token": stored.token,
        "due": breaches.due(marks, stored, rotating),
        "marked": breaches.told(marks),
    }


def _ca(path: str) -> str:
    """SHA-256 of the CA, empty without one."""
    return _digest(_contents(path).get("ca.crt", ""))


def _coming(path: str) -> str:
    """SHA-256 of the CA that is being rotated in, empty if there is none."""
    rotated_out = StateFile(path, "ca-previous.crt").read()
    return _digest(StateFile(path, "ca-next.crt").read()) or (_ca(path) if rotated_out else "")


def _digest(certificate: str) -> str:
    """SHA-256 of a certificate, which may have a description before it; empty without one."""
    found = _CERTIFICATE.search(certificate)
    return State({"ca.crt": found[0].encode()}).ca_fingerprint() if found else ""


def _given(request: Request) -> str:
    return request.breached.given if request.breached else ""


def _known_there(request: Request) -> breaches.Stored:
    """The token that hosts which are marked now know, and the CA that has signed for them."""
    trusted = request.breached.trusted if request.breached else ""
    token = _token(request.path) if request.taken_out else ""
    return breaches.Stored(_ca(request.path) or _digest(trusted), token)


def _token(path: str) -> str:
    """SHA-256 of the tunnel token, empty without one. One that cannot be read hinders no mark."""
    try:
        value = StateFile(path, "tunnel-token").read()
    except TunnelError:
        return ""
    return hashlib.sha256(value.encode()).hexdigest() if value else ""


def _text(file: StateFile) -> str | None:
    """The text of the list; ``None`` without a file, which is not the same as an empty one."""
    return file.read() if secret_files.lstat(file.path) else None


def _standby(request: Request) -> str:
    """SHA-256 of the copy that other replicas keep, if it is of the state as it is."""
    if not request.recipients:
        return ""
    try:
        known = records.look(request.path)
    except TunnelError:
        # state_copy names what keeps it from being copied, and the run goes on.
        return ""
    digest = recipients.digest(recipients.check_recipients(request.recipients, "recipients"))
    return known.copies["standby"].sha256 if known.is_current("standby", digest) else ""


def _contents(path: str) -> dict[str, str]:
    found = {name: StateFile(path, name).read() for name in _READ}
    return {name: value for name, value in found.items() if value}


def _compared(token: TokenRequest | None) -> dict[str, Any]:
    """Whether the given values are those that are stored, and why they do not fit."""
    if token is None:
        return {"already_stored": False, "misfit": ""}
    try:
        stored = ensure_token(token, check_mode=True)["already_stored"]
    except TunnelError as error:
        return {"already_stored": False, "misfit": str(error)}
    return {"already_stored": stored, "misfit": ""}


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
