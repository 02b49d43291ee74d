# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Server certificates of a tunnel: the service's requirements, requests, and signing."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.names import (
    check_domain,
    covers,
    route_hostname,
    wanted_names,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki import crypto
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki.ca import BACKDATE, key_usage
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki.crypto import hashes, x509
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki.terms import name_difference

# As texts, since cryptography may be missing: KeyUsage, SubjectAlternativeName, BasicConstraints
# and ExtendedKeyUsage.
_MAY_BE_CRITICAL = ("2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.37")
"""What every TLS client knows. It refuses critical extensions that it does not (RFC 5280, 4.2)."""


def validate_server_cert(
    pem: str,
    ca_pem: str,
    domain: str,
    routes: Iterable[str] = (),
    private_key: str | None = None,
    now: datetime | None = None,
    subject: str = "certificate",
    ca_subject: str = "ca_certificate",
    key_subject: str = "private_key",
) -> dict[str, Any]:
    """Checks a server certificate, and its key when given, against all requirements.

    :param ca_pem: the registered CA certificate, which must have passed ``validate_ca``.
    :param routes: keys of the proxy's routes; without any, the wildcard must be covered.
    :param now: aware moment to check the validity at, by default the present.
    :returns: public facts: fingerprint, names, issuer, not_before, not_after.
    :raises TunnelError: naming every requirement that it breaks.
    """
    certificate = crypto.load_certificate(pem, subject)
    ca = crypto.load_certificate(ca_pem, ca_subject)
    problems = server_problems(certificate, ca, now or crypto.utc_now())
    problems += name_problems(certificate, brought_names(domain, routes))
    if problems:
        raise TunnelError(
            subject,
            "; ".join(problems),
            "Bring a certificate that meets this, or bring none and let the collection make it",
        )
    if private_key is not None:
        crypto.check_key(private_key, certificate, key_subject, subject, "server")
    return server_facts(certificate)


def brought_names(domain: str, routes: Iterable[str]) -> list[str]:
    """Names that a certificate of the operator must cover: each route, else any route."""
    domain = check_domain(domain)
    return sorted({route_hostname(route, domain) for route in routes}) or [f"*.{domain}"]


def server_problems(
    certificate: x509.Certificate, ca: x509.Certificate, now: datetime
) -> list[str]:
    """The requirements that a server certificate breaks, apart from its names."""
    problems = []
    if certificate.issuer != ca.subject or not crypto.is_signed_by(certificate, ca):
        problems.append(
            f"it is not signed directly by the CA {ca.subject.rfc4514_string()} "
            f"with fingerprint {crypto.fingerprint(ca)}"
        )
    authority = crypto.extension(certificate, x509.AuthorityKeyIdentifier)
    authority_id = authority.value.key_identifier if authority else None
    ca_id = crypto.extension(ca, x509.SubjectKeyIdentifier)
    if authority_id is None:
        problems.append("it has no AuthorityKeyIdentifier")
    elif ca_id is None or authority_id != ca_id.value.digest:
        problems.append("its AuthorityKeyIdentifier is not the CA's SubjectKeyIdentifier")
    purposes = crypto.extension(certificate, x509.ExtendedKeyUsage)
    if purposes is not None and x509.oid.ExtendedKeyUsageOID.SERVER_AUTH not in purposes.value:
        problems.append("its ExtendedKeyUsage lacks serverAuth")
    unknown = [
        each.oid.dotted_string
        for each in certificate.extensions
        if each.critical and each.oid.dotted_string not in _MAY_BE_CRITICAL
    ]
    if unknown:
        problems.append(f"clients refuse its critical extension {', '.join(unknown)}")
    return problems + crypto.certificate_problems(certificate, now)


def name_problems(certificate: x509.Certificate, names: Iterable[str]) -> list[str]:
    """Those of the names that the certificate does not cover."""
    present = dns_names(certificate)
    missing = [name for name in names if name not in present and not covers(present, name)]
    return [f"its SubjectAlternativeName does not cover {', '.join(missing)}"] if missing else []


def dns_names(certificate: Any) -> list[str]:
    """DNS names in the SubjectAlternativeName of a certificate or request, in lower case."""
    names = crypto.extension(certificate, x509.SubjectAlternativeName)
    if names is None:
        return []
    return [name.lower() for name in names.value.get_values_for_type(x509.DNSName)]


def renewal_reasons(
    certificate: x509.Certificate, ca: x509.Certificate, renew_before: timedelta, now: datetime
) -> list[str]:
    """Why a good certificate is due for renewal, if it is."""
    end = crypto.not_after(certificate)
    # One that ends with its CA cannot be made to last longer by signing it again.
    if end - now > renew_before or end >= crypto.not_after(ca):
        return []
    return [f"it ends on {crypto.timestamp(end)} and is due for renewal"]


def answer_problems(
    certificate: x509.Certificate, asked: str, duration: timedelta, now: datetime
) -> list[str]:
    """The faults of the answer to a request of ours, beyond the service's rules.

    :param asked: the request (PEM).
    :param duration: the lifetime that was asked for.
    """
    request = _load_request(asked)
    problems = []
    if not crypto.same_key(certificate.public_key(), request.public_key()):
        problems.append("it does not belong to the key of the request")
    names = sorted(dns_names(request))
    if all_names(certificate) != names:
        problems.append(f"it has other names than {', '.join(names)}")
    end = crypto.not_after(certificate)
    if lasts_too_long(end, duration, now):
        problems.append(f"it lasts until {crypto.timestamp(end)}, longer than was asked for")
    return problems + _purpose_problems(certificate)


