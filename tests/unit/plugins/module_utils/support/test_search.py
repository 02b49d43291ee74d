"""Whatever a leak looks like, it is found; and what is public is not taken for one."""

from __future__ import annotations

import base64
import gzip
import json
import random
import subprocess
import textwrap
import urllib.parse

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.support import secrets
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.support.search import (
    SHAPE,
    Search,
    blanked,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import openssl
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.tokens import (
    OTHER_UUID,
    encode,
    make_token,
)

TOKEN = make_token()
SECRET = json.loads(base64.b64decode(TOKEN))["s"]
NAME = "the tunnel token in {}/default/tunnel-token"


@pytest.fixture
def places(tmp_path):
    """A host's directories with a token, and a CA with its key."""
    directory = tmp_path / "default"
    directory.mkdir()
    (directory / "tunnel-token").write_text(f"{TOKEN}\n")
    (directory / "proxy.yaml").write_text("admin_addr: 127.0.0.1:8081\n")
    certificate, key = openssl.make_ca(tmp_path / "openssl")
    (directory / "ca.crt").write_text(certificate)
    (directory / "ca.key").write_text(key)
    return tmp_path


@pytest.fixture
def search(places):
    return Search(secrets.known([places / "default"]))


def as_text(text):
    """Return a token in every coding in which a text may get into a log."""
    wrapped = "\n".join(textwrap.wrap(text, 76))
    return {
        "plain": text,
        "in a line": f"2026-11-29 host cloudflared[12]: token={text} was refused",
        "wrapped": wrapped,
        "wrapped narrowly": "\n    ".join(textwrap.wrap(text, 7)),
        "wrapped by a shell": "\\\n".join(textwrap.wrap(text, 60)),
        "in lines of a journal": "\n".join(
            f"2026-11-29T05:01:12 host x[1]: {part}" for part in textwrap.wrap(text, 48)
        ),
        "base64": base64.b64encode(text.encode()).decode(),
        "base64 of something longer": base64.b64encode(f"Bearer {text}.".encode()).decode(),
        "base64, shifted": base64.b64encode(f"ab{text}".encode()).decode(),
        "base64, wrapped": base64.encodebytes(text.encode()).decode(),
        "base64 of URLs": base64.urlsafe_b64encode(text.encode()).decode(),
        "hexadecimal": text.encode().hex(),
        "hexadecimal, upper case": text.encode().hex().upper(),
        "hexadecimal with colons": text.encode().hex(":"),
        "hexadecimal with blanks": text.encode().hex(" "),
        "escaped bytes": "".join(f"\\x{byte:02x}" for byte in text.encode()),
        "URL": urllib.parse.quote(text, safe=""),
        "URL, every character": "".join(f"%{byte:02X}" for byte in text.encode()),
        "JSON": json.dumps({"token": text}).replace("/", "\\/"),
        "JSON, every character": "".join(f"\\u{byte:04x}" for byte in text.encode()),
        "quoted parts": '" + "'.join(textwrap.wrap(text, 20)),
        "a list": "', '".join(textwrap.wrap(text, 10)),
    }


@pytest.mark.parametrize("text", [TOKEN, SECRET], ids=["token", "its secret part"])
def test_a_token_in_every_coding(search, places, text):
    for coding, leak in as_text(text).items():
        found = search.found(f"before\n{leak}\nafter".encode())
        assert found == [NAME.format(places)], coding


def test_the_bytes_of_its_secret(search, places):
    raw = base64.b64decode(SECRET)
    for leak in (raw, raw.hex().encode(), base64.b64encode(b"x" + raw), repr(raw).encode()):
        assert search.found(b"\x00\x01" + leak + b"\xff") == [NAME.format(places)], leak


def test_parts_of_a_token(search, places):
    for at in range(0, len(TOKEN) - 32, 11):
        for before in range(12):
            leak = b"-" + b"x" * before + TOKEN[at : at + 23].encode() + b"y"
            assert search.found(leak) == [NAME.format(places)], (at, before)


def test_a_key_whole_and_each_of_its_secret_lines(search, places):
    name = f"the private key in {places}/default/ca.key"
    text = (places / "default/ca.key").read_text()
    body = text.split("-----")[2].split()
    assert search.found(text.encode()) == [name]
    assert search.found(json.dumps(text).encode()) == [name]
    # Of a P-256 key, the rest is its public half.
    for line in body[:2]:
        assert search.found(f"x {line} y".encode()) == [name]
    der = base64.b64decode("".join(body))
    assert search.found(der) == [name]
    assert search.found(der.hex(":").encode()) == [name]


def test_a_certificate_is_public_although_its_key_holds_a_half_of_it(search, places):
    text = (places / "default/ca.crt").read_text()
    der = base64.b64decode("".join(text.split("-----")[2].split()))
    for public in (text.encode(), der, der.hex(":").encode(), base64.b64encode(b"x" + der)):
        assert search.found(public) == []


def _with_check(key: bytes, check: bytes) -> bytes:
    """The key with these two check integers (PROTOCOL.key of OpenSSH: after the public key)."""
    at = len(b"openssh-key-v1\0") + 4 + len("none") + 4 + len("none") + 4 + 4
    at += 4 + int.from_bytes(key[at : at + 4], "big") + 4
    assert key[at : at + 4] == key[at + 4 : at + 8]
    return key[:at] + 2 * check + key[at + 8 :]


@pytest.mark.parametrize(
    ("kind", "end_of_name"), [("ecdsa", "p256"), ("ed25519", "5519"), ("rsa", "hrsa")]
)
def test_a_key_of_ssh_is_found_and_its_public_half_is_none(tmp_path, kind, end_of_name):
    """ssh logs the names of algorithms, and known_hosts has keys of the same kinds.

    Of some keys, the random bytes before such a name look like its end in a line of known_hosts.
    """
    for name in ("key", "other"):
        make = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "", "-f", str(tmp_path / name)]
        subprocess.run(make, check=True)
    private, public = ((tmp_path / name).read_text() for name in ("key", "key.pub"))
    other = (tmp_path / "other.pub").read_text()
    for path in tmp_path.glob("other*"):
        path.unlink()
    (tmp_path / "key.pub").unlink()
    der = base64.b64decode(private.split("-----")[2])
    der = _with_check(der, b"\0" + base64.b64decode(end_of_name))
    head, foot = "BEGIN OPENSSH PRIVATE KEY", "END OPENSSH PRIVATE KEY"
    body = "\n".join(textwrap.wrap(base64.b64encode(der).decode(), 70))
    private = f"-----{head}-----\n{body}\n-----{foot}-----\n"
    (tmp_path / "key").write_text(private)
    search = Search(secrets.known([tmp_path]))
    for leak in (private, der.hex(), base64.b64encode(b"x" + der).decode()):
        assert search.found(leak.encode()) == [f"the private key in {tmp_path}/key"]
    for text in (public, other, "no matching host key type found. Their offer: " + other):
        # Pieces are looked up at every twelfth place: wherever the text begins.
        for shift in range(12):
            assert search.found(b"x" * shift + text.encode()) == [], text


