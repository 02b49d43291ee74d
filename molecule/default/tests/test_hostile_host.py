"""A replica whose Python was taken over gets nothing of the controller or of another replica.

The other kinds of lies are tried on simulated hosts (tests/unit); this host is a real one. The next
whole run (test_members.py) finds nothing to do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from replicas import HOSTS, play, shell

HOSTILE = HOSTS[-1]
INTERPRETER = "/usr/local/sbin/hostile-python"
FACTS = "/usr/local/sbin/hostile-facts.json"
#: The module runs, and its output is taken for the host's own words, with facts among them.
WRAPPER = """#!/usr/bin/python3
import json, subprocess, sys
done = subprocess.run(["/usr/bin/python3", *sys.argv[1:]], stdout=subprocess.PIPE)
try:
    answer = json.loads(done.stdout)
    answer["ansible_facts"] = json.load(open("/usr/local/sbin/hostile-facts.json"))
    sys.stdout.write(json.dumps(answer))
except ValueError:
    sys.stdout.buffer.write(done.stdout)
sys.exit(done.returncode)
"""
#: Everything that a run may change on the replica that is not hostile.
KEPT = "/etc/mcp-tunnel /var/lib/mcp-tunnel /var/lib/mcp-tunnel-replica /etc/systemd/system"


def digest(name: str) -> str:
    """Return the contents, owners and permissions of everything that is deployed on a host."""
    listed = f"find {KEPT} -printf '%p %u %g %m %l\\n' 2>/dev/null | sort"
    summed = f"find {KEPT} -type f -exec sha256sum {{}} + 2>/dev/null | sort"
    return str(shell(name).run(f"{listed}; {summed}").stdout)


@pytest.fixture
def taken_over(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """An inventory in which HOSTILE's Python lies, and the controller's file that it wants."""
    secret = tmp_path / "secret"
    secret.write_text("the controller's own")
    secret.chmod(0o600)
    facts = {
        "mcp_tunnel_token_file": str(secret),
        "mcp_tunnel_teardown_confirmed": True,
        "mcp_tunnel_plan": {
            "mode": "wif",
            "instance": "default",
            "state_host": "localhost",
            "state_dir": str(tmp_path / "state"),
            "leader": HOSTILE,
            "replicas": HOSTS,
        },
        "mcp_tunnel_identity": {"source": "command", "command": ["touch", f"{secret}.ran"]},
        "__mcp_tunnel_host": {},
    }
    host = shell(HOSTILE)
    for path, text in ((INTERPRETER, WRAPPER), (FACTS, json.dumps(facts))):
        host.check_output(f"cat > {path} <<'END'\n{text}\nEND\nchmod 0755 {path}")
    extra = tmp_path / "extra.yml"
    names = {HOSTILE: {"ansible_python_interpreter": INTERPRETER}}
    extra.write_text(json.dumps({"mcp_tunnel": {"hosts": names}}))
    try:
        yield extra, secret
    finally:
        host.check_output(f"rm -f {INTERPRETER} {FACTS}")


@pytest.mark.parametrize(
    ("playbook", "arguments"),
    [
        ("site", []),
        ("site", ["--limit", HOSTILE]),
        ("verify", []),
        # Confirmed by the operator: it ends where the host is first asked.
        ("teardown", ["-e", "mcp_tunnel_teardown_confirmed=true"]),
    ],
)
def test_nothing_is_read_run_signed_or_deleted(
    taken_over: tuple[Path, Path], playbook: str, arguments: list[str]
) -> None:
    extra, secret = taken_over
    before = digest(HOSTS[0])
    done = play("--inventory", str(extra), *arguments, playbook=playbook)
    assert done.returncode != 0
    output = done.stdout + done.stderr
    assert f"{HOSTILE}: its answer to mcp_tunnels.stack." in output, output[-3000:]
    assert "sets facts, which this module never does" in output
    assert not secret.with_name("secret.ran").exists()
    assert "the controller's own" not in output
    assert digest(HOSTS[0]) == before
    found = shell(HOSTILE).run('grep -rl "the controller\'s own" /etc /var/lib /root /tmp')
    assert found.stdout == ""


def test_a_fact_confirms_no_teardown(taken_over: tuple[Path, Path]) -> None:
    """The operator has not confirmed it: the facts claim that. No host is asked."""
    before = digest(HOSTS[0])
    done = play("--inventory", str(taken_over[0]), playbook="teardown")
    assert done.returncode != 0
    assert "mcp_tunnel_teardown_confirmed: is not set" in done.stdout + done.stderr
    assert digest(HOSTS[0]) == before