def lasts_too_long(end: datetime, duration: timedelta, now: datetime) -> bool:
    """Whether a certificate with this *end* lasts longer than the *duration* that was asked for.

    Two clocks may differ by as much as a certificate is dated back.
    """
    return end > now + duration + BACKDATE


def all_names(certificate: Any) -> list[str]:
    """The names of a certificate or request, those that are no DNS names among them."""
    found = crypto.extension(certificate, x509.SubjectAlternativeName)
    values = [name.value for name in found.value] if found else []
    return sorted(value.lower() if isinstance(value, str) else str(value) for value in values)


def _purpose_problems(certificate: x509.Certificate) -> list[str]:
    """Purposes of a certificate that are not those of a TLS server."""
    problems = []
    constraints = crypto.extension(certificate, x509.BasicConstraints)
    if constraints is not None and constraints.value.ca:
        problems.append("it is a CA's certificate")
    usage = crypto.extension(certificate, x509.KeyUsage)
    if usage is not None and not _is_of_a_server(usage.value):
        problems.append("its KeyUsage is not that of a TLS server (digitalSignature)")
    purposes = crypto.extension(certificate, x509.ExtendedKeyUsage)
    server_auth = [x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]
    if purposes is not None and list(purposes.value) != server_auth:
        problems.append("its ExtendedKeyUsage is not serverAuth alone")
    return problems


def _is_of_a_server(usage: x509.KeyUsage) -> bool:
    """Whether a KeyUsage allows a TLS handshake, and no more than that (RFC 5280, 4.2.1.3)."""
    others = ("content_commitment", "data_encipherment", "key_cert_sign", "crl_sign")
    return usage.digital_signature and not any(getattr(usage, name) for name in others)


def server_facts(certificate: x509.Certificate) -> dict[str, Any]:
    """The facts of a server certificate that may be shown."""
    return {
        "fingerprint": crypto.fingerprint(certificate),
        "names": dns_names(certificate),
        "issuer": certificate.issuer.rfc4514_string(),
        "not_before": crypto.timestamp(crypto.not_before(certificate)),
        "not_after": crypto.timestamp(crypto.not_after(certificate)),
    }


def make_request(key: Any, domain: str, routes: Iterable[str]) -> str:
    """Makes a request (PEM) for the tunnel's names, signed with the server's key."""
    return crypto.pem_of(
        x509.CertificateSigningRequestBuilder()
        .subject_name(subject_name(domain))
        .add_extension(_alternative_names(wanted_names(domain, routes)), critical=False)
        .sign(key, hashes.SHA256())
    )


def sign_request(
    csr: str,
    ca: x509.Certificate,
    ca_key: Any,
    domain: str,
    routes: Iterable[str],
    duration: timedelta,
    now: datetime,
) -> x509.Certificate:
    """Signs a request with the CA. Only the public key is taken from it: names are the tunnel's.

    The certificate starts five minutes ago, for clocks that are behind, and never outlives the CA.

    :raises TunnelError: if the request is broken, weak, or asks for other names.
    """
    request = checked_request(csr, domain, routes)
    names = wanted_names(domain, routes)
    public_key = request.public_key()
    ca_id = crypto.extension(ca, x509.SubjectKeyIdentifier).value
    return (
        x509.CertificateBuilder()
        .subject_name(subject_name(domain))
        .issuer_name(ca.subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(max(now - BACKDATE, crypto.not_before(ca)))
        .not_valid_after(min(now + duration, crypto.not_after(ca)))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(digital_signature=True), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        )
        .add_extension(_alternative_names(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca_id), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )


def checked_request(csr: str, domain: str, routes: Iterable[str]) -> x509.CertificateSigningRequest:
    """Reads a request.

    :raises TunnelError: if it is broken, weak, or asks for other names.
    """
    request = _load_request(csr)
    weak_key = crypto.key_problem(request.public_key())
    if weak_key:
        raise TunnelError("csr", weak_key, "Make the request with server_cert state=requested")
    difference = name_difference(dns_names(request), wanted_names(domain, routes))
    if difference:
        raise TunnelError(
            "csr",
            difference,
            "Use the same domain and routes for state=requested and state=signed",
        )
    return request


def _load_request(csr: str) -> x509.CertificateSigningRequest:
    crypto.require_cryptography()
    try:
        request = x509.load_pem_x509_csr(csr.encode())
        if len(csr) <= crypto.MAXIMUM_PEM_BYTES and request.is_signature_valid:
            list(request.extensions)
            return request
        problem = "its signature is wrong, or it is too long"
    except (ValueError, TypeError, crypto.UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        problem = f"is not a certificate request ({error})"
    raise TunnelError("csr", problem, "Make the request with server_cert state=requested")


def subject_name(domain: str) -> x509.Name:
    """The tunnel's domain, for readers of the certificate; TLS clients look at the names only."""
    # ub-common-name of RFC 5280 is 64.
    common_name = domain if len(domain) <= 64 else "MCP tunnel server"
    return x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, common_name)])


def _alternative_names(names: Iterable[str]) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
