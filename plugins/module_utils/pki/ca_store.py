# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The work of module tunnel_ca: the CA in a state directory."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import secret_files
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.duration import parse_duration
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki import crypto
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki.ca import (
    ca_facts,
    make_ca,
    validate_ca,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki.key_pair import KeyPair

# Server certificates never outlive the CA, so from here on their lifetimes are shorter.
_WARN_BEFORE = timedelta(days=90)
_UNKNOWN = {"fingerprint": "", "subject": "", "not_before": "", "not_after": "", "certificate": ""}


@dataclass(frozen=True)
class CaRequest:
    """The options of the module."""

    path: str
    common_name: str
    duration: str
    regenerate: str
    certificate: str | None = None
    private_key: str | None = None
    encryption: str = ""  # one of at_rest.FORMS for new keys; empty for that of the present one


@dataclass(frozen=True)
class CaPair:
    """The content of the two files, present or wanted. The key may be missing."""

    certificate: Any = None
    key: Any = None


def ensure_ca(
    request: CaRequest, check_mode: bool, now: datetime | None = None, stem: str = "ca"
) -> dict[str, Any]:
    """Brings the CA to the wanted state and returns the module's result.

    :param stem: name of its two files in the state directory.
    :raises TunnelError: if an option or what is stored is wrong.
    """
    crypto.require_cryptography()
    now = now or crypto.utc_now()
    directory = secret_files.absolute_path(request.path)
    duration = parse_duration(request.duration)
    brought = _brought(request, now)
    files = KeyPair(directory, stem, request.encryption)
    interrupted = files.interrupted()
    stored = CaPair(files.certificate(), files.key())
    _refuse_unreadable(files, stored, request)
    _refuse_replacement(files, stored, brought, request)
    keep = _is_kept(stored, brought, request)
    if keep:
        _check_stored(files, stored, now)

    changed = secret_files.ensure_private_directory(directory, check_mode)
    wanted = stored
    if keep:
        changed |= _tidy(files, interrupted, check_mode)
        if brought.key is not None and stored.key is None:
            changed = True
            wanted = CaPair(stored.certificate, brought.key)
            if not check_mode:
                store_pair(files, wanted)
    else:
        changed = True
        wanted = brought if brought.certificate is not None else CaPair()
        if not check_mode:
            if wanted.certificate is None:
                wanted = _made(request, stored, duration, now)
            elif wanted.key is None and _fits(stored.key, wanted.certificate):
                wanted = CaPair(wanted.certificate, stored.key)
            store_pair(files, wanted)
    return _result(files, stored, wanted, changed, now)


def _brought(request: CaRequest, now: datetime) -> CaPair:
    if not request.certificate:
        return CaPair()
    validate_ca(request.certificate, request.private_key or None, now, "certificate")
    key = request.private_key
    return CaPair(
        crypto.load_certificate(request.certificate, "certificate"),
        crypto.load_private_key(key, "private_key") if key else None,
    )


def _fits(key: Any, certificate: Any) -> bool:
    return key is not None and crypto.same_key(key.public_key(), certificate.public_key())


def _is_same(one: Any, other: Any) -> bool:
    return crypto.fingerprint(one) == crypto.fingerprint(other)


def _is_kept(stored: CaPair, brought: CaPair, request: CaRequest) -> bool:
    """Whether the stored certificate stays."""
    if stored.certificate is None:
        return False
    if request.regenerate == "never":
        return True
    return brought.certificate is not None and _is_same(stored.certificate, brought.certificate)


def _refuse_unreadable(files: KeyPair, stored: CaPair, request: CaRequest) -> None:
    if request.regenerate == "always":
        return
    for path, content in (
        (files.certificate_path, stored.certificate),
        (files.key_path, stored.key),
    ):
        if content is None and secret_files.lstat(path):
            raise TunnelError(
                path,
                "exists but cannot be read as one PEM block",
                "Restore it from a backup, or replace the CA (tunnel_ca with regenerate: always)",
            )


def _refuse_replacement(
    files: KeyPair, stored: CaPair, brought: CaPair, request: CaRequest
) -> None:
    if request.regenerate == "always" or brought.certificate is None:
        return
    if stored.certificate is not None and not _is_same(stored.certificate, brought.certificate):
        raise TunnelError(
            "certificate",
            f"is another CA ({crypto.fingerprint(brought.certificate)}) than the one stored in "
            f"{files.certificate_path} ({crypto.fingerprint(stored.certificate)})",
            "Bring the stored one, or replace it (tunnel_ca with regenerate: always) and register "
            "the new one",
        )
    if stored.key is not None and not _fits(stored.key, brought.certificate):
        raise TunnelError(
            files.key_path,
            "belongs to another CA than the certificate that was brought",
            "Move the key away if it is not needed, or replace it with regenerate=always",
        )


def _check_stored(files: KeyPair, stored: CaPair, now: datetime) -> None:
    validate_ca(crypto.pem_of(stored.certificate), None, now, files.certificate_path)
    if stored.key is not None and not _fits(stored.key, stored.certificate):
        raise TunnelError(
            files.key_path,
            f"does not belong to {files.certificate_path}",
            "Restore the two from a backup, or replace the CA (tunnel_ca with regenerate: always)",
        )


def _tidy(files: KeyPair, interrupted: bool, check_mode: bool) -> bool:
    """Completes an interrupted run and repairs permissions; returns whether that is a change."""
    attributes = secret_files.private_attributes()
    wrong = files.wrong_attributes(attributes)
    stale = files.stale_files()
    if not check_mode:
        if interrupted:
            files.finish()
        for path in wrong:
            secret_files.set_attributes(path, attributes)
        for path in files.stale_files():
            secret_files.remove_file(path)
    return bool(wrong or stale)


def _made(request: CaRequest, stored: CaPair, duration: timedelta, now: datetime) -> CaPair:
    # A run that is interrupted between the two leaves a key without a certificate.
    reuse = request.regenerate == "never" and stored.key is not None
    key = stored.key if reuse else crypto.generate_key()
    certificate = make_ca(key, request.common_name, duration, now)
    validate_ca(crypto.pem_of(certificate), None, now, "the CA that was made")
    return CaPair(certificate, key)


def store_pair(files: KeyPair, pair: CaPair) -> None:
    """Makes a certificate, and its key where it has one, the live pair."""
    attributes = secret_files.private_attributes()
    if pair.key is not None:
        files.write_pending_key(pair.key)
        files.switch(pair.certificate, attributes)
        return
    files.write_pending_certificate(pair.certificate, attributes)
    # The key of the replaced CA must not lie beside another certificate.
    secret_files.remove_file(files.key_path)
    files.finish()


def _result(
    files: KeyPair, before: CaPair, after: CaPair, changed: bool, now: datetime
) -> dict[str, Any]:
    facts = ca_facts(after.certificate) if after.certificate is not None else dict(_UNKNOWN)
    made_later = after.certificate is None
    warnings = []
    if not made_later and crypto.not_after(after.certificate) - now < _WARN_BEFORE:
        warnings.append(
            f"The CA in {files.certificate_path} ends on {facts['not_after']} and server "
            "certificates with it. Register another CA and sign them anew before that."
        )
    return {
        **facts,
        "changed": changed,
        "private_key_stored": after.key is not None or made_later,
        "registration": _registration(files, facts),
        "warnings": warnings,
        "diff": {
            "before": _public(before),
            "after": _public(after) if changed else _public(before),
        },
    }


def _public(pair: CaPair) -> dict[str, Any]:
    """The part of the state that a diff shows."""
    if pair.certificate is None:
        return {"certificate": "none", "private_key": "stored" if pair.key else "none"}
    facts = ca_facts(pair.certificate)
    del facts["certificate"]
    return {"certificate": facts, "private_key": "stored" if pair.key else "none"}


def _registration(files: KeyPair, facts: dict[str, Any]) -> str:
    if not facts["fingerprint"]:
        return f"The CA will be made in {files.certificate_path} on this host."
    return "\n".join(
        [
            "Register this CA certificate on the tunnel, unless it is registered already:",
            "    where        Claude Console -> MCP tunnels -> the tunnel -> CA certificates",
            f"    certificate  on this host: {files.certificate_path}",
            f"    fingerprint  SHA-256 {facts['fingerprint']}",
            f"    valid until  {facts['not_after']}",
        ]
    )
