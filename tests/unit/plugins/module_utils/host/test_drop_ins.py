"""Other people's drop-ins beside our units."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import drop_ins
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host.drop_ins import Undone, undoing

ROLES = Path(__file__).resolve().parents[5] / "roles"
# Images of LXC and Incus have this at run time; privileged containers have the second part, too.
LXC = """\
[Service]
ProcSubset=all
ProtectProc=default
ProtectControlGroups=no
ProtectKernelTunables=no
NoNewPrivileges=no
LoadCredential=
PrivateNetwork=no
"""
PRIVILEGED = LXC + "ProtectHome=no\nProtectSystem=no\nReadWritePaths=\nPrivateTmp=no\n"
EVERY = "run/systemd/system/service.d/zzz-lxc-service.conf"
OURS = "etc/systemd/system/mcp-cloudflared@.service.d"
RESTORED = "[Service]\nLoadCredential=tunnel-token:/etc/mcp-tunnel/%i/tunnel-token\n"


def put(root, path, text):
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def test_a_host_without_drop_ins(tmp_path):
    assert undoing(tmp_path) == []


def test_a_container_of_lxc(tmp_path):
    put(tmp_path, EVERY, LXC)
    [undone] = undoing(tmp_path)
    assert undone.path == f"/{EVERY}"
    assert undone.takes_the_token
    assert set(undone.sandbox) == {
        *("NoNewPrivileges=no", "ProcSubset=all", "ProtectControlGroups=no"),
        *("ProtectKernelTunables=no", "ProtectProc=default"),
    }
    message = str(drop_ins.credential_problem(undone))
    assert message.startswith(f"/{EVERY}: empties LoadCredential=")
    assert "has no tunnel token" in message
    assert "security.nesting" in message
    assert "ProtectProc=default" in drop_ins.sandbox_warning(undone)


def test_an_encrypted_credential_is_one_of_the_same_list(tmp_path):
    """An image of LXC empties systemd's one list of both kinds, and either gives it back."""
    own = "etc/systemd/system/mcp-cloudflared@default.service.d/10-instance.conf"
    encrypted = RESTORED.replace("LoadCredential", "LoadCredentialEncrypted")
    put(tmp_path, own, encrypted)
    assert undoing(tmp_path) == []
    put(tmp_path, EVERY, LXC)
    assert [undone.takes_the_token for undone in undoing(tmp_path)] == [True]
    put(tmp_path, f"{OURS}/zzzz-back.conf", encrypted)
    assert [undone.takes_the_token for undone in undoing(tmp_path)] == [False]


def test_the_remedy_is_one(tmp_path):
    """It names a file that sorts later, and gives its content as printf(1) takes it."""
    put(tmp_path, EVERY, LXC)
    remedy = drop_ins.credential_problem(undoing(tmp_path)[0]).remedy
    content, path = re.search(r"printf '(.*)' >(\S+) ", remedy).groups()
    put(tmp_path, path[1:], content.replace("\\n", "\n").replace("%%", "%"))
    assert (tmp_path / path[1:]).read_text() == RESTORED
    [undone] = undoing(tmp_path)
    assert not undone.takes_the_token
    assert undone.sandbox


@pytest.mark.parametrize("place", ["etc/systemd/system", "run/systemd/system"])
@pytest.mark.parametrize(
    "directory", ["mcp-cloudflared@default.service.d", "mcp-cloudflared@.service.d"]
)
def test_somebodys_edit_of_our_unit_is_to_be_taken_back(tmp_path, place, directory):
    """`systemctl edit` makes it; a container is not to blame."""
    put(tmp_path, f"{place}/{directory}/override.conf", "[Service]\nLoadCredential=\n")
    [undone] = undoing(tmp_path)
    assert undone.path == f"/{place}/{directory}/override.conf"
    assert undone.takes_the_token
    message = str(drop_ins.credential_problem(undone))
    assert "has no tunnel token. Take that line out of the file" in message
    assert "Incus" not in message


