# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rotation of a registered CA, in steps that can each be killed and repeated.

A new CA is made as ``ca-next``, registered beside the old one, and only then becomes ``ca``; the
old certificate stays as ``ca-previous.crt``: the sign of a rotation under way, and the record of
the CA to archive. From then on the new CA signs everything, while both are trusted. Once all
servers have certificates of the new CA, the old one is archived and the file is removed.

Until then the old key stays as ``ca-previous.key``, and signs nothing: in a copy of the state, it
proves to replicas which still trust the old CA alone that the copy is of their state host.
"""

from __future__ import annotations

from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import secret_files
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.state_files import StateFile
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki import crypto
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki.ca_store import (
    CaPair,
    CaRequest,
    ensure_ca,
    store_pair,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki.key_pair import KeyPair
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision.ca_registrations import (
    Registrations,
)


class Rotation:
    """The CAs of one state directory, and the progress of the rotation."""

    def __init__(
        self,
        directory: str,
        registrations: Registrations,
        exclusive: bool = False,
        encryption: str = "",
    ) -> None:
        """Look at a directory.

        :param exclusive: whether no CA may be made beside one that this directory does not have.
        :param encryption: one of at_rest.FORMS for new keys; empty for that of the present one.
        """
        self._directory = directory
        self._exclusive = exclusive
        self._registrations = registrations
        self._current = KeyPair(directory, "ca", encryption)
        self._next = KeyPair(directory, "ca-next", encryption)
        self._previous = StateFile(directory, "ca-previous.crt")
        self._previous_key = StateFile(directory, "ca-previous.key", encryption)

    def is_under_way(self) -> bool:
        """Whether a rotation was begun and not ended."""
        return bool(self._previous.read()) or self._has_next()

    def keep(self, request: CaRequest, check_mode: bool) -> dict[str, Any]:
        """Keeps the current CA stored and registered; a rotation stays where it is.

        A new CA that has taken its place already is no longer the next one, too.

        :raises TunnelError: if an option or what is stored is wrong, or no slot is free.
        """
        stored = self._current.certificate()
        if self._exclusive and stored is not None and not request.certificate:
            self._refuse_a_stranger(crypto.fingerprint(stored))
        if stored is None and not request.certificate:
            if self._previous.read():
                return self._take_over(request, check_mode)
            if self._exclusive:
                return self._make_the_only_one(request, check_mode)
        has_taken_its_place = self._has_taken_its_place()
        result = self._ensure(request, "ca", check_mode)
        if has_taken_its_place and not check_mode:
            self._promote()
        return {**result, "changed": result["changed"] or has_taken_its_place}

    def _has_taken_its_place(self) -> bool:
        """Whether a run was killed after the next CA had become the current one."""
        current, new = self._current.certificate(), self._next.certificate()
        if current is None or new is None:
            return False
        return crypto.fingerprint(current) == crypto.fingerprint(new)

    def _take_over(self, request: CaRequest, check_mode: bool) -> dict[str, Any]:
        """Makes a CA beside one that is lost. It takes that place once it is registered.

        So a stored CA that no tunnel knows is never one of an interrupted run.
        """
        result = self._ensure(request, "ca-next", check_mode)
        if not check_mode:
            self._promote()
        return {**result, "changed": True}

    def _make_the_only_one(self, request: CaRequest, check_mode: bool) -> dict[str, Any]:
        """Makes the first CA of a tunnel, and refuses one from elsewhere."""
        self._registrations.refuse_others({})
        result = self._ensure(request, "ca", check_mode)
        if not check_mode:
            self._yield_to_others(result["fingerprint"])
        return result

    def _refuse_a_stranger(self, fingerprint: str) -> None:
        """Refuses to register the stored CA on a tunnel that has others alone.

        The tunnel may not be that of the state: a copy that somebody else made was put back. Other
        certificates in the directory prove nothing, as anybody can put a known one there; and a CA
        that takes the place of another is registered before it does.

        :raises TunnelError: in that case.
        """
        known = self._registrations.find(fingerprint) or self._registrations.is_archived(
            fingerprint
        )
        if not known:
            remedy = (
                "If the state here was put back from a copy, the copy was not of this tunnel: move "
                f"{self._directory} away on this host, and run recover.yml without "
                "mcp_tunnel_backup_identity_file. Else run with an inventory that has that state "
                "host and every replica"
            )
            self._registrations.refuse_others(self._own(), remedy)

    def _yield_to_others(self, fingerprint: str) -> None:
        """Takes the new CA back if another run has registered one at the same time, but earlier.

        :raises TunnelError: in that case.
        """
        self._registrations.refresh()
        own = self._registrations.find(fingerprint)
        if own is None or self._registrations.oldest() == own:
            return
        self._registrations.archive(own)
        # The key last: alone, it would be taken for the start of a CA.
        secret_files.remove_file(self._current.certificate_path)
        secret_files.remove_file(self._current.key_path)
        self._registrations.refuse_others({})

    def add(self, request: CaRequest, check_mode: bool) -> dict[str, Any]:
        """Makes and registers a new CA, and lets it take the place of the old one.

        :raises TunnelError: if there is nothing to rotate, or no slot is free.
        """
        current = self._current.certificate()
        if current is None:
            raise TunnelError(
                self._current.certificate_path,
                "is not there or cannot be read, so there is no CA to rotate",
                "Run with phase=current first",
            )
        if self._exclusive and not request.certificate:
            self._refuse_a_stranger(crypto.fingerprint(current))
        # A CA that was archived since has to be replaced in its turn.
        is_done = not self._registrations.is_archived(crypto.fingerprint(current))
        if is_done and self._previous.read() and not self._has_next():
            return self.keep(request, check_mode)
        if request.certificate and not self._has_next():
            brought = crypto.load_certificate(request.certificate, "certificate")
            if crypto.fingerprint(brought) == crypto.fingerprint(current):
                return self.keep(request, check_mode)
        result = self._ensure(request, "ca-next", check_mode)
        if not check_mode:
            self._promote()
        return {**result, "changed": True}

    def retire(self, request: CaRequest, check_mode: bool) -> dict[str, Any]:
        """Archives the CA that was rotated out, and no other.

        :raises TunnelError: if the new one has not taken its place yet.
        """
        if self._has_next():
            raise TunnelError(
                self._next.certificate_path,
                "is there: the new CA has not taken the old one's place yet",
                "Run with phase=added first, sign the servers' certificates anew, then retire",
            )
        result = self.keep(request, check_mode)
        text = self._previous.read()
        if not text:
            return result
        previous = crypto.load_certificate(text, self._previous.path)
        fingerprint = crypto.fingerprint(previous)
        registered = self._registrations.find(fingerprint)
        # Never the one that is in use, whatever the files say: it stays with its signer elsewhere.
        stays = fingerprint == result["fingerprint"]
        if not check_mode:
            if registered and not stays:
                self._registrations.archive(registered)
            self._previous_key.remove()
            self._previous.remove()
        retired = "none" if stays else fingerprint
        before = {**result["diff"]["before"], "rotating": True, "retired": "none"}
        after = {**result["diff"]["after"], "rotating": False, "retired": retired}
        return {**result, "changed": True, "diff": {"before": before, "after": after}}

    def withdraw(self, check_mode: bool) -> list[str]:
        """Archives the registered CAs of this directory, and none from elsewhere.

        What is stored stays.

        :returns: their fingerprints.
        """
        own = self._own()
        registered = [one for one in self._registrations.active if one.fingerprint in own]
        if not check_mode:
            for one in registered:
                self._registrations.archive(one)
        return [one.fingerprint for one in registered]

    def _ensure(self, request: CaRequest, stem: str, check_mode: bool) -> dict[str, Any]:
        # First as a prediction, so that a refusal comes before a CA is made or replaced.
        result = ensure_ca(request, check_mode=True, stem=stem)
        self._refuse_archived(request, stem, result["fingerprint"])
        if not self._registrations.find(result["fingerprint"]):
            self._registrations.require_slot(self._own())
        if not check_mode:
            result = ensure_ca(request, check_mode=False, stem=stem)
        return self._registrations.ensure_registered(result, self._own(), check_mode)

    def _refuse_archived(self, request: CaRequest, stem: str, fingerprint: str) -> None:
        if request.certificate:
            subject, remedy = "certificate", "bring another CA, and rotate it in with phase=added"
        elif stem == "ca-next":
            subject = self._next.certificate_path
            # The key first: a key without a certificate would become another CA of the same key.
            remedy = (
                f"remove {self._next.key_path} and {subject}, and run phase=added again, which "
                "makes another"
            )
        else:
            subject = self._current.certificate_path
            remedy = (
                "replace it by a new one with rotate_ca.yml (this module: phase=added); replicas "
                "still present its certificates"
            )
        self._registrations.refuse_archived(fingerprint, subject, remedy)

    def _promote(self) -> None:
        if self._current.interrupted():
            self._current.finish()
        current, new = self._current.certificate(), self._next.certificate()
        if current is None or crypto.fingerprint(current) != crypto.fingerprint(new):
            if current is not None and not self._previous.read():
                # Else the current one was archived before it was everywhere: the CA to archive
                # in the end is still the one before it. The key first: without it, the next run
                # would not know that it is missing.
                self._keep_key()
                self._previous.write(crypto.pem_of(current))
            store_pair(self._current, CaPair(new, self._next.key()))
        # The key first: a key without a certificate would be taken for the start of another CA.
        secret_files.remove_file(self._next.key_path)
        secret_files.remove_file(self._next.certificate_path)

    def _keep_key(self) -> None:
        """A CA that the operator has brought may have none."""
        key = self._current.key()
        if key is not None:
            self._previous_key.write(crypto.key_pem(key).decode())

    def _has_next(self) -> bool:
        paths = (self._next.key_path, self._next.certificate_path)
        return any(secret_files.lstat(path) for path in paths)

    def _own(self) -> dict[str, str]:
        """Fingerprints of the CAs in this directory, each with its description for messages."""
        own = {}
        for files, what in ((self._next, "the next CA"), (self._current, "the CA in use")):
            certificate = files.certificate()
            if certificate is not None:
                own[crypto.fingerprint(certificate)] = f"{what} ({files.certificate_path})"
        if self._previous.read():
            previous = crypto.load_certificate(self._previous.read(), self._previous.path)
            own[crypto.fingerprint(previous)] = (
                f"the CA that is being rotated out ({self._previous.path})"
            )
        return own
