"""`tools/demo` with stand-ins for all that it calls: its output, and the owner of its demo."""

from __future__ import annotations

import fcntl
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lab.core.checkouts import OWN

_PYTHON = """#!/bin/bash
echo "$PWD|$PYTHONPATH|$*" >>"$CALLS"
case "$*" in
*"lab status demo") [ -e "$RUN/lab.json" ] ;;
*"lab up demo "*) cp "$RUN/facts" "$RUN/lab.json"; echo "lab demo is ready" ;;
*"lab call demo "*) echo "Hello from inside" ;;
-c*) echo "$RUN" ;;
esac
"""
_PLAYBOOK = """#!/bin/bash
echo "$PWD|$PYTHONPATH|ansible-playbook $*" >>"$CALLS"
for play in Preflight Deploy Deploy Verify; do
    printf '\\nPLAY [%s] *****\\n' "$play"
    for task in {1..100}; do printf 'TASK [%s]\\nok: [host1]\\n' "$task"; done
done
[ ! -e "$RUN/broken" ] || { echo "fatal: it is broken"; exit 2; }
cat "$RUN/rows"
"""
#: Of two hosts, as the last play shows them; the second one lacks two connections.
_ROWS = """
        service    mcp-proxy@default.service                   ok     active (running)
        edge       http://127.0.0.1:20241/ready                ok     4 of 4 connections
        inner TLS  echo.abcd.tunnel.example                    ok     verified
        inner TLS  secure.abcd.tunnel.example                  ok     verified
        service    mcp-proxy@default.service                   ok     active (running)
        edge       http://127.0.0.1:20241/ready                wrong  2 of 4 connections
"""
_FACTS = {
    "domain": "abcd.tunnel.example",
    "edge_front": "127.0.0.1:4711",
    "hosts": [{"name": "host1", "debian": "12", "address": "10.77.0.11"}],
    "upstreams": {"echo": "http://10.77.0.2:8000"},
}