def test_text_without_a_secret(search):
    generator = random.Random(1)
    noise = generator.randbytes(200_000)
    for text in (noise, noise.hex().encode(), base64.b64encode(noise), b"", b"x" * 40):
        assert search.found(text) == []


def test_the_parts_of_a_token_that_are_no_secret(search):
    """cloudflared logs the tunnel's UUID, and its account is in its certificate's name."""
    fields = json.loads(base64.b64decode(TOKEN))
    line = f"Starting tunnel tunnelID={fields['t']} account={fields['a']}"
    assert search.found(line.encode()) == []


@pytest.mark.parametrize(
    "other",
    [
        encode({"a": "f" * 32, "t": OTHER_UUID, "s": "YW5vdGhlciBzZWNyZXQ="}),
        "sk-ant-oat01-abcdefghijklmnop",
        "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJyZXBsaWNhIiwiZXhwIjoxfQ.c2lnbmF0dXJl",
        "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----",
    ],
)
def test_a_secret_of_somebody_else_is_known_by_its_form(search, other):
    assert search.found(f"x {other} y".encode()) == [SHAPE]


JWT = (
    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJyZXBsaWNhIiwiZXhwIjoxfQ."
    + base64.urlsafe_b64encode(random.Random(2).randbytes(256)).decode()
)
BODY = textwrap.wrap(base64.b64encode(random.Random(3).randbytes(1190)).decode(), 64)
BEGIN, END = (f"-----{word} PRIVATE KEY-----" for word in ("BEGIN", "END"))
AROUND = [f"GET /mcp 200 in {number} ms" for number in range(300)]


