# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a copy of a state may be put back: all of it is judged before a host is changed.

Anybody who knows a recipient can encrypt for it, a hostile replica as well: that a copy can be
decrypted proves nothing. So its CA has to be the one that the replicas trust, and its key has to be
that of the CA, which only the state host had. In the middle of a rotation there are two CAs and one
key, and a forger would add the true CA as the one before its own: no replica's copy of that time is
taken.
"""

from __future__ import annotations

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

_OTHER = "Take a copy of this instance"
_OWN = "Take a backup of your own (mcp_tunnel_backup_file)"
_IN_ROTATION = ("ca-next.crt", "ca-next.key", "ca-previous.crt")
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
        return sorted(set(wanted.trusted) - {keeper})

    def replicas(self) -> list[str]:
        """The names of the replicas that it knows."""
        return sorted(_members(self.state, members.FILE).by_name)


def read_identities(path: Path) -> list[Any]:
    """The private keys in a file of the controller.

    :raises TunnelError: if it cannot be read, or has none.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST_IDENTITY).decode("utf-8", "replace")
    except OSError as error:
        raise TunnelError(
            "mcp_tunnel_backup_identity_file",
            f"{path} on the controller: {error.strerror}",
            "Give the absolute path of the file with the private key",
        ) from None
    return encryption.read_identities(text, str(path))


def judge(text: str, identities: list[Any], source: str, wanted: Wanted) -> Candidate:
    """The state in a copy.

    :param source: the copy, for errors: a file, or the host that has kept it.
    :raises TunnelError: with the first reason why it may not be put back.
    """
    if problem := encryption.why_not_armored(text):
        raise TunnelError(source, problem, "It is damaged, or no copy: take another one")
    content = encryption.decrypt(text, identities, source)
    manifest, state = archive.unpack(content, source)
    for problem_found in _problems(manifest, state, source, wanted):
        raise problem_found
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
    if wanted.proof and not (state.text("ca.key") and wanted.trusted):
        yield TunnelError(
            source,
            "has no key of a CA that a replica trusts, so nothing proves who made it",
            _OWN,
        )
    if wanted.proof and any(map(state.text, _IN_ROTATION)):
        yield TunnelError(
            source,
            "is of the middle of a rotation of the CA, so nothing proves who made it",
            _OWN,
        )
    others = sorted(n for n, pem in wanted.trusted.items() if not _trusts(pem, state))
    if others:
        yield TunnelError(
            source,
            f"has the CA {manifest.ca_fingerprint or 'none'}, and {', '.join(others)} "
            f"{'trusts' if len(others) == 1 else 'trust'} another one, so it is from before the CA "
            "was replaced, or of another tunnel",
            "Take a later copy. Without one, see recover.yml in docs/provisioning.md",
        )


def _trusts(pem: str, state: State) -> bool:
    """Whether the CA certificate of a replica is one of the state: the present one, or the next."""
    known = (state.text(name) for name in ("ca.crt", "ca-next.crt", "ca-previous.crt"))
    return any(each.split() == pem.split() for each in known if each)


def _check_contents(state: State, source: str) -> None:
    """Refuses values that are none, and a key that is not that of the CA."""
    if certificate := state.text("ca.crt"):
        loaded = crypto.load_certificate(certificate, f"ca.crt in {source}")
        if key := state.text("ca.key"):
            crypto.check_key(key, loaded, f"ca.key in {source}", f"ca.crt in {source}", "CA")
    if token := state.text("tunnel-token"):
        parse_token(token, f"tunnel-token in {source}")
    if domain := state.text("tunnel-domain"):
        check_domain(domain, f"tunnel-domain in {source}")
    if tunnel_id := state.text("tunnel-id"):
        check_tunnel_id(tunnel_id, f"tunnel-id in {source}")
    _members(state, f"{members.FILE} in {source}")


def _members(state: State, subject: str) -> members.Members:
    """The list of the replicas; empty without a file, which is not the same as an empty file."""
    is_there = members.FILE in state.files
    return members.read(state.text(members.FILE) if is_there else None, subject)