def test_what_one_instance_gives_back_is_still_missing_for_the_others(tmp_path):
    put(tmp_path, EVERY, LXC)
    put(tmp_path, "etc/systemd/system/mcp-cloudflared@lab.service.d/zzzz.conf", RESTORED)
    [undone] = undoing(tmp_path)
    assert undone.path == f"/{EVERY}"
    assert undone.takes_the_token


def test_a_sandbox_that_one_instance_of_the_proxy_has_lost(tmp_path):
    path = "etc/systemd/system/mcp-proxy@lab.service.d/zz.conf"
    put(tmp_path, path, "[Service]\nProtectHome=no\nLoadCredential=\n")
    assert undoing(tmp_path) == [Undone(f"/{path}", ("ProtectHome=no",))]


def test_a_privileged_container(tmp_path):
    put(tmp_path, EVERY, PRIVILEGED)
    assert {"ProtectHome=no", "ProtectSystem=no", "PrivateTmp=no"} <= set(
        undoing(tmp_path)[0].sandbox
    )


@pytest.mark.parametrize("hides", ["link", "empty"])
def test_a_file_of_the_same_name_for_our_unit_hides_it(tmp_path, hides):
    put(tmp_path, EVERY, LXC)
    hidden = tmp_path / OURS / "zzz-lxc-service.conf"
    put(tmp_path, f"{OURS}/zzz-lxc-service.conf", "")
    if hides == "link":
        hidden.unlink()
        hidden.symlink_to("/dev/null")
    # The proxy still has the drop-in: it has no credential, but it has a sandbox.
    [undone] = undoing(tmp_path)
    assert undone.path == f"/{EVERY}"
    assert not undone.takes_the_token
    assert undone.sandbox


@pytest.mark.parametrize(
    ("text", "undone"),
    [
        ("[Service]\nMemoryMax=1G\n", []),
        ("[Service]\nProtectSystem=full\n", []),
        ("[Service]\nSystemCallFilter=\nSystemCallFilter=@system-service\n", []),
        ("[Service]\nSystemCallFilter=@x\nSystemCallFilter=\n", ["SystemCallFilter="]),
        ("[Service]\nCapabilityBoundingSet=\n", []),
        ("[Unit]\nProtectHome=no\n[Service]\n# ProtectHome=no\n; x=no\n", []),
        ("[Service]\nProtect\\\nHome=no\n", []),
        ('[Service]\nProtectHome = "False"\n', ["ProtectHome=False"]),
        ("\x00\xff[\n=\n[Service]\n=no\nno\n", []),
    ],
)
def test_texts(tmp_path, text, undone):
    put(tmp_path, "etc/systemd/system/service.d/site.conf", text)
    assert [item for one in undoing(tmp_path) for item in one.settings] == undone


def test_every_directory_of_systemd_and_of_names(tmp_path):
    for number, directory in enumerate(("service.d", "mcp-.service.d", "mcp-proxy@.service.d")):
        put(
            tmp_path, f"usr/lib/systemd/system/{directory}/{number}.conf", "[Service]\nPrivateTmp=0"
        )
    # The last of them decides for the proxy; for cloudflared, the one before does.
    assert {one.path.rsplit("/", 1)[1] for one in undoing(tmp_path)} == {"1.conf", "2.conf"}


def test_what_is_looked_for_is_what_our_units_set():
    texts = [path.read_text() for path in ROLES.glob("*/files/mcp-*@.service")]
    assert len(texts) == 2
    names = set(re.findall(r"^([A-Z]\w+)=", "\n".join(texts), re.MULTILINE))
    assert set(drop_ins.SANDBOX) | {drop_ins.CREDENTIAL} <= names
    confining = {
        name
        for name in names
        if name.startswith(("Protect", "Private", "Restrict", "SystemCall", "NoNew", "Capability"))
    }
    assert confining - {"SystemCallErrorNumber"} <= set(drop_ins.SANDBOX)
    assert "LoadCredential=tunnel-token:/etc/mcp-tunnel/%i/tunnel-token" in "".join(texts)


def test_nothing_of_it_nothing_said():
    assert drop_ins.sandbox_warning(Undone("/x", ("LoadCredential=",))) == ""
