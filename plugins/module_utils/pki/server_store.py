# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The work of module server_cert: request, sign and install a server certificate."""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import at_rest, secret_files
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.duration import parse_duration
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.names import wanted_names
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.state_files import StateFile
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki import crypto, outside
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki.ca import validate_ca
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki.key_pair import KeyPair
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki.server import (
    lasts_too_long,
    make_request,
    name_problems,
    renewal_reasons,
    server_facts,
    server_problems,
    sign_request,
    validate_server_cert,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki.terms import (
    Terms,
    name_difference,
)


@dataclass(frozen=True)
class ServerCertOptions:
    """The options of the module, apart from its state."""

    path: str
    domain: str
    owner: str
    group: str
    mode: str
    duration: str
    renew_before: str
    routes: list[str] = field(default_factory=list)
    ca_certificate: str | None = None
    csr: str | None = None
    certificate: str | None = None
    private_key: str | None = None
    encryption: str = ""  # one of at_rest.FORMS for the key; empty for that of the present one


def request(
    options: ServerCertOptions, check_mode: bool, now: datetime | None = None
) -> dict[str, Any]:
    """Checks the live pair of a replica; makes a key and a request when it is not good enough.

    :raises TunnelError: if an option is wrong or the directory is missing.
    """
    now = _begin(options, now)
    files = _pair(options, check_mode)
    converted = _converted(options, check_mode)
    attributes = _attributes(options, check_mode, required=files.certificate() is not None)
    ca = _ca(options, check_mode, now)
    interrupted = files.interrupted()
    certificate = files.certificate()
    reasons = _reasons(options, files, certificate, ca, now)
    changed = interrupted or bool(converted)
    if interrupted and not check_mode:
        files.finish()
    changed |= _repair(files, attributes, check_mode)
    csr = ""
    if not reasons:
        changed |= _clean(files, check_mode)
    else:
        key = files.pending_key() or _lasting_key(files)
        changed |= key is None
        if not check_mode:
            csr = make_request(key or files.make_pending_key(), options.domain, options.routes)
    before = _public(certificate)
    after = {**before, **converted}
    return {
        **(server_facts(certificate) if certificate is not None else {}),
        "changed": changed,
        "needed": bool(reasons),
        "reasons": reasons,
        "csr": csr,
        "diff": {
            "before": before,
            "after": {**after, "requested_because": reasons} if reasons else after,
        },
    }


def _lasting_key(files: KeyPair) -> Any:
    """The live key, if a new certificate has to be for it; ``None`` for a new key."""
    return files.key() if files.is_encrypted() else None


@dataclass(frozen=True)
class Asked:
    """A question of a replica, as the signer of an instance judges it.

    :param terms: the terms on which it asks; ``None`` if it does not say them.
    """

    instance: str
    terms: Terms | None


@dataclass(frozen=True)
class _Signing:
    """Everything that a certificate is made of, beside the request."""

    ca: Any
    key: Any
    domain: str
    duration: timedelta
    now: datetime

    @property
    def end(self) -> datetime:
        """The end of a certificate that is made now."""
        return min(self.now + self.duration, crypto.not_after(self.ca))


def sign(
    options: ServerCertOptions,
    check_mode: bool,
    now: datetime | None = None,
    asked: Asked | None = None,
    signer: Callable[[str], str] | None = None,
) -> dict[str, Any]:
    """Signs a request with the CA of the state directory. Writes nothing.

    :param signer: hands a request to the operator's signer and returns the answer, which is judged
        here; ``None`` if the CA's key is in the state directory.
    :raises TunnelError: if the CA cannot sign, the request is wrong, or its terms do not fit.
    """
    now = _begin(options, now)
    files = KeyPair(secret_files.absolute_path(options.path), "ca")
    # A signature of somebody else's CA is on record there, so check mode asks for none.
    if check_mode and (signer or not (options.csr and files.certificate() and files.key())):
        return {"changed": False, "certificate": ""}
    if not options.csr:
        raise TunnelError("csr", "is empty", "Pass the csr that state=requested has returned")
    ready = _judged(options, now, asked, signer is None)
    certificate = (
        _signed_outside(options, ready, signer) if signer else _signed_here(options, ready)
    )
    pem = crypto.pem_of(certificate)
    return {"changed": False, "certificate": pem, **server_facts(certificate)}


def _signed_here(options: ServerCertOptions, ready: _Signing) -> Any:
    certificate = sign_request(
        options.csr or "",
        ready.ca,
        ready.key,
        ready.domain,
        options.routes,
        ready.duration,
        ready.now,
    )
    validate_server_cert(
        crypto.pem_of(certificate),
        crypto.pem_of(ready.ca),
        ready.domain,
        options.routes,
        now=ready.now,
        subject="the signed certificate",
    )
    return certificate


def _signed_outside(
    options: ServerCertOptions, ready: _Signing, signer: Callable[[str], str]
) -> Any:
    csr = options.csr or ""
    outside.check_request(csr, ready.domain, options.routes)
    certificate = outside.first_certificate(signer(csr))
    lifetimes = (ready.duration, parse_duration(options.renew_before))
    now = outside.moment_of(certificate, ready.now)
    outside.check_answer(certificate, csr, ready.ca, lifetimes, now)
    return certificate


def ready_to_sign(
    options: ServerCertOptions,
    asked: Asked | None = None,
    now: datetime | None = None,
    is_own: bool = True,
) -> str:
    """The end of a certificate that :func:`sign` would make now; signs nothing.

    :param is_own: whether the CA's key is here. A signer of the operator's is not asked.
    :raises TunnelError: if it could not, or would not.
    """
    return crypto.timestamp(_judged(options, now, asked, is_own).end)


def _judged(
    options: ServerCertOptions, now: datetime | None, asked: Asked | None, is_own: bool
) -> _Signing:
    """All that is judged of a question, whether it is about a signature or for one.

    :param is_own: whether the CA's key has to be here.
    :raises TunnelError: if nothing is signed for the one who asks.
    """
    now = _begin(options, now)
    files = KeyPair(secret_files.absolute_path(options.path), "ca")
    ca, key = files.certificate(), files.key() if is_own else None
    _check_ca(files, ca, key, now, is_own)
    ready = _Signing(ca, key, _own_domain(options), parse_duration(options.duration), now)
    if asked is not None and asked.terms is not None:
        _check_terms(asked.terms, asked.instance, options, ready)
    return ready


def _check_terms(terms: Terms, instance: str, options: ServerCertOptions, ready: _Signing) -> None:
    """Refuses terms on which the replica would not take the certificate.

    :raises TunnelError: naming all differences.
    """
    problems = [name_difference(terms.names, wanted_names(ready.domain, options.routes))]
    if terms.instance != instance:
        problems.append(f"is instance {terms.instance} there, and {instance} here")
    if terms.ca != crypto.fingerprint(ready.ca):
        problems.append(f"has another CA ({terms.ca}) than this host")
    accepted = parse_duration(terms.duration, "the duration of the replica")
    if lasts_too_long(ready.end, accepted, ready.now):
        problems.append(f"accepts {terms.duration}, and this host signs for {options.duration}")
    if any(problems):
        raise TunnelError(
            "the replica",
            "; ".join(filter(None, problems)),
            "Give both hosts the same mcp_tunnel_domain, mcp_tunnel_routes and "
            "mcp_tunnel_cert_duration, and run the site playbook on both",
        )


def _check_ca(files: KeyPair, ca: Any | None, key: Any | None, now: datetime, is_own: bool) -> None:
    """Checks that the stored CA can sign.

    :param is_own: whether its key has to be here.
    :raises TunnelError: if it is not complete, or breaks a rule.
    """
    if ca is None or (key is None and is_own):
        raise TunnelError(
            files.certificate_path if ca is None else files.key_path,
            "is missing or cannot be read, so nothing can be signed on this host",
            "Run tunnel_ca on this host first; where the CA's key is kept elsewhere, name the "
            "signer that has it (mcp_tunnel_signer), or bring the server certificate and its key "
            "(mcp_tunnel_server_cert, mcp_tunnel_server_key)",
        )
    validate_ca(crypto.pem_of(ca), None, now, files.certificate_path)
    if key is not None and not crypto.same_key(key.public_key(), ca.public_key()):
        raise TunnelError(
            files.key_path, f"does not belong to {files.certificate_path}", "Run tunnel_ca first"
        )


def _own_domain(options: ServerCertOptions) -> str:
    """The domain, which has to be that of the tunnel whose CA signs.

    The request may come from another replica, or from a controller with wrong data. The domain
    that this host has stored with the CA says whose CA it is.

    :raises TunnelError: if it is another one, or this host knows none.
    """
    domain = options.domain.strip().lower()
    stored = StateFile(secret_files.absolute_path(options.path), "tunnel-domain")
    known = stored.read().lower()
    if not known:
        raise TunnelError(
            stored.path,
            "is not there, so it is not known which tunnel the CA belongs to, and nothing is "
            "signed",
            "Run the site playbook, or tunnel_token (mode wif: tunnel) with the domain, on this "
            "host first",
        )
    if known != domain:
        raise TunnelError(
            "domain",
            f"is {domain}, and the CA in {options.path} is that of {known}",
            "Give the state directory of the tunnel's own instance",
        )
    return domain


def install(
    options: ServerCertOptions, check_mode: bool, now: datetime | None = None
) -> dict[str, Any]:
    """Makes a certificate and its key the live pair of a replica.

    :raises TunnelError: if the certificate breaks a requirement or its key is not here.
    """
    now = _begin(options, now)
    files = _pair(options, check_mode)
    converted = _converted(options, check_mode)
    attributes = _attributes(options, check_mode)
    ca = _ca(options, check_mode, now)
    if check_mode and (not options.certificate or ca is None):
        return {"changed": True}
    if not options.certificate:
        raise TunnelError("certificate", "is empty", "Pass what state=signed has returned")
    validate_server_cert(
        options.certificate,
        crypto.pem_of(ca),
        options.domain,
        options.routes,
        options.private_key or None,
        now,
    )
    wanted = crypto.load_certificate(options.certificate, "certificate")
    interrupted = files.interrupted()
    before = files.certificate()
    live_key = files.key()
    changed = interrupted or bool(converted)
    if interrupted and not check_mode:
        files.finish()
    if (
        before is not None
        and crypto.fingerprint(before) == crypto.fingerprint(wanted)
        and live_key is not None
        and crypto.same_key(live_key.public_key(), wanted.public_key())
    ):
        changed |= _repair(files, attributes, check_mode)
    elif live_key is not None and crypto.same_key(live_key.public_key(), wanted.public_key()):
        # Somebody else, a timer say, had another certificate for the same request installed.
        changed = True
        if not check_mode:
            files.replace_certificate(wanted, attributes)
    else:
        changed = True
        _provide_key(options, files, wanted, check_mode)
        if not check_mode:
            files.switch(wanted, attributes)
    changed |= _clean(files, check_mode)
    return {
        **server_facts(wanted),
        "changed": changed,
        "diff": {"before": _public(before), "after": {**_public(wanted), **converted}},
    }


def _begin(options: ServerCertOptions, now: datetime | None) -> datetime:
    """Makes the checks that all verbs share; returns the moment at which to check validity."""
    crypto.require_cryptography()
    wanted_names(options.domain, options.routes)
    duration = parse_duration(options.duration, "duration")
    if parse_duration(options.renew_before, "renew_before") >= duration:
        raise TunnelError(
            "renew_before",
            f"{options.renew_before} is not shorter than the duration {options.duration}, "
            "so that every run would renew the certificate",
            "Shorten renew_before or lengthen duration",
        )
    return now or crypto.utc_now()


def _pair(options: ServerCertOptions, check_mode: bool) -> KeyPair:
    directory = secret_files.absolute_path(options.path)
    status = secret_files.lstat(directory)
    missing = status is None and not check_mode
    if missing or (status is not None and not stat.S_ISDIR(status.st_mode)):
        raise TunnelError(
            directory,
            "does not exist" if status is None else "is not a directory",
            "Make the directory before this task, for example with file_set",
        )
    return KeyPair(directory, "tls", options.encryption)


def _converted(options: ServerCertOptions, check_mode: bool) -> dict[str, str]:
    """Brings the keys that are there to the wanted form; returns what a diff shows of it."""
    if not options.encryption:
        return {}
    names = at_rest.convert(
        secret_files.absolute_path(options.path), options.encryption, check_mode
    )
    return {"encryption": options.encryption} if names else {}


def _attributes(
    options: ServerCertOptions, check_mode: bool, required: bool = True
) -> secret_files.Attributes:
    # Accounts are needed only where files will belong to them.
    lenient = check_mode or not required
    return secret_files.Attributes(
        secret_files.resolve_account("user", options.owner, lenient, "owner"),
        secret_files.resolve_account("group", options.group, lenient, "group"),
        secret_files.parse_mode(options.mode, "mode"),
    )


def _ca(options: ServerCertOptions, check_mode: bool, now: datetime) -> Any:
    """The CA certificate; ``None`` in check mode when it is still to be made."""
    if not options.ca_certificate:
        if check_mode:
            return None
        raise TunnelError(
            "ca_certificate", "is empty", "Pass the certificate that tunnel_ca has returned"
        )
    validate_ca(options.ca_certificate, None, now)
    return crypto.load_certificate(options.ca_certificate, "ca_certificate")


def _reasons(
    options: ServerCertOptions,
    files: KeyPair,
    certificate: Any | None,
    ca: Any | None,
    now: datetime,
) -> list[str]:
    """Why the live pair is not good enough."""
    key = files.key()
    if certificate is None or key is None:
        return [f"there is no readable {'key' if certificate else 'certificate'} yet"]
    if ca is None:
        return ["the CA will be made anew"]
    reasons = []
    if not crypto.same_key(key.public_key(), certificate.public_key()):
        reasons.append("the key does not belong to the certificate")
    reasons += server_problems(certificate, ca, now)
    reasons += name_problems(certificate, wanted_names(options.domain, options.routes))
    renew_before = parse_duration(options.renew_before)
    return reasons or renewal_reasons(certificate, ca, renew_before, now)


def _provide_key(
    options: ServerCertOptions, files: KeyPair, certificate: Any, check_mode: bool
) -> None:
    """Makes the key of a certificate the pending one."""
    if options.private_key:
        if not check_mode:
            files.write_pending_key(crypto.load_private_key(options.private_key, "private_key"))
        return
    key = files.pending_key()
    if key is None or not crypto.same_key(key.public_key(), certificate.public_key()):
        raise TunnelError(
            "certificate",
            f"does not belong to the key in {files.pending_key_path}"
            if key
            else f"has no key on this host ({files.pending_key_path})",
            "Run state=requested and state=signed again, or bring the key as private_key",
        )


def _repair(files: KeyPair, attributes: secret_files.Attributes, check_mode: bool) -> bool:
    wrong = files.wrong_attributes(attributes)
    if not check_mode:
        for path in wrong:
            secret_files.set_attributes(path, attributes)
    return bool(wrong)


def _clean(files: KeyPair, check_mode: bool) -> bool:
    """Removes files that earlier runs have left beside a good pair."""
    stale = files.stale_files()
    if not check_mode:
        for path in stale:
            secret_files.remove_file(path)
    return bool(stale)


def _public(certificate: Any | None) -> dict[str, Any]:
    """The part of the state that a diff shows."""
    return {"certificate": server_facts(certificate) if certificate is not None else "none"}