class Demo:
    """A checkout with `tools/demo`, and another one beside it."""

    def __init__(self, directory: Path) -> None:
        self.root, self.other = directory / "my checkout", directory / "other"
        self.run_dir, self.calls = directory / "run", directory / "calls"
        self.run_dir.mkdir()
        (self.run_dir / "facts").write_text(json.dumps(_FACTS))
        (self.run_dir / "rows").write_text(_ROWS)
        for root in (self.root, self.other):
            (root / ".venv/bin").mkdir(parents=True)
            (root / "tools").mkdir()
            (root / "tools/bootstrap").symlink_to("/bin/true")
            for name in ("demo", "environment", "run"):
                shutil.copy(OWN.path / "tools" / name, root / "tools")
            self._stand_in(root, "python", _PYTHON)
            self._stand_in(root, "python3", _PYTHON)
            self._stand_in(root, "ansible-playbook", _PLAYBOOK)
        certificate = directory / "ca.crt"
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-subj", "/CN=CA"),
                *("-pkeyopt", "ec_paramgen_curve:P-256"),
                *("-keyout", str(directory / "ca.key"), "-out", str(certificate)),
            ],
            check=True,
            capture_output=True,
        )
        self._stand_in(self.root, "ssh", f"#!/bin/bash\ncat {certificate}\n")

    def _stand_in(self, root: Path, name: str, script: str) -> None:
        path = root / ".venv/bin" / name
        path.write_text(script)
        path.chmod(0o755)

    def shell(self, command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs a line in a shell that knows nothing of the checkout."""
        bare = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/"}
        own = {"CALLS": str(self.calls), "RUN": str(self.run_dir)}
        return subprocess.run(
            ["bash", "--norc", "-c", command],
            cwd="/",
            env={**bare, **own, **environment},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=600,
            check=False,
        )

    def demo(self, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs `tools/demo` as make does: in the checkout, by its relative path."""
        return self.shell(f"cd '{self.root}' && tools/demo", **environment)


@pytest.fixture
def demo(tmp_path: Path) -> Demo:
    return Demo(tmp_path.resolve())


def test_a_newcomer_reads_little_and_the_last_lines_say_what_counts(demo: Demo) -> None:
    done = demo.demo()
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout
    assert len(lines) <= 60
    assert "\033" not in done.stdout
    assert "TASK" not in done.stdout
    last = "\n".join(lines[-14:])
    for text in ("PROVEN", "TO REGISTER", "SHA-256", "WHAT NEXT", "demo-down", "Your own hosts"):
        assert text in last
    assert "Hello from inside" in done.stdout
    assert done.stdout.count("- Deploy") == 1
    assert "dashboard.png" in done.stdout


def test_proven_is_what_the_rows_of_the_hosts_say(demo: Demo) -> None:
    proven = re.findall(r"✓ (\S+ \S+)", demo.demo().stdout)
    assert proven == ["2 bare", "1 hosts", "2 handshakes", "a real"]


def test_all_of_the_play_is_shown_on_demand(demo: Demo) -> None:
    done = demo.demo(V="1")
    assert done.stdout.count("TASK [100]") == 4
    assert "TASK [100]" in (demo.root / ".build/logs/demo-site.log").read_text()


def test_a_terminal_sees_colours_and_how_long_it_takes(demo: Demo) -> None:
    """The second run knows how many tasks there are."""
    demo.demo()
    done = demo.shell(f"cd '{demo.root}' && script --quiet --command tools/demo /dev/null")
    assert "\033[32m✓" in done.stdout
    assert re.search(r"task 1, \d+ s, about \d+ s more", done.stdout)
    # A carriage return comes as the end of a line here: each is overwritten by the next one.
    assert re.search(r"task 400, \d+ s\n\033\[K\n", done.stdout)
    assert done.stdout.count("task ") == done.stdout.count(" s more\n\033[K") + 1 == 400


def test_every_printed_command_works_from_anywhere(demo: Demo) -> None:
    done = demo.demo()
    printed = [line.strip() for line in done.stdout.splitlines() if re.match(r" {3,4}\S", line)]
    commands = [line for line in printed if re.match(r"(.*/tools/run|curl|ssh|make) ", line)]
    ours = [line for line in commands if "/tools/run" in line]
    assert len(commands) >= 7
    assert len(ours) >= 5
    assert not [line for line in printed if re.match(r"(ansible-playbook|python|tools/)", line)]
    demo.calls.unlink()
    for command in ours:
        assert demo.shell(command).returncode == 0, command
    calls = demo.calls.read_text().splitlines()
    assert len(calls) == len(ours)
    for call in calls:
        assert call.startswith(f"{demo.root}|{demo.root}:{demo.root}/tools|")
    for command in set(commands) - set(ours):
        paths = re.findall(r"(?:-C|-F|--cacert) ((?:\\.|\S)+)", command)
        assert paths, command
        assert all(path.startswith("/") for path in paths), command


def test_a_directory_that_cdpath_finds_is_no_checkout_of_ours(demo: Demo) -> None:
    """CDPATH once made another checkout's demo look like this one's: it was used, or ended."""
    assert demo.demo(CDPATH=str(demo.other)).returncode == 0
    assert str(demo.other) not in demo.calls.read_text()
    assert demo.shell("tools/run pwd", CDPATH=str(demo.other)).returncode != 0  # not in "/"
    inside = demo.shell(f"cd '{demo.root}' && tools/run pwd", CDPATH=str(demo.other))
    assert inside.stdout == f"{demo.root}\n"


def test_two_at_once_in_one_checkout_do_not_end_each_other(demo: Demo) -> None:
    (demo.root / ".build").mkdir()
    with (demo.root / ".build/demo.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = demo.demo()
    assert done.returncode != 0
    assert "another make demo of this checkout is at work" in done.stdout
    assert not demo.calls.exists()


def test_a_deployment_that_fails_says_why_and_where(demo: Demo) -> None:
    (demo.run_dir / "broken").touch()
    done = demo.demo()
    assert done.returncode != 0
    assert "fatal: it is broken" in done.stdout
    assert f"{demo.root}/.build/logs/demo-site.log" in done.stdout.splitlines()[-1]
    assert "PROVEN" not in done.stdout


def test_every_tool_finds_its_own_checkout() -> None:
    """The directory of a script is found in spite of CDPATH."""
    scripts = [path for path in [*OWN.path.glob("tools/*"), OWN.path / ".ci/run"] if path.is_file()]
    moving = [path for path in scripts if 'cd "$(dirname' in path.read_text()]
    assert len(moving) >= 4
    for path in moving:
        assert "CDPATH='' cd \"$(dirname" in path.read_text(), path
