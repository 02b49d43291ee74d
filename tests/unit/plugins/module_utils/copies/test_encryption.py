"""Encryption of copies, and the recipients that an operator names."""

from __future__ import annotations

import pyrage
import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.copies import encryption, recipients
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.copies.states import make_pair
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SECRET = b"planted-secret " * 1000


@pytest.fixture(scope="module")
def pair():
    """A recipient, and its identity."""
    return make_pair()


def ssh_pair():
    """Return a recipient and its identity, as ssh-keygen makes them."""
    key = Ed25519PrivateKey.generate()
    form = serialization.PrivateFormat.OpenSSH
    private = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return public.decode(), private.decode()


@pytest.mark.parametrize("make", [make_pair, ssh_pair])
def test_it_comes_back(make):
    recipient, identity = make()
    text = encryption.encrypt(SECRET, [recipient])
    assert encryption.why_not_armored(text) == ""
    assert "planted" not in text
    comment = "# created: 2026-11-29\n" if make is make_pair else ""
    identities = encryption.read_identities(f"{comment}{identity}\n", "file")
    assert encryption.decrypt(text, identities, "copy") == SECRET


def test_each_of_several_recipients_can_open_it(pair):
    other = make_pair()
    text = encryption.encrypt(SECRET, [pair[0], other[0]])
    for identity in (pair[1], other[1]):
        given = pyrage.x25519.Identity.from_str(identity)
        assert pyrage.decrypt(text.encode(), [given]) == SECRET


def test_another_identity(pair):
    text = encryption.encrypt(SECRET, [make_pair()[0]])
    with pytest.raises(TunnelError, match=r"other recipients.*mcp_tunnel_backup_identity_file"):
        encryption.decrypt(text, encryption.read_identities(pair[1], "file"), "copy")


def test_flipped_and_missing_parts(pair):
    text = encryption.encrypt(SECRET, [pair[0]])
    identities = encryption.read_identities(pair[1], "file")
    lines = text.splitlines()
    for number in range(1, len(lines) - 1, 20):
        line = lines[number]
        # The last line may be short: age adds something to its header, at random.
        place = min(10, len(line) // 2)
        flipped = "B" if line[place] == "A" else "A"
        line = line[:place] + flipped + line[place + 1 :]
        damaged = "\n".join([*lines[:number], line, *lines[number + 1 :]])
        with pytest.raises(TunnelError, match=r"damaged|other recipients"):
            encryption.decrypt(damaged, identities, "copy")
    for text_part in ("\n".join(lines[:-1]), "\n".join(lines[:40]), "", "hello", "\u20ac"):
        assert encryption.why_not_armored(text_part)
        with pytest.raises(TunnelError, match="damaged"):
            encryption.decrypt(text_part, identities, "copy")


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "AGE-SECRET-KEY-1AAAA", "age1abc", "-----BEGIN PRIVATE KEY-----"]
)
def test_identities_that_are_none(text):
    with pytest.raises(TunnelError, match="has no identity") as caught:
        encryption.read_identities(text, "file")
    assert "AAAA" not in str(caught.value)


def test_an_identity_with_a_wrong_letter_is_not_quoted(pair):
    wrong = pair[1][:-1] + ("Q" if pair[1][-1] != "Q" else "P")
    with pytest.raises(TunnelError, match="has no identity") as caught:
        encryption.read_identities(wrong, "file")
    assert wrong[:30] not in str(caught.value)


def test_the_library_agrees_on_recipients():
    """Our checksum is compared with the library, for right ones and for each kind of slip."""
    for _number in range(20):
        text = make_pair()[0]
        assert recipients.check_recipients([text], "x") == [text]
        for wrong in (text[:-1], text + "q", swapped(text), text.replace(text[20], "b", 1)):
            if wrong == text:
                continue
            with pytest.raises(pyrage.RecipientError):
                pyrage.x25519.Recipient.from_str(wrong)
            with pytest.raises(TunnelError, match="x\\[0\\]: is "):
                recipients.check_recipients([wrong], "x")


def swapped(text):
    """Return the text with two letters in each other's place."""
    at = next(n for n in range(10, 40) if text[n] != text[n + 1])
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]


def test_ssh_recipients_lose_their_comment():
    text = ssh_pair()[0]
    assert recipients.check_recipients([f"{text} me@here"], "x") == [text]
    pyrage.ssh.Recipient.from_str(text)
    for wrong in ("ssh-ed25519", f"ssh-rsa {text.split()[1]}", text[:-4], "ssh-ed25519 AAAA"):
        with pytest.raises(TunnelError):
            recipients.check_recipients([wrong], "x")


@pytest.mark.parametrize("value", ["age1x", {"a": 1}, None, [1], [[]], ["age1x"] * 26, [""]])
def test_values_that_are_no_recipients(value):
    with pytest.raises(TunnelError, match="x"):
        recipients.check_recipients(value, "x")


def test_a_private_key_is_refused_and_not_quoted(pair):
    for secret in (pair[1], pair[1].lower(), ssh_pair()[1]):
        with pytest.raises(TunnelError, match="is a private key") as caught:
            recipients.check_recipients([secret], "x")
        assert secret[20:60] not in str(caught.value)
        assert pair[1] not in str(TunnelError("a", f"b {pair[1]}", "c"))


def test_the_digest_does_not_depend_on_the_order(pair):
    other = make_pair()[0]
    assert recipients.digest([pair[0], other]) == recipients.digest([other, pair[0]])
    assert recipients.digest([pair[0]]) != recipients.digest([other])
