"""Which copies may be put back, and which are refused, each with its reason."""

from __future__ import annotations

import base64

import pyrage
import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.backups import judge
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import openssl
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.copies.states import (
    make_files,
    make_pair,
    packed,
)


@pytest.fixture
def files(openssl_ca):
    """The files of a state directory."""
    return make_files(openssl_ca)


class Keeper:
    """Encrypts archives, and judges them as a restore does."""

    def __init__(self, files):
        self.recipient, self.identity = make_pair()
        self.files = files
        self.wanted = {
            "instance": "default",
            "domain": openssl.DOMAIN,
            "tunnel_id": "tnl_01ABCDEF",
            "trusted": {"host2": files["ca.crt"].decode()},
        }

    def encrypted(self, content):
        key = pyrage.x25519.Recipient.from_str(self.recipient)
        return pyrage.encrypt(content, [key], armored=True).decode()

    def judge(self, text, **wanted):
        identities = [pyrage.x25519.Identity.from_str(self.identity)]
        return judge.judge(text, identities, "copy", judge.Wanted(**{**self.wanted, **wanted}))


@pytest.fixture
def keeper(files):
    """A copy's recipient."""
    return Keeper(files)


def test_a_copy_that_fits(keeper):
    for changes in ({}, {"domain": "", "tunnel_id": ""}, {"proof": True}, {"trusted": {}}):
        found = keeper.judge(keeper.encrypted(packed(keeper.files)), **changes)
        assert found.state.files == keeper.files
        assert found.replicas() == ["host1"]


def test_contents_that_break_a_parser(keeper):
    """The copy is refused like any other, and does not end the restore."""
    nested = base64.b64encode(b"[" * 6000)
    with pytest.raises(TunnelError, match="is not base64-encoded JSON"):
        keeper.judge(keeper.encrypted(packed({**keeper.files, "tunnel-token": nested})))


def test_a_fault_of_a_parser_is_that_of_the_copy(keeper, monkeypatch):
    def fail(*_arguments):
        raise AttributeError("no value of mine")

    monkeypatch.setattr(judge, "parse_token", fail)
    with pytest.raises(TunnelError, match=r"^copy: cannot be judged \(AttributeError\)"):
        keeper.judge(keeper.encrypted(packed(keeper.files)))


def in_rotation(files, tmp_path, name):
    """Return the files with a second CA and its key, and that CA's certificate."""
    certificate, key = openssl.make_ca(tmp_path)
    return {**files, f"{name}.crt": certificate.encode(), f"{name}.key": key.encode()}, certificate


@pytest.mark.parametrize("name", ["ca-next", "ca-previous"])
@pytest.mark.parametrize("proof", [True, False])
def test_a_copy_of_the_middle_of_a_rotation(keeper, tmp_path, name, proof):
    """Some replicas trust one CA, and some the other; the state host had both keys."""
    files, other = in_rotation(keeper.files, tmp_path, name)
    trusted = {"host1": keeper.files["ca.crt"].decode(), "host2": other}
    text = keeper.encrypted(packed(files))
    assert keeper.judge(text, trusted=trusted, proof=proof).state.files == files
    trusted = {"host1": other}
    assert keeper.judge(text, trusted=trusted, proof=proof)


@pytest.mark.parametrize("name", ["ca-next", "ca-previous"])
def test_a_ca_without_its_key_proves_nothing(keeper, tmp_path, name):
    files, other = in_rotation(keeper.files, tmp_path, name)
    del files[f"{name}.key"]
    trusted = {"host1": keeper.files["ca.crt"].decode(), "host2": other}
    for proof in (True, False):
        with pytest.raises(TunnelError, match="and host2 trusts one whose key is not in it"):
            keeper.judge(keeper.encrypted(packed(files)), trusted=trusted, proof=proof)


def test_a_copy_of_a_run_that_was_killed_between_key_and_certificate(keeper, tmp_path):
    """See pki.key_pair: the certificate that belongs to the key waits beside the old one."""
    certificate, key = openssl.make_ca(tmp_path)
    old = keeper.files["ca.crt"]
    files = {
        **keeper.files,
        "ca.key": key.encode(),
        "ca.crt.pending": certificate.encode(),
        "ca-previous.crt": old,
        "ca-previous.key": keeper.files["ca.key"],
    }
    assert keeper.judge(keeper.encrypted(packed(files)), proof=True).state.files == files


