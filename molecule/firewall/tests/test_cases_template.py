"""Rules that nft does not understand change nothing, and the operator reads nft's message."""

from __future__ import annotations

import shutil
from pathlib import Path

from replicas import CHECKOUT, HOSTS, lab, play, recap, shell
from replicas import LAB_NAME as NAME
from rules import PLAYBOOK, SERVICES, files, table

SLIP = "policy accpet"


def with_a_slip(folder: Path) -> dict[str, str]:
    """Make a copy of the collection with a slip in a template; return settings that use it."""
    copy = folder / "ansible_collections" / "mcp_tunnels" / "stack"
    copy.mkdir(parents=True)
    for part in CHECKOUT.iterdir():
        if part.name != "roles" and not part.name.startswith("."):
            (copy / part.name).symlink_to(part)
    shutil.copytree(CHECKOUT / "roles", copy / "roles")
    template = copy / "roles/firewall/templates/host.nft.j2"
    text = template.read_text()
    assert "policy accept" in text
    template.write_text(text.replace("policy accept", SLIP))
    return {"ANSIBLE_COLLECTIONS_PATH": str(folder)}


def state(name: str) -> tuple[str, ...]:
    """Return the rules in the kernel and on disk, and the processes of the services."""
    host = shell(name)
    pids = host.check_output(f"systemctl show --property=MainPID --value {' '.join(SERVICES)}")
    return table(host), files(host), pids


def test_old_rules_stay_and_the_roll_out_ends(tmp_path: Path) -> None:
    before = {name: state(name) for name in HOSTS}
    done = play(settings=with_a_slip(tmp_path))
    assert done.returncode != 0, done.stdout
    said = " ".join(done.stdout.split())
    assert "those of before stay" in said, done.stdout[-4000:]
    assert SLIP in said
    assert "syntax error" in said
    assert recap(done.stdout)[HOSTS[0]]["failed"] == 1
    deployed = done.stdout.split("PLAY [Deploy", 1)[1].split("PLAY RECAP")[0]
    assert f"[{HOSTS[0]}]" in deployed
    assert f"[{HOSTS[1]}]" not in deployed
    assert {name: state(name) for name in HOSTS} == before
    assert "goes on" in lab("call", NAME, "echo", "echo", '{"text": "goes on"}')


def test_the_other_host_says_the_same(tmp_path: Path) -> None:
    """It has another version of nft, and the roll-out has not come so far."""
    name = HOSTS[1]
    before = state(name)
    done = play("--limit", name, playbook=PLAYBOOK, settings=with_a_slip(tmp_path))
    assert done.returncode != 0, done.stdout
    assert "syntax error" in done.stdout
    assert SLIP in done.stdout
    assert state(name) == before