def in_a_journal(lines):
    return [f"2026-11-29T05:01:12.1+0000 host x[1]: {line}" for line in lines]


def leaves(lines):
    """Return the lines that stay, after the whole was searched once more."""
    content, number = blanked("\n".join(lines).encode())
    assert Search(secrets.Known()).found(content) == []
    left = content.decode().split("\n")
    assert len(left) == len(lines)
    assert number == sum("(blanked: " in line for line in left)
    return [line for line in left if "(blanked: " not in line]


@pytest.mark.parametrize("form", [list, in_a_journal])
@pytest.mark.parametrize(
    "secret",
    [
        [f"token {JWT} refused"],
        [json.dumps({"authorization": f"Bearer {JWT}"})],
        textwrap.wrap(JWT, 76),
        textwrap.wrap(JWT, 30),
        [f"{part}\\" for part in textwrap.wrap(JWT, 60)],
        ["sk-ant-oat01-abcdefghijklmnop"],
        ["sk-ant-oat01-" + "abcdefghij" * 3, "abcdefghij" * 3, "ab"],
        [BEGIN, *BODY, END],
        [json.dumps("\n".join([BEGIN, *BODY, END]))],
        # The other end was cut off, or never came.
        [BEGIN, *BODY],
        [*BODY, END],
        [BEGIN],
        [END],
        [f"x {BEGIN}", *textwrap.wrap("".join(BODY), 20), f"{END} {BEGIN}", *BODY, END],
    ],
)
def test_lines_in_the_form_of_a_secret_are_blanked_and_no_others(form, secret):
    before, after = (form(part) for part in (AROUND[:150], AROUND[150:]))
    assert leaves(before + form(secret) + after) == before + after


def test_lines_of_others_between_those_of_a_key_stay():
    """With two lines, nobody hides what was logged between them."""
    mixed = [line for pair in zip(BODY, AROUND) for line in pair]
    assert leaves([BEGIN, *mixed, "ab==", END]) == AROUND[: len(BODY)]


def test_other_coded_lines_stay_where_a_key_is_whole():
    coded = ["ab" * 32] * 3
    assert leaves([*coded, BEGIN, *BODY, END, *coded]) == coded * 2
    assert leaves([*coded, BEGIN, *AROUND]) == [*coded, *AROUND]


def test_nobody_blanks_a_whole_journal_with_one_line():
    left = leaves([*AROUND, *in_a_journal([BEGIN]), *AROUND])
    assert left == AROUND * 2


def test_blanking_a_large_file_of_marks_ends():
    """Each of them is looked at with the lines around it."""
    content, number = blanked(f"{BEGIN} {END}\n{END}\n{BEGIN}\n".encode() * 5000)
    assert number == 15_000
    assert b"KEY" not in content


def test_what_an_earlier_state_holds(tmp_path):
    """A replica keeps the contents of its last good state under their sums."""
    old = make_token(secret=b"of last year, and still good" * 2)
    records = tmp_path / "records" / "default"
    records.mkdir(parents=True)
    (records / ("ab" * 32)).write_text(old)
    (records / "session").write_text(
        json.dumps({"access_token": "sk-ant-oat01-abcdefghijklmnopqr"})
    )
    found = secrets.known([tmp_path / "records", tmp_path / "nothing"])
    assert len(found.secrets) == 2
    looked = Search(found).found(old.encode() + b" sk-ant-oat01-abcdefghijklmnopqr")
    assert [name.partition(" in ")[0] for name in looked] == [
        "the access token",
        "the tunnel token",
    ]


def test_a_place_that_cannot_be_read_is_no_empty_one(tmp_path, monkeypatch):
    (tmp_path / "default").mkdir()

    def refuse(_path):
        raise PermissionError(13, "Permission denied", str(tmp_path))

    monkeypatch.setattr(secrets.os, "scandir", refuse)
    with pytest.raises(PermissionError):
        secrets.known([tmp_path])


def test_packed_data_is_not_looked_into(search):
    """No source of an archive is packed; this says that nobody must add one that is."""
    assert search.found(gzip.compress(TOKEN.encode())) == []