WANTED = {
    "another instance": ({"instance": "lab"}, "copy: is of instance default"),
    "another tunnel": (
        {"domain": "other.example"},
        "is of tunnel abcd1234.tunnel.example, and the variables name other.example",
    ),
    "another ID": (
        {"tunnel_id": "tnl_02"},
        "is of tunnel tnl_01ABCDEF, and mcp_tunnel_id is tnl_02",
    ),
    "no replica, where proof is needed": ({"trusted": {}, "proof": True}, "nothing proves who"),
}


@pytest.mark.parametrize("kind", WANTED)
def test_a_copy_of_something_else(keeper, kind):
    changes, message = WANTED[kind]
    with pytest.raises(TunnelError, match=message):
        keeper.judge(keeper.encrypted(packed(keeper.files)), **changes)


def test_a_copy_from_before_the_ca_was_replaced(keeper, tmp_path):
    trusted = {"host2": openssl.make_ca(tmp_path)[0]}
    with pytest.raises(TunnelError, match="so it is from before the CA was replaced") as caught:
        keeper.judge(keeper.encrypted(packed(keeper.files)), trusted=trusted)
    assert "--limit" not in str(caught.value)


def test_a_replica_that_contradicts_the_others_is_named(keeper, tmp_path):
    """It may lie. The operator decides, who can see the tunnel's CA in the Console."""
    trusted = {**keeper.wanted["trusted"], "host3": openssl.make_ca(tmp_path)[0]}
    text = keeper.encrypted(packed(keeper.files))
    with pytest.raises(TunnelError, match="and host3 trusts one whose key") as caught:
        keeper.judge(text, trusted=trusted, proof=True)
    assert "run restore.yml without host3 (--limit 'mcp_tunnel:!host3')" in str(caught.value)
    del trusted["host3"]
    assert keeper.judge(text, trusted=trusted, proof=True), "as with that --limit"


