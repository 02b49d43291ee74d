# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The CA of a tunnel: the service's requirements, and the making of a compliant one."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki import crypto
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki.crypto import hashes, x509

_MAKE_ANOTHER = (
    "Bring a CA that meets this, or bring none and let the collection make one; "
    "to replace a stored CA use regenerate: always and register the new one"
)
# Clocks of the verifying side may be behind ours.
BACKDATE = timedelta(minutes=5)


def validate_ca(
    pem: str,
    private_key: str | None = None,
    now: datetime | None = None,
    subject: str = "ca_certificate",
    key_subject: str = "private_key",
) -> dict[str, Any]:
    """Checks a CA certificate, and its key when given, against all requirements of the service.

    :param now: aware moment to check the validity at, by default the present.
    :param subject: name of the option or file, for messages.
    :returns: public facts: fingerprint, subject, not_before, not_after, certificate (PEM).
    :raises TunnelError: naming every requirement that it breaks.
    """
    certificate = crypto.load_certificate(pem, subject)
    problems = ca_problems(certificate, now or crypto.utc_now())
    if problems:
        raise TunnelError(subject, "; ".join(problems), _MAKE_ANOTHER)
    if private_key is not None:
        crypto.check_key(private_key, certificate, key_subject, subject, "CA")
    return ca_facts(certificate)


def ca_problems(certificate: x509.Certificate, now: datetime) -> list[str]:
    """The requirements (vendor reference, certificates) that a CA certificate breaks."""
    problems = []
    constraints = crypto.extension(certificate, x509.BasicConstraints)
    if constraints is None:
        problems.append("it has no BasicConstraints extension and needs CA:TRUE, critical")
    else:
        if not constraints.value.ca:
            problems.append("its BasicConstraints say CA:FALSE and must say CA:TRUE")
        if not constraints.critical:
            problems.append("its BasicConstraints are not critical")
    if crypto.extension(certificate, x509.SubjectKeyIdentifier) is None:
        problems.append("it has no SubjectKeyIdentifier")
    usage = crypto.extension(certificate, x509.KeyUsage)
    if usage is None or not usage.value.key_cert_sign:
        problems.append("its KeyUsage lacks keyCertSign")
    return problems + crypto.certificate_problems(certificate, now)


def ca_facts(certificate: x509.Certificate) -> dict[str, Any]:
    """The facts of a CA certificate that may be shown."""
    return {
        "fingerprint": crypto.fingerprint(certificate),
        "subject": certificate.subject.rfc4514_string(),
        "not_before": crypto.timestamp(crypto.not_before(certificate)),
        "not_after": crypto.timestamp(crypto.not_after(certificate)),
        "certificate": crypto.pem_of(certificate),
    }


def make_ca(key: Any, common_name: str, duration: timedelta, now: datetime) -> x509.Certificate:
    """Signs a CA certificate for a key with that key.

    :raises TunnelError: if the name cannot be a common name.
    """
    if not 0 < len(common_name) <= 64:  # ub-common-name of RFC 5280
        raise TunnelError("common_name", "is empty or longer than 64 characters", "Shorten it")
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, common_name)])
    public_key = key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + duration)
        # Server certificates are signed directly: no CA below this one.
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .sign(key, hashes.SHA256())
    )


def key_usage(**used: bool) -> x509.KeyUsage:
    """A KeyUsage extension with these purposes and no other."""
    purposes = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{purpose: used.get(purpose, False) for purpose in purposes})
