# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a copy of a state may be put back: all of it is judged before a host is changed.

Anybody who knows a recipient can encrypt for it, a hostile replica as well: that a copy can be
decrypted proves nothing. So the CA that each replica trusts has to be in it together with its key,
which only the state host had. In the middle of a rotation there are several CAs, each with its key;
one without its key proves nothing, because a forger would add the true CA as the one before its
own.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.copies import archive, encryption
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.copies.state import State
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.names import check_domain
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.token import (
    check_tunnel_id,
    parse_token,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki import crypto
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision import members
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.controller.private_path import (
    check_unchangeable,
)

_OTHER = "Take a copy of this instance"
_OWN = "Take a backup of your own (mcp_tunnel_backup_file)"
_CERTIFICATE = re.compile(r"ca(?:-next|-previous)?\.crt(?:\.pending)?")
_KEY = re.compile(r"ca(?:-next|-previous)?\.key(?:\.pending)?")
_IDENTITY = "mcp_tunnel_backup_identity_file"
_LARGEST_IDENTITY = 64 * 1024


@dataclass(frozen=True)
class Wanted:
    """What a copy has to be of.

    :param domain: that of the tunnel, empty if it is not known.
    :param tunnel_id: likewise.
    :param trusted: replica to the CA certificate (PEM) that it trusts.
    :param proof: whether it has to have the key of the CA, because a host has supplied it.
    """

    instance: str
    domain: str
    tunnel_id: str
    trusted: Mapping[str, str]
    proof: bool = False


@dataclass(frozen=True)
class Candidate:
    """A copy that has passed."""

    source: str
    manifest: archive.Manifest
    state: State

    def vouchers(self, wanted: Wanted, keeper: str) -> list[str]:
        """The replicas that trust its CA, without the *keeper*, who may be its forger."""
        return [name for name in _vouching(self.state, wanted) if name != keeper]

    def order(self, now: float) -> tuple[bool, str]:
        """Later is larger. A time that is still to come is of a clock that was wrong."""
        return archive.seconds(self.manifest.made_at) <= now, self.manifest.made_at

    def replicas(self) -> list[str]:
        """The names of the replicas that it knows."""
        return sorted(_members(self.state, members.FILE).by_name)


def read_identities(path: Path) -> list[Any]:
    """The private keys in a file of the controller.

    :raises TunnelError: if it cannot be read, other users could have read or written it, or it has
        none.
    """
    try:
        _check_private(check_unchangeable(path.absolute(), _exposed))
        with path.open("rb") as file:
            text = file.read(_LARGEST_IDENTITY).decode("utf-8", "replace")
    except OSError as error:
        raise TunnelError(
            _IDENTITY,
            f"{path} on the controller: {error.strerror}",
            "Give the absolute path of the file with the private key",
        ) from None
    return encryption.read_identities(text, str(path))


def _check_private(path: Path) -> None:
    """As OpenSSH for its keys: nobody but the owner may read it. A group may read one of root's."""
    status = path.stat()
    readers = 0o007 if status.st_uid != os.geteuid() else 0o077
    if stat.S_IMODE(status.st_mode) & readers:
        raise _exposed(path, "can be read by other users")


def _exposed(found: Path, problem: str) -> TunnelError:
    return TunnelError(
        _IDENTITY,
        f"{found} on the controller {problem}",
        "If only you can have read the private key so far, run chmod 600 on it, in a directory of "
        "yours. Else it opens every copy for others, too: see a leaked identity in "
        "docs/provisioning.md",
    )


def judge(text: str, identities: list[Any], source: str, wanted: Wanted) -> Candidate:
    """The state in a copy.

    :param source: the copy, for errors: a file, or the host that has kept it.
    :raises TunnelError: with the first reason why it may not be put back.
    """
    if problem := encryption.why_not_armored(text):
        raise TunnelError(source, problem, "It is damaged, or no copy: take another one")
    content = encryption.decrypt(text, identities, source)
    try:
        manifest, state = archive.unpack(content, source)
        for problem_found in _problems(manifest, state, source, wanted):
            raise problem_found
    except TunnelError:
        raise
    except Exception as error:  # of a parser: one copy that somebody made must not keep the others
        raise TunnelError(
            source, f"cannot be judged ({type(error).__name__})", "Take another copy"
        ) from None
    return Candidate(source, manifest, state)


def _problems(
    manifest: archive.Manifest, state: State, source: str, wanted: Wanted
) -> Iterator[TunnelError]:
    if manifest.instance != wanted.instance:
        yield TunnelError(source, f"is of instance {manifest.instance}", _OTHER)
    if wanted.domain and manifest.domain and manifest.domain != wanted.domain:
        yield TunnelError(
            source,
            f"is of tunnel {manifest.domain}, and the variables name {wanted.domain}",
            _OTHER,
        )
    if wanted.tunnel_id and manifest.tunnel_id and manifest.tunnel_id != wanted.tunnel_id:
        yield TunnelError(
            source,
            f"is of tunnel {manifest.tunnel_id}, and mcp_tunnel_id is {wanted.tunnel_id}",
            _OTHER,
        )
    _check_contents(state, source)
    # Without a CA in use, the next run would make one, or take one that is in the copy.
    if wanted.proof and not (state.text("ca.crt") in _proven(state) and wanted.trusted):
        yield TunnelError(
            source,
            "has no key of a CA that a replica trusts, so nothing proves who made it",
            _OWN,
        )
    others = sorted(set(wanted.trusted) - set(_vouching(state, wanted)))
    if others:
        yield _dissent(manifest, source, others, len(others) == len(wanted.trusted))


def _dissent(
    manifest: archive.Manifest, source: str, others: list[str], are_all: bool
) -> TunnelError:
    """The refusal of a copy because of what *others* trust, who are all replicas or only some."""
    names = ", ".join(others)
    problem = (
        f"has the CA {manifest.ca_fingerprint or 'none'}, and {names} "
        f"{'trusts' if len(others) == 1 else 'trust'} one whose key is not in it"
    )
    if are_all:
        return TunnelError(
            source,
            f"{problem}, so it is from before the CA was replaced, or of another tunnel",
            "Take a later copy. Without one, see recover.yml in docs/provisioning.md",
        )
    return TunnelError(
        source,
        f"{problem}, unlike the other replicas",
        "Compare that fingerprint with the one of the tunnel's CA in the Console. If it is right, "
        f"run restore.yml without {names} (--limit 'mcp_tunnel:!{':!'.join(others)}'), and find "
        "out why they differ; if it is not, take another copy",
    )


def _vouching(state: State, wanted: Wanted) -> list[str]:
    """The replicas that trust a CA of the state.

    One counts only with its key. A state without any key of a CA has proven nothing, so it is
    never taken from a host; an operator's own counts with its certificate.
    """
    keyless = "" if wanted.proof or _keys(state) else state.text("ca.crt")
    known = {" ".join(pem.split()) for pem in [*_proven(state), keyless] if pem}
    return sorted(name for name, pem in wanted.trusted.items() if " ".join(pem.split()) in known)


def _keys(state: State) -> list[Any]:
    """The private keys of the CAs in a state; pending ones, too, of a run that was killed."""
    names = sorted(filter(_KEY.fullmatch, state.files))
    return [crypto.load_private_key(state.text(name), name) for name in names]


def _proven(state: State) -> list[str]:
    """The CA certificates (PEM) in a state whose keys are in it as well."""
    keys = [key.public_key() for key in _keys(state)]
    found = []
    for name in filter(_CERTIFICATE.fullmatch, state.files):
        public = crypto.load_certificate(state.text(name), name).public_key()
        if any(crypto.same_key(public, key) for key in keys):
            found.append(state.text(name))
    return found


def _check_contents(state: State, source: str) -> None:
    """Refuses values that are none, and a key that is not that of the CA."""
    for name in filter(_CERTIFICATE.fullmatch, state.files):
        crypto.load_certificate(state.text(name), f"{name} in {source}")
    for name in filter(_KEY.fullmatch, state.files):
        crypto.load_private_key(state.text(name), f"{name} in {source}")
    _check_pair(state, source)
    if token := state.text("tunnel-token"):
        parse_token(token, f"tunnel-token in {source}")
    if domain := state.text("tunnel-domain"):
        check_domain(domain, f"tunnel-domain in {source}")
    if tunnel_id := state.text("tunnel-id"):
        check_tunnel_id(tunnel_id, f"tunnel-id in {source}")
    _members(state, f"{members.FILE} in {source}")


def _check_pair(state: State, source: str) -> None:
    """Refuses a key of another CA, unless a run was killed while it replaced both."""
    certificate, key = state.text("ca.crt"), state.text("ca.key")
    if not (certificate and key):
        return
    pending = state.text("ca.crt.pending") or certificate
    public = crypto.load_private_key(key, "ca.key").public_key()
    if not crypto.same_key(crypto.load_certificate(pending, "").public_key(), public):
        loaded = crypto.load_certificate(certificate, f"ca.crt in {source}")
        crypto.check_key(key, loaded, f"ca.key in {source}", f"ca.crt in {source}", "CA")


def _members(state: State, subject: str) -> members.Members:
    """The list of the replicas; empty without a file, which is not the same as an empty file."""
    is_there = members.FILE in state.files
    return members.read(state.text(members.FILE) if is_there else None, subject)
