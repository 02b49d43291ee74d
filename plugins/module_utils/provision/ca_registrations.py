# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The CA certificates that are registered on a tunnel, and the registration of our own."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.errors import (
    ApiError,
    LostAnswer,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.objects import (
    Certificate,
    parse_time,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.api.tunnels_api import TunnelsApi
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError

# Vendor rule: active CA certificates of a tunnel.
SLOTS = 2
_ELSEWHERE = (
    "Run with an inventory that has that state host and every replica. If it is lost, run "
    "recover.yml. If it was torn down, archive its CA in the Console. To register a CA of "
    "this host beside it, as beside another deployment, set mcp_tunnel_state_is_lost: true "
    "for one run"
)


class Registrations:
    """The CA certificates of one tunnel, read once; ``active`` ones are kept in step.

    :raises TunnelError: if they cannot be read.
    """

    def __init__(self, api: TunnelsApi, tunnel_id: str) -> None:
        self._api = api
        self._tunnel_id = tunnel_id
        self.active: list[Certificate] = []
        self._archived: list[Certificate] = []
        self.refresh()

    def refresh(self) -> None:
        """Reads the registrations again."""
        listed = self._api.certificates(self._tunnel_id, include_archived=True)
        self.active = [certificate for certificate in listed if not certificate.archived_at]
        self._archived = [certificate for certificate in listed if certificate.archived_at]

    def find(self, fingerprint: str) -> Certificate | None:
        """The registration of a CA, by lower-case SHA-256 fingerprint."""
        found = [one for one in self.active if fingerprint and one.fingerprint == fingerprint]
        return found[0] if found else None

    def is_archived(self, fingerprint: str) -> bool:
        """Whether a CA was registered, and no registration of it is active any more."""
        return any(one.fingerprint == fingerprint for one in self._archived) and not self.find(
            fingerprint
        )

    def refuse_archived(self, fingerprint: str, subject: str, remedy: str) -> None:
        """Refuses to register a CA that somebody has archived: that may have been on purpose.

        :raises TunnelError: about ``subject`` (where the CA comes from), with ``remedy``.
        """
        if not self.is_archived(fingerprint):
            return
        times = [one.archived_at for one in self._archived if one.fingerprint == fingerprint]
        raise TunnelError(
            subject,
            f"is a CA (SHA-256 {fingerprint}) whose registration on the tunnel {self._tunnel_id} "
            f"was archived at {max(times)}",
            f"If that was meant, {remedy}; if not, register it again in the Console, then run "
            "again",
        )

    def oldest(self) -> Certificate:
        """The active registration that was made first."""
        return min(self.active, key=lambda one: (one.created_at, one.id))

    def refuse_others(self, own: dict[str, str], remedy: str = _ELSEWHERE) -> None:
        """Refuses a tunnel that has a CA from elsewhere: others live on that one.

        :param own: as for :meth:`require_slot`.
        :param remedy: for the operator.
        :raises TunnelError: with the CAs that are active.
        """
        if not self.active:
            return
        described = "; ".join(_described(one, own) for one in self.active)
        raise TunnelError(
            f"tunnel {self._tunnel_id}",
            f"has a CA that this state host does not have, so another state host serves it: "
            f"{described}",
            remedy,
        )

    def require_slot(self, own: dict[str, str]) -> None:
        """Refuses before anything is made.

        :param own: fingerprints of CAs that this directory keeps, and what each is.
        :raises TunnelError: if both slots are taken, with what is in them.
        """
        if len(self.active) - len(self._surplus(own)) < SLOTS:
            return
        described = "; ".join(_described(one, own) for one in self.active)
        raise TunnelError(
            f"tunnel {self._tunnel_id}",
            f"has {len(self.active)} active CA certificates and cannot take another: {described}",
            "Archive the one that no replica uses any more in the Console (what was registered "
            "elsewhere is never archived from here), then run again",
        )

    def ensure_registered(
        self, result: dict[str, Any], own: dict[str, str], check_mode: bool
    ) -> dict[str, Any]:
        """Registers the CA of a result of ``ensure_ca``, unless it is; returns the new result.

        A registration that was requested twice may have become two: of our own CAs, one stays.

        :param own: as for :meth:`require_slot`.
        :raises TunnelError: if the API refuses.
        """
        is_there = self.find(result["fingerprint"]) is not None
        surplus = self._surplus(own)
        if not check_mode:
            for certificate in surplus:
                self.archive(certificate)
            if not is_there:
                self._add(result["certificate"], result["fingerprint"])
        before = {"registered": is_there, "surplus_registrations": len(surplus)}
        after = {"registered": True, "surplus_registrations": 0}
        diff = {
            "before": {**result["diff"]["before"], **before},
            "after": {**result["diff"]["after"], **after},
        }
        changed = result["changed"] or before != after
        return {**result, "changed": changed, "diff": diff}

    def archive(self, certificate: Certificate) -> None:
        """Archives a registration. :raises TunnelError: if the API refuses."""
        self._api.archive_certificate(self._tunnel_id, certificate.id)
        self.active.remove(certificate)

    def _surplus(self, own: Iterable[str]) -> list[Certificate]:
        """Registrations of these CAs beyond the oldest of each."""
        seen, surplus = set(), []
        for one in reversed(self.active):  # newest first, as the API lists them
            if one.fingerprint in seen and one.fingerprint in own:
                surplus.append(one)
            seen.add(one.fingerprint)
        return surplus

    def _add(self, pem: str, fingerprint: str) -> None:
        """Registers a CA exactly once, even if the answer is lost."""
        try:
            self.active.insert(0, self._api.add_certificate(self._tunnel_id, pem))
            return
        except LostAnswer:
            self.refresh()
        if self.find(fingerprint):
            return
        try:
            self._api.add_certificate(self._tunnel_id, pem)
        except (LostAnswer, ApiError):
            # Perhaps the API refused because the first request has arrived meanwhile.
            self.refresh()
            if not self.find(fingerprint):
                raise
        else:
            self.refresh()
        for certificate in self._surplus([fingerprint]):
            self.archive(certificate)


def _described(certificate: Certificate, own: dict[str, str]) -> str:
    created_at = parse_time(certificate.created_at)
    age = (
        f"{(datetime.now(timezone.utc) - created_at).days} days old"
        if created_at
        else "age unknown"
    )
    whose = own.get(certificate.fingerprint, "not from this state directory")
    until = f", valid until {certificate.expires_at}" if certificate.expires_at else ""
    return f"{certificate.id}, SHA-256 {certificate.fingerprint}, {age}{until}, {whose}"
