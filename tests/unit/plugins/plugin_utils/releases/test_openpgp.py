from __future__ import annotations

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases import openpgp

# Made with GnuPG 2.2 (gpg --quick-generate-key … ed25519), which also prints the fingerprint.
FINGERPRINT = "782778D0539DBFEE169106FD1A24AA8DA47DDD02"
KEY = b"""\
-----BEGIN PGP PUBLIC KEY BLOCK-----

mDMEawMx+RYJKwYBBAHaRw8BAQdADVkt94QJfZuIy3sWcV/TMFuTchU2UCc283ij
0v8TgGy0F1Rlc3QgPHRlc3RAZXhhbXBsZS5vcmc+iJAEExYIADgWIQR4J3jQU52/
7haRBv0aJKqNpH3dAgUCawMx+QIbAwULCQgHAgYVCgkICwIEFgIDAQIeAQIXgAAK
CRAaJKqNpH3dAgjHAQD6esn96ER0vKHkxllfQfLvw+sNklcI1njOEQ2QY7/tWAD/
cerXpWgv5POEs7bEKB7mOQgcMQ9qDQLOnJbHGCfu5A0=
=+m2i
-----END PGP PUBLIC KEY BLOCK-----
"""


def test_the_fingerprint_is_that_of_gnupg():
    assert openpgp.primary_fingerprints(openpgp.dearmor(KEY)) == [FINGERPRINT]


def test_a_binary_key_is_taken_as_it_is():
    packets = openpgp.dearmor(KEY)
    assert openpgp.dearmor(packets) == packets


def test_armor_is_undone_by_dearmor():
    packets = openpgp.dearmor(KEY)
    assert openpgp.dearmor(openpgp.armor(packets).encode()) == packets


def test_a_second_key_in_the_file_is_seen():
    packets = openpgp.dearmor(KEY)
    assert openpgp.primary_fingerprints(packets * 2) == [FINGERPRINT] * 2


@pytest.mark.parametrize("content", [b"<html>not found</html>", b"\x99\x01", b"", b"\xb8\x01\x04"])
def test_what_is_no_key_is_refused(content):
    with pytest.raises(ValueError, match=r"OpenPGP|cut off|no public key"):
        openpgp.primary_fingerprints(openpgp.dearmor(content))


def test_every_cut_of_a_key_is_refused_or_lacks_only_signatures():
    packets = openpgp.dearmor(KEY)
    for size in range(1, len(packets)):
        try:
            assert openpgp.primary_fingerprints(packets[:size]) == [FINGERPRINT]
        except ValueError:
            continue