CONTENTS = {
    "a key of another CA": ({"ca.key": openssl.make_key().encode()}, "does not belong to"),
    "a key that is none": ({"ca.key": b"x"}, "ca.key in copy: is not a PEM private key"),
    "a CA that is none": ({"ca.crt": b"x", "ca_fingerprint": ""}, "ca.crt in copy"),
    "a token that is none": ({"tunnel-token": b"x"}, "tunnel-token in copy: is not base64"),
    "a domain that is none": (
        {"tunnel-domain": b"../x", "domain": "../x"},
        "is of tunnel ../x|tunnel-domain in copy",
    ),
    "a list of replicas that is none": ({"replicas.json": b"{}"}, "replicas.json in copy: has no"),
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_contents_that_are_refused(keeper, kind):
    changes, message = CONTENTS[kind]
    about = {k: v for k, v in changes.items() if isinstance(v, str)}
    files = {**keeper.files, **{k: v for k, v in changes.items() if isinstance(v, bytes)}}
    with pytest.raises(TunnelError, match=message) as caught:
        keeper.judge(keeper.encrypted(packed(files, **about)))
    assert keeper.files["tunnel-token"].decode() not in str(caught.value)


@pytest.mark.parametrize("missing", ["ca.key", "ca.crt"])
def test_a_host_proves_nothing_without_the_key(keeper, missing):
    """Anybody can encrypt for a recipient: a hostile replica would add a token of its own."""
    files = {name: data for name, data in keeper.files.items() if name != missing}
    about = {"ca_fingerprint": ""} if missing == "ca.crt" else {}
    with pytest.raises(TunnelError, match=r"nothing proves who|trusts? another one"):
        keeper.judge(keeper.encrypted(packed(files, **about)), proof=True)


def test_a_forger_adds_the_true_ca_as_the_one_before(keeper, tmp_path):
    """The key is that of the forger's CA. An operator's own file is no better than a replica's."""
    certificate, key = openssl.make_ca(tmp_path)
    true = keeper.files["ca.crt"]
    for name in ("ca-previous.crt", "ca-next.crt", "ca.crt.pending"):
        forged = {"ca.crt": certificate.encode(), "ca.key": key.encode(), name: true}
        text = keeper.encrypted(packed({**keeper.files, **forged}))
        for proof in (True, False):
            with pytest.raises(TunnelError, match=r"key is not in it|does not belong to"):
                keeper.judge(text, proof=proof)


def test_a_host_s_copy_has_the_ca_in_use(keeper, tmp_path):
    """Without it, the next run would register whatever CA waits in the copy."""
    certificate, key = openssl.make_ca(tmp_path)
    files = {
        **{n: data for n, data in keeper.files.items() if n not in ("ca.crt", "ca.key")},
        **{"ca-next.crt": certificate.encode(), "ca-next.key": key.encode()},
    }
    text = keeper.encrypted(packed(files, ca_fingerprint=""))
    with pytest.raises(TunnelError, match="nothing proves who made it"):
        keeper.judge(text, proof=True, trusted={"host2": certificate})


def test_an_operator_s_copy_of_a_state_without_the_key(keeper):
    """The CA's key is somewhere else; then its certificate alone has to do."""
    files = {name: data for name, data in keeper.files.items() if name != "ca.key"}
    text = keeper.encrypted(packed(files))
    assert keeper.judge(text)
    with pytest.raises(TunnelError, match="nothing proves who made it"):
        keeper.judge(text, proof=True)


def test_the_later_copy_unless_its_clock_was_ahead(keeper):
    texts = {at: keeper.encrypted(packed(keeper.files, made_at=at)) for at in TIMES}
    found = [keeper.judge(text) for text in texts.values()]
    now = 1795928400.0 + 86400
    assert [each.manifest.made_at for each in sorted(found, key=lambda c: c.order(now))] == [
        TIMES[2],
        TIMES[0],
        TIMES[1],
    ]


TIMES = ("2026-11-28T05:00:00Z", "2026-11-29T05:00:00Z", "2031-01-01T00:00:00Z")


def test_who_vouches_for_a_copy(keeper):
    ca = keeper.files["ca.crt"].decode()
    wanted = judge.Wanted(**{**keeper.wanted, "trusted": {"host2": ca, "host3": ca}})
    found = keeper.judge(keeper.encrypted(packed(keeper.files)))
    assert found.vouchers(wanted, "host2") == ["host3"]
    alone = judge.Wanted(**{**keeper.wanted, "trusted": {"host2": ca}})
    assert found.vouchers(alone, "host2") == []


def test_what_cannot_be_opened(keeper):
    text = keeper.encrypted(packed(keeper.files))
    at = len(text) // 2
    texts = {
        "another copy": text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :],
        "only a part": text[:at],
        "no file that age": "hello\n",
        "more than": text + "\n" * 300_000,
        "other recipients": Keeper(keeper.files).encrypted(packed(keeper.files)),
        "is no archive|no manifest": keeper.encrypted(b"hello"),
    }
    for message, damaged in texts.items():
        with pytest.raises(TunnelError, match=message):
            keeper.judge(damaged)


@pytest.fixture
def path(tmp_path):
    """A file that only its owner may read."""
    made = tmp_path / "identity"
    made.touch(0o600)
    return made


def test_identities_are_read_from_files_of_the_controller(keeper, path):
    with pytest.raises(TunnelError, match="No such file"):
        judge.read_identities(path.with_name("none"))
    path.write_text(f"# created\n{keeper.identity}\n{make_pair()[1]}\n")
    assert len(judge.read_identities(path)) == 2
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(TunnelError, match="has no identity"):
        judge.read_identities(path)


@pytest.mark.parametrize(
    ("mode", "problem"), [(0o604, "read"), (0o640, "read"), (0o622, "written"), (0o644, "read")]
)
def test_an_identity_that_others_know_is_refused(keeper, path, mode, problem):
    path.write_text(keeper.identity)
    path.chmod(mode)
    with pytest.raises(TunnelError, match=f"can be {problem} by other users") as caught:
        judge.read_identities(path)
    assert "a leaked identity in docs/provisioning.md" in str(caught.value)
    assert keeper.identity not in str(caught.value)
