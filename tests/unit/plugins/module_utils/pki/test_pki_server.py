"""Rules of server certificates. openssl makes the certificates, or judges them."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki import crypto
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki.ca import validate_ca
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki.server import (
    make_request,
    sign_request,
    validate_server_cert,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import openssl

DOMAIN = openssl.DOMAIN


def refused(pem, ca_pem, routes=(), key=None, now=None):
    with pytest.raises(TunnelError) as caught:
        validate_server_cert(
            pem,
            ca_pem,
            DOMAIN,
            routes,
            key,
            now,
            "mcp_tunnel_server_cert",
            "mcp_tunnel_ca_cert",
            "mcp_tunnel_server_key",
        )
    return str(caught.value)


def signed(ca, csr, routes=(), duration=timedelta(days=90), now=None):
    certificate = crypto.load_certificate(ca[0], "ca")
    key = crypto.load_private_key(ca[1], "key")
    moment = now or crypto.utc_now()
    return crypto.pem_of(sign_request(csr, certificate, key, DOMAIN, routes, duration, moment))


def test_a_compliant_certificate(openssl_ca, tmp_path):
    pem, key = openssl.make_server(tmp_path, openssl_ca)
    facts = validate_server_cert(pem, openssl_ca[0], DOMAIN, private_key=key)
    assert facts["names"] == [f"*.{DOMAIN}", DOMAIN]
    assert facts["issuer"] == "CN=Company CA"


@pytest.mark.parametrize(
    ("extensions", "problem"),
    [
        ({"authorityKeyIdentifier": "none"}, "has no AuthorityKeyIdentifier"),
        ({"extendedKeyUsage": "clientAuth"}, "ExtendedKeyUsage lacks serverAuth"),
        ({"subjectAltName": None}, r"does not cover \*\.abcd1234"),
        ({"subjectAltName": "DNS:*.other.example"}, r"does not cover \*\.abcd1234"),
        ({"subjectAltName": f"DNS:{DOMAIN}"}, r"does not cover \*\.abcd1234"),
    ],
)
def test_extensions(openssl_ca, tmp_path, extensions, problem):
    pem, _key = openssl.make_server(tmp_path, openssl_ca, extensions=extensions)
    message = refused(pem, openssl_ca[0])
    assert message.startswith("mcp_tunnel_server_cert: ")
    assert re.search(problem, message)


def test_without_extended_key_usage_it_is_fine(openssl_ca, tmp_path):
    pem, _key = openssl.make_server(tmp_path, openssl_ca, extensions={"extendedKeyUsage": None})
    validate_server_cert(pem, openssl_ca[0], DOMAIN)


def test_names_of_routes_instead_of_the_wildcard(openssl_ca, tmp_path):
    extensions = {"subjectAltName": f"DNS:echo.{DOMAIN},DNS:Tickets.{DOMAIN}"}
    pem, _key = openssl.make_server(tmp_path, openssl_ca, extensions=extensions)
    validate_server_cert(pem, openssl_ca[0], DOMAIN, ["echo", "tickets"])
    assert f"does not cover wiki.{DOMAIN}." in refused(pem, openssl_ca[0], ["echo", "wiki"])


def test_another_ca(openssl_ca, tmp_path):
    pem, _key = openssl.make_server(tmp_path / "server", openssl_ca)
    other, _other_key = openssl.make_ca(tmp_path / "other")
    message = refused(pem, other)
    assert "it is not signed directly by the CA CN=Company CA" in message
    assert "its AuthorityKeyIdentifier is not the CA's SubjectKeyIdentifier" in message


def test_an_authority_key_identifier_alone_does_not_help(openssl_ca, tmp_path):
    """A CA of the same name and SubjectKeyIdentifier, but another key."""
    text = openssl.text(openssl_ca[0])
    ski = re.search(r"Subject Key Identifier: *\n *([0-9A-F:]+)", text).group(1)
    extensions = {"subjectKeyIdentifier": ski.replace(":", "")}
    forged = openssl.make_ca(tmp_path / "forged", extensions=extensions)
    pem, _key = openssl.make_server(tmp_path / "server", forged)
    message = refused(pem, openssl_ca[0])
    assert "not signed directly" in message
    assert "AuthorityKeyIdentifier" not in message


def test_an_intermediate_is_refused(openssl_ca, tmp_path):
    middle = openssl.make_server(
        tmp_path / "middle",
        openssl_ca,
        extensions={
            **openssl.CA_EXTENSIONS,
            "extendedKeyUsage": None,
            "subjectAltName": None,
        },
    )
    pem, _key = openssl.make_server(tmp_path / "server", middle)
    assert "not signed directly" in refused(pem, openssl_ca[0])
    assert "holds 2 PEM blocks" in refused(pem + middle[0], openssl_ca[0])


@pytest.mark.parametrize(
    ("algorithm", "digest", "problem"),
    [
        (("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"), "sha256", "1024 bits"),
        (openssl.EC, "sha1", "SHA1"),
    ],
)
def test_strength(openssl_ca, tmp_path, algorithm, digest, problem):
    key = openssl.make_key(algorithm)
    pem, _key = openssl.make_server(tmp_path, openssl_ca, key, digest=digest)
    assert problem in refused(pem, openssl_ca[0])


@pytest.mark.parametrize("options", [(), ("-sigopt", "rsa_padding_mode:pss")])
def test_rsa_cas(tmp_path, options):
    key = openssl.make_key(("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"))
    ca = openssl.make_ca(tmp_path / "ca", key)
    pem, server_key = openssl.make_server(tmp_path / "server", ca)
    if options:
        directory = tmp_path / "server"
        pem = openssl.run(
            "x509", "-req", "-in", directory / "csr", "-CA", directory / "ca.crt", "-CAkey",
            directory / "ca.key", "-extfile", directory / "ext", "-sha256", "-days", "9", *options,
        )  # fmt: skip
    validate_server_cert(pem, ca[0], DOMAIN, private_key=server_key)
    other = openssl.make_ca(tmp_path / "other", openssl.make_key(("-algorithm", "RSA")))
    assert "not signed directly" in refused(pem, other[0])


def test_validity_and_key(openssl_ca, tmp_path):
    pem, _key = openssl.make_server(tmp_path, openssl_ca)
    assert "has expired on" in refused(
        pem, openssl_ca[0], now=crypto.utc_now() + timedelta(days=91)
    )
    message = refused(pem, openssl_ca[0], key=openssl.make_key())
    assert message.startswith("mcp_tunnel_server_key: does not belong to the certificate")


def test_what_we_sign(openssl_ca, tmp_path):
    key = crypto.generate_key()
    routes = ["echo", f"deep.er.{DOMAIN}"]
    csr = make_request(key, DOMAIN, routes)
    openssl.run("req", "-noout", "-verify", stdin=csr)
    pem = signed(openssl_ca, csr, routes)
    for name in (f"echo.{DOMAIN}", DOMAIN, f"deep.er.{DOMAIN}"):
        openssl.verify(tmp_path / "judge", openssl_ca[0], pem, name)
    with pytest.raises(AssertionError, match="hostname mismatch"):
        openssl.verify(tmp_path / "judge", openssl_ca[0], pem, "echo.other.example")
    text = openssl.text(pem)
    assert "TLS Web Server Authentication" in text
    assert "CA:FALSE" in text
    assert re.search(r"Key Usage: critical\s+Digital Signature\n", text)
    assert "CA:FALSE" in text
    assert f"Subject: CN = {DOMAIN}" in text
    assert openssl.public_key_of_certificate(pem) == openssl.public_key_of_key(
        crypto.key_pem(key).decode()
    )


def test_lifetimes(openssl_ca, tmp_path):
    now = crypto.utc_now()
    csr = make_request(crypto.generate_key(), DOMAIN, [])
    pem = signed(openssl_ca, csr, duration=timedelta(hours=2160), now=now)
    facts = validate_server_cert(pem, openssl_ca[0], DOMAIN)
    assert facts["not_after"] == crypto.timestamp(now + timedelta(days=90))
    # Never outside the lifetime of the CA, which began seconds ago.
    ca_facts = crypto.load_certificate(openssl_ca[0], "ca")
    assert facts["not_before"] == crypto.timestamp(crypto.not_before(ca_facts))
    pem = signed(openssl_ca, csr, duration=timedelta(days=3650))
    facts = validate_server_cert(pem, openssl_ca[0], DOMAIN)
    assert facts["not_after"] == crypto.timestamp(crypto.not_after(ca_facts))
    openssl.verify(tmp_path, openssl_ca[0], pem, DOMAIN)


def test_the_start_is_set_back_for_slow_clocks(openssl_ca):
    now = crypto.utc_now() + timedelta(days=30)
    pem = signed(openssl_ca, make_request(crypto.generate_key(), DOMAIN, []), now=now)
    validate_server_cert(pem, openssl_ca[0], DOMAIN, now=now - timedelta(minutes=4))
    assert "is not valid before" in refused(pem, openssl_ca[0], now=now - timedelta(minutes=6))


def request_by_openssl(tmp_path, names, *options, algorithm=openssl.EC):
    (tmp_path / "key").write_text(openssl.make_key(algorithm))
    extensions = ("-addext", f"subjectAltName={names}") if names else ()
    return openssl.run(
        "req", "-new", "-key", tmp_path / "key", "-subj", "/CN=evil", *extensions, *options
    )


def test_a_request_of_openssl(openssl_ca, tmp_path):
    csr = request_by_openssl(
        tmp_path,
        f"DNS:{DOMAIN},DNS:*.{DOMAIN}",
        "-addext",
        "basicConstraints=critical,CA:TRUE",
    )
    text = openssl.text(signed(openssl_ca, csr))
    # Only the key is taken from a request.
    assert "CA:FALSE" in text
    assert "evil" not in text


@pytest.mark.parametrize(
    "names",
    ["", f"DNS:{DOMAIN}", f"DNS:{DOMAIN},DNS:*.{DOMAIN},DNS:evil.example", "DNS:*.example"],
)
def test_requests_for_other_names(openssl_ca, tmp_path, names):
    csr = request_by_openssl(tmp_path, names)
    with pytest.raises(TunnelError, match=r"csr: asks for .* and not for \*\.abcd1234"):
        signed(openssl_ca, csr)


def test_weak_and_broken_requests(openssl_ca, tmp_path):
    names = f"DNS:{DOMAIN},DNS:*.{DOMAIN}"
    weak = ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024")
    with pytest.raises(TunnelError, match="csr: its RSA key has 1024 bits"):
        signed(openssl_ca, request_by_openssl(tmp_path, names, algorithm=weak))
    with pytest.raises(TunnelError, match="csr: is not a certificate request"):
        signed(openssl_ca, "x")
    # The same request with another key: nobody has proved to hold that one.
    one = crypto.x509.load_pem_x509_csr(make_request(crypto.generate_key(), DOMAIN, []).encode())
    other = crypto.x509.load_pem_x509_csr(make_request(crypto.generate_key(), DOMAIN, []).encode())
    der = crypto.serialization.Encoding.DER
    points = [
        request.public_key().public_bytes(
            crypto.serialization.Encoding.X962,
            crypto.serialization.PublicFormat.UncompressedPoint,
        )
        for request in (one, other)
    ]
    forged = crypto.x509.load_der_x509_csr(one.public_bytes(der).replace(*points))
    with pytest.raises(TunnelError, match="csr: its signature is wrong"):
        signed(openssl_ca, crypto.pem_of(forged))


@pytest.mark.parametrize("critical", ["critical,", ""])
def test_a_brought_ca_with_name_constraints_signs_what_openssl_takes(tmp_path, critical):
    constraints = {"nameConstraints": f"{critical}permitted;DNS:{DOMAIN}"}
    ca = openssl.make_ca(tmp_path / "ca", extensions=constraints)
    validate_ca(ca[0])
    key = crypto.generate_key()
    routes = ["echo", f"a.b.{DOMAIN}"]
    pem = signed(ca, make_request(key, DOMAIN, routes), routes)
    (tmp_path / "ca.crt").write_text(ca[0])
    (tmp_path / "tls.crt").write_text(pem)
    paths = [tmp_path / "ca.crt", tmp_path / "tls.crt"]
    judged = openssl.run("verify", "-x509_strict", "-CAfile", *paths)
    assert judged.endswith("OK\n")
