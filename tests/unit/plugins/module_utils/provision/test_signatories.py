"""Who may ask the signer: lines of sshd's file, those of several instances in one."""

from __future__ import annotations

import base64
import os
import stat
import subprocess

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core import ssh_keys
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.pki import crypto, renewal_key
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.provision.signatories import (
    Signatories,
)
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.modules import kill_everywhere
from cryptography.hazmat.primitives import serialization


def key(number=0):
    """Return a public key in the one form that is accepted."""
    kind, curve = b"ecdsa-sha2-nistp256", b"nistp256"
    point = b"\x04" + bytes([number]) * 64
    blob = b"".join(len(part).to_bytes(4, "big") + part for part in (kind, curve, point))
    return f"{kind.decode()} {base64.b64encode(blob).decode()}"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "home" / ".ssh" / "authorized_keys"


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


def test_a_line_lets_a_key_do_one_thing(path):
    signatories = Signatories("default", str(path))
    assert signatories.ensure({"replica2": key()}, ["replica1", "replica2"], check_mode=True)
    assert not path.exists()
    assert signatories.ensure({"replica2": key()}, ["replica1", "replica2"], check_mode=False)
    command = "/opt/mcp-tunnel/proxy/current/bin/mcp-tunnel-pass-question"
    assert lines(path) == [
        f'restrict,command="{command} --instance default --member replica2" {key()}'
    ]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    for directory in (path.parent, path.parent.parent):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o755
    assert not signatories.ensure({"replica2": key()}, ["replica1", "replica2"], check_mode=False)


def test_one_that_takes_no_part_keeps_its_line_and_one_that_is_forgotten_loses_it(path):
    signatories = Signatories("default", str(path))
    signatories.ensure({"b": key(1), "c": key(2)}, "abc", check_mode=False)
    assert signatories.ensure({"b": key(3)}, "abc", check_mode=False)
    assert [key(3) in lines(path)[0], key(2) in lines(path)[1]] == [True, True]
    assert signatories.ensure({"b": key(3)}, "ab", check_mode=False)
    assert len(lines(path)) == 1
    signatories.forget(["b"])
    assert not path.exists()


def test_a_replica_without_a_key_yet_has_no_line(path):
    assert not Signatories("default", str(path)).ensure({"b": ""}, "ab", check_mode=False)
    assert not path.exists()


def test_instances_leave_each_other_alone(path):
    first, second = Signatories("a", str(path)), Signatories("a-b", str(path))
    first.ensure({"x": key(1)}, ["x"], check_mode=False)
    second.ensure({"x": key(2), "y": key(3)}, ["x", "y"], check_mode=False)
    first.ensure({}, [], check_mode=False)
    assert [line.split('"')[1].split()[-3:] for line in lines(path)] == [
        ["a-b", "--member", "x"],
        ["a-b", "--member", "y"],
    ]
    second.forget(None)
    assert not path.exists()


def test_a_key_is_that_of_one_replica(path):
    """Else one could have its questions handed on in the name of another, whose key is public."""
    signatories = Signatories("default", str(path))
    signatories.ensure({"b": key(1)}, "abc", check_mode=False)
    before = lines(path)
    for keys in ({"a": key(1)}, {"a": key(2), "c": key(2)}, {"b": key(1), "c": key(1)}):
        with pytest.raises(TunnelError, match=r"one key for [ab] of .* and [bc] of .* renewal"):
            signatories.ensure(keys, "abc", check_mode=False)
    assert lines(path) == before
    # Of one that is forgotten, it is free.
    assert signatories.ensure({"a": key(1)}, "ac", check_mode=False)
    assert "--member a" in lines(path)[0]


def test_a_key_is_that_of_one_instance(path):
    """Else its questions would go to the signer of the other: sshd goes by the first line."""
    Signatories("b", str(path)).ensure({"x": key(1)}, "x", check_mode=False)
    before = lines(path)
    with pytest.raises(TunnelError, match="one key for y of a and x of b"):
        Signatories("a", str(path)).ensure({"y": key(1)}, "y", check_mode=False)
    assert lines(path) == before


def test_check_mode_forgets_nobody(path):
    signatories = Signatories("default", str(path))
    signatories.ensure({"b": key(1)}, "b", check_mode=False)
    assert signatories.forget(None, check_mode=True)
    assert len(lines(path)) == 1
    assert signatories.forget(None)
    assert not signatories.forget(None)


def test_what_somebody_else_has_put_there_goes(path):
    path.parent.mkdir(parents=True)
    path.write_text(f"ssh-ed25519 AAAA somebody\n{key()}\n")
    assert Signatories("default", str(path)).ensure({"b": key()}, ["b"], check_mode=False)
    assert len(lines(path)) == 1
    path.chmod(0o666)
    assert Signatories("default", str(path)).ensure({"b": key()}, ["b"], check_mode=False)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_key_is_one_that_openssh_knows(tmp_path):
    directory = tmp_path / "mcp-tunnel" / "default" / "renewal"
    assert renewal_key.ensure(str(directory), check_mode=True) == (True, "")
    changed, public = renewal_key.ensure(str(directory), check_mode=False)
    assert changed
    assert ssh_keys.PUBLIC_KEY.fullmatch(public)
    assert stat.S_IMODE((directory / "key").stat().st_mode) == 0o600
    done = subprocess.run(
        ["ssh-keygen", "-y", "-f", str(directory / "key")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == public == (directory / "key.pub").read_text().strip()
    assert renewal_key.ensure(str(directory), check_mode=False) == (False, public)


def test_half_a_pair_is_made_anew(tmp_path):
    directory = tmp_path / "renewal"
    first = renewal_key.ensure(str(directory), check_mode=False)[1]
    os.unlink(directory / "key")
    changed, second = renewal_key.ensure(str(directory), check_mode=False)
    assert changed
    assert second != first


def test_a_pair_belongs_together_wherever_a_run_was_killed(tmp_path):
    directory = tmp_path / "renewal"

    def half():
        renewal_key.ensure(str(directory), check_mode=False)
        (directory / "key").unlink()

    def completed(_step):
        public = renewal_key.ensure(str(directory), check_mode=False)[1]
        private = serialization.load_ssh_private_key((directory / "key").read_bytes(), None)
        assert public == crypto.ssh_public_key(private)
        assert public == (directory / "key.pub").read_text().strip()
        assert sorted(os.listdir(directory)) == ["key", "key.pub"]

    steps = kill_everywhere(
        half, lambda: renewal_key.ensure(str(directory), check_mode=False), completed
    )
    assert steps > 5


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ssh-rsa AAAA",
        key() + "\n" + key(1),
        'command="sh" ' + key(),
        key() + " comment",
        key().replace("=", ""),
        key()[:-40] + "\n" + key()[-40:],
    ],
)
def test_what_is_no_public_key(tmp_path, text):
    assert not ssh_keys.PUBLIC_KEY.fullmatch(text)
    (tmp_path / "key").touch()
    (tmp_path / "key.pub").write_text(text)
    assert ssh_keys.read_public_key(str(tmp_path)) == ""


def test_host_keys_are_those_of_sshd_in_one_form(tmp_path):
    good = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43
    (tmp_path / "ssh_host_ed25519_key.pub").write_text(f"{good} root@replica1\n")
    (tmp_path / "ssh_host_dsa_key.pub").write_text("ssh-dss AAAA root@replica1\n")
    (tmp_path / "ssh_host_rsa_key.pub").write_text("\x1b[2J")
    assert ssh_keys.host_keys(tmp_path) == [good]
    assert ssh_keys.host_keys(tmp_path / "nowhere") == []
