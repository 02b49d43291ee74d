"""Rules of CAs. The openssl command line makes the certificates, or judges them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki import crypto
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki.ca import make_ca, validate_ca
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import openssl

RSA = ("-algorithm", "RSA", "-pkeyopt")


def refused(pem, key=None, now=None):
    with pytest.raises(TunnelError) as caught:
        validate_ca(pem, key, now, "mcp_tunnel_ca_cert", "mcp_tunnel_ca_key")
    return str(caught.value)


def test_a_compliant_ca(openssl_ca):
    pem, key = openssl_ca
    facts = validate_ca(pem, key)
    colons = openssl.run("x509", "-noout", "-fingerprint", "-sha256", stdin=pem)
    assert facts["fingerprint"] == colons.split("=")[1].strip().replace(":", "").lower()
    assert facts["subject"] == "CN=Company CA"
    end = openssl.run("x509", "-noout", "-enddate", "-dateopt", "iso_8601", stdin=pem)
    assert facts["not_after"] == end.split("=")[1].strip().replace(" ", "T")
    assert facts["certificate"].split() == pem.split()


def test_windows_line_ends_do_not_matter(openssl_ca):
    pem, _key = openssl_ca
    assert "\r" not in validate_ca(pem.replace("\n", "\r\n") + "\r\n")["certificate"]


@pytest.mark.parametrize(
    ("extensions", "problem"),
    [
        ({"basicConstraints": None}, "has no BasicConstraints"),
        ({"basicConstraints": "CA:TRUE"}, "BasicConstraints are not critical"),
        ({"basicConstraints": "critical,CA:FALSE"}, "BasicConstraints say CA:FALSE"),
        ({"subjectKeyIdentifier": "none"}, "has no SubjectKeyIdentifier"),
        ({"keyUsage": None}, "KeyUsage lacks keyCertSign"),
        ({"keyUsage": "critical,cRLSign"}, "KeyUsage lacks keyCertSign"),
    ],
)
def test_extensions(tmp_path, extensions, problem):
    pem, key = openssl.make_ca(tmp_path, extensions=extensions)
    message = refused(pem, key)
    assert message.startswith("mcp_tunnel_ca_cert: ")
    assert problem in message
    assert "bring none and let the collection make one" in message


def test_every_broken_requirement_is_named(tmp_path):
    extensions = {"basicConstraints": "CA:FALSE", "keyUsage": None}
    message = refused(openssl.make_ca(tmp_path, extensions=extensions)[0])
    for problem in ("say CA:FALSE", "not critical", "keyCertSign"):
        assert problem in message


@pytest.mark.parametrize(
    ("algorithm", "problem"),
    [
        ((*RSA, "rsa_keygen_bits:1024"), "RSA key has 1024 bits"),
        (("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-224"), "on secp224r1"),
        (("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"), "on secp256k1"),
    ],
)
def test_weak_keys(tmp_path, algorithm, problem):
    assert problem in refused(*openssl.make_ca(tmp_path, openssl.make_key(algorithm)))


def test_a_key_of_another_kind(tmp_path):
    key = openssl.make_key(("-algorithm", "ed25519"))
    (tmp_path / "key").write_text(key)
    pem = openssl.run("req", "-x509", "-new", "-key", tmp_path / "key", "-subj", "/CN=x")
    message = refused(pem)
    assert "neither RSA nor ECDSA" in message
    assert "needs SHA-256 or stronger" in message


@pytest.mark.parametrize(
    "algorithm",
    [
        (*RSA, "rsa_keygen_bits:2048"),
        ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"),
        ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"),
    ],
)
def test_strong_keys(tmp_path, algorithm):
    validate_ca(*openssl.make_ca(tmp_path, openssl.make_key(algorithm)))


@pytest.mark.parametrize(("digest", "name"), [("sha1", "SHA1"), ("sha224", "SHA224")])
def test_weak_signatures(tmp_path, digest, name):
    pem, _key = openssl.make_ca(tmp_path, digest=digest)
    assert f"its signature uses {name} and needs SHA-256" in refused(pem)


@pytest.mark.parametrize("digest", ["sha384", "sha512"])
def test_strong_signatures(tmp_path, digest):
    validate_ca(openssl.make_ca(tmp_path, digest=digest)[0])


def test_validity(openssl_ca):
    pem, _key = openssl_ca
    later = datetime.now(timezone.utc) + timedelta(days=366)
    assert re.search(r"it has expired on 20\d\d-\d\d-\d\dT", refused(pem, now=later))
    earlier = datetime.now(timezone.utc) - timedelta(hours=1)
    assert "is not valid before" in refused(pem, now=earlier)


def test_a_private_key_in_the_certificate_is_not_quoted(openssl_ca):
    pem, key = openssl_ca
    message = refused(pem + key)
    assert "mcp_tunnel_ca_cert: contains a private key" in message
    assert key.split("\n")[1] not in message


def test_size(openssl_ca, tmp_path):
    pem, _key = openssl_ca
    names = ",".join(f"DNS:{'x' * 60}.{number}.example" for number in range(100))
    large, _key = openssl.make_ca(tmp_path, extensions={"subjectAltName": names})
    assert "more than 8192 (8 kB)" in refused(large)
    assert "holds 2 PEM blocks" in refused(pem + pem)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is not a PEM certificate"),
        ("MIIB", "is not a PEM certificate"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot|can be read"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n", "has text around"),
    ],
)
def test_what_is_no_certificate(text, problem):
    assert re.search(problem, refused(text))


def test_text_around_a_certificate(openssl_ca):
    pem, _key = openssl_ca
    assert "has text around its PEM certificate" in refused(openssl.text(pem) + pem)


def test_a_request_is_no_certificate(tmp_path):
    (tmp_path / "key").write_text(openssl.make_key())
    csr = openssl.run("req", "-new", "-key", tmp_path / "key", "-subj", "/CN=x")
    assert "instead of one certificate" in refused(csr)


def test_keys(openssl_ca, tmp_path):
    pem, key = openssl_ca
    message = refused(pem, openssl.make_key())
    assert message.startswith("mcp_tunnel_ca_key: does not belong to the certificate")
    assert "mcp_tunnel_ca_key: is not a PEM private key" in refused(pem, "x")
    assert "mcp_tunnel_ca_key: is not a PEM private key" in refused(pem, pem)
    (tmp_path / "key").write_text(key)
    encrypted = openssl.run("pkey", "-in", tmp_path / "key", "-aes256", "-passout", "pass:planted")
    assert "is encrypted with a passphrase" in refused(pem, encrypted)


def test_the_ca_that_we_make():
    now = crypto.utc_now()
    pem = crypto.pem_of(make_ca(crypto.generate_key(), "x" * 64, timedelta(days=1825), now))
    validate_ca(pem)
    text = openssl.text(pem)
    assert re.search(r"X509v3 Basic Constraints: critical\s+CA:TRUE, pathlen:0", text)
    assert re.search(r"X509v3 Key Usage: critical\s+Certificate Sign, CRL Sign\n", text)
    assert "X509v3 Subject Key Identifier" in text
    assert "ecdsa-with-SHA256" in text
    assert "NIST CURVE: P-256" in text
    assert len(pem) < 8192
    openssl.run("x509", "-noout", "-checkend", str(1824 * 86400), stdin=pem)


@pytest.mark.parametrize("name", ["", "x" * 65])
def test_names_of_a_ca(name):
    with pytest.raises(TunnelError, match="common_name: is empty or longer"):
        make_ca(crypto.generate_key(), name, timedelta(days=1), crypto.utc_now())
