"""Building root file systems: whole or not at all, once, from where apt gets its packages."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.core.errors import LabError
from lab.core.progress import Pace, Progress
from lab.hosts import architectures, mirror, rootfs
from lab.tests.support import lab_command

AddTool = Callable[[str, str], None]

#: Makes a tree like mmdebstrap, the target being the last argument but one; notes each run.
_BUILDS = """
for last; do target=$previous; previous=$last; done
mkdir "$target"; echo half >"$target/half"; echo run >>"$RUNS"; echo "I: Retrieving x 1"
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("RUNS", str(tmp_path / "runs"))
    return tmp_path / "mcp-tunnel-lab/rootfs"


def trees(cache: Path) -> list[str]:
    return [path.name for path in cache.iterdir() if path.is_dir()]


def test_a_finished_tree_is_built_once(cache: Path, fake_tools: AddTool, tmp_path: Path) -> None:
    fake_tools("mmdebstrap", _BUILDS)
    fake_tools("chroot", "exit 0")
    first = rootfs.ensure("12", Progress())
    assert rootfs.ensure("12", Progress()) == first
    assert (first / "half").exists()
    assert (tmp_path / "runs").read_text() == "run\n"


@pytest.mark.parametrize(
    ("release", "has"),
    [
        ("11", ["--setup-hook=/usr/share/mmdebstrap/hooks/merged-usr/setup00.sh"]),
        ("12", ["--hook-directory=/usr/share/mmdebstrap/hooks/merged-usr"]),
        (
            "14",
            [
                "--hook-directory=/usr/share/mmdebstrap/hooks/merged-usr",
                "--aptopt=Acquire::Check-Valid-Until false",
            ],
        ),
    ],
)
def test_each_release_gets_what_it_needs(
    release: str, has: list[str], cache: Path, fake_tools: AddTool, tmp_path: Path
) -> None:
    """A merged /usr without a package for it; an index of any age only before the release."""
    fake_tools("mmdebstrap", f'{_BUILDS}printf "%s\\n" "$@" >"$RUNS.given"')
    fake_tools("chroot", "exit 0")
    rootfs.ensure(release, Progress())
    given = (tmp_path / "runs.given").read_text().splitlines()
    assert [word for word in given if "merged-usr" in word or "Valid-Until" in word] == has


def test_each_architecture_has_a_tree_of_its_own(
    cache: Path, fake_tools: AddTool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How the kernel runs foreign programs is shown by machines that boot (``tests/arm64``)."""
    monkeypatch.setattr(architectures, "_EMULATED", f'echo "$1" >>{tmp_path}/emulated; shift; "$@"')
    foreign = "x86_64" if architectures.OWN == "aarch64" else "aarch64"
    fake_tools("mmdebstrap", _BUILDS + f'echo "$@" >>{tmp_path}/arguments')
    fake_tools("chroot", "exit 0")
    own = rootfs.ensure("12", Progress())
    assert not (tmp_path / "emulated").exists()
    other = rootfs.ensure("12", Progress(), foreign)
    assert other not in (own, rootfs.ensure("13", Progress(), foreign))
    assert (tmp_path / "emulated").read_text() == f"{foreign}\n" * 4  # the tree, and its setup
    given = (tmp_path / "arguments").read_text().splitlines()
    assert [f"--architectures={architectures.debian(foreign)}" in each for each in given] == [
        False,
        True,
        True,
    ]


def test_unknown_architecture(cache: Path) -> None:
    with pytest.raises(LabError, match="the lab knows x86_64, aarch64"):
        rootfs.ensure("12", Progress(), "arm64")


def test_several_are_built_side_by_side(cache: Path, fake_tools: AddTool) -> None:
    """Each waits for the other to begin, so one after the other would never end."""
    meet = 'touch "$RUNS.$suite"; until [ -e "$RUNS.$other" ]; do sleep 0.02; done'
    fake_tools(
        "mmdebstrap",
        'case "$*" in *bookworm*) suite=one other=two ;; *) suite=two other=one ;; esac\n'
        f"{_BUILDS}{meet}",
    )
    fake_tools("chroot", "exit 0")
    found = rootfs.ensure_all(["13", "12", "13"], Progress())
    assert list(found) == ["13", "12"]
    assert sorted(tree.name for tree in found.values()) == sorted(trees(cache))


def test_one_that_fails_beside_another_says_why(cache: Path, fake_tools: AddTool) -> None:
    fake_tools(
        "mmdebstrap",
        f'case "$*" in *bookworm*) echo "E: no such suite"; exit 1 ;; esac\n{_BUILDS}',
    )
    fake_tools("chroot", "exit 0")
    with pytest.raises(LabError, match=r"bookworm[^E]+E: no such suite"):
        rootfs.ensure_all(["12", "13"], Progress())
    assert [name.partition("-")[0] for name in trees(cache)] == ["trixie"]


def test_nothing_goes_on_beside_a_build_that_failed(
    cache: Path, fake_tools: AddTool, tmp_path: Path
) -> None:
    fake_tools(
        "mmdebstrap",
        'case "$*" in *bookworm*) echo $$ >"$RUNS.pid"; exec sleep 300 ;; esac\n'
        'until [ -e "$RUNS.pid" ]; do sleep 0.02; done\necho "E: no mirror"; exit 1',
    )
    with pytest.raises(LabError, match=r"trixie[^E]+E: no mirror"):
        rootfs.ensure_all(["12", "13"], Progress())
    deadline = time.monotonic() + 100
    while b"sleep\0" + b"300" in _commands():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _commands() -> set[bytes]:
    """The command lines of this test's own stand-ins that are still there."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "environ").read_bytes().find(os.environb[b"RUNS"]) >= 0:
                found.add((process / "cmdline").read_bytes().rstrip(b"\0"))
    return found


def test_how_long_the_rest_takes() -> None:
    now = [100.0]
    pace = Pace(200, lambda: now[0])
    assert str(pace) == "0 %"
    for _ in range(50):
        pace.step()
    now[0] = 120.0
    assert str(pace) == "25 %, about 60 s more"
    for _ in range(180):
        pace.step()
    assert str(pace) == "99 %, about 0 s more"


def test_labs_that_need_it_together_build_it_once(
    cache: Path, fake_tools: AddTool, tmp_path: Path
) -> None:
    fake_tools("mmdebstrap", _BUILDS + "sleep 1")
    fake_tools("chroot", "exit 0")
    threads = [threading.Thread(target=rootfs.ensure, args=("12", Progress())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert (tmp_path / "runs").read_text() == "run\n"


def test_failure_shows_the_last_words_and_leaves_nothing(cache: Path, fake_tools: AddTool) -> None:
    fake_tools("mmdebstrap", _BUILDS + "echo 'E: no such suite'; exit 1")
    with pytest.raises(LabError, match="E: no such suite"):
        rootfs.ensure("12", Progress())
    assert trees(cache) == []


def test_failed_setup_leaves_nothing(cache: Path, fake_tools: AddTool) -> None:
    fake_tools("mmdebstrap", _BUILDS)
    fake_tools("chroot", "echo useradd: no >&2; exit 1")
    with pytest.raises(LabError, match="useradd: no"):
        rootfs.ensure("12", Progress())
    assert trees(cache) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_build_is_never_used(
    cache: Path, fake_tools: AddTool, tmp_path: Path, number: signal.Signals
) -> None:
    fake_tools("mmdebstrap", _BUILDS + "sleep 300 & wait")
    fake_tools("chroot", "exit 0")
    process = lab_command("rootfs", "12")
    deadline = time.monotonic() + 100
    while not (tmp_path / "runs").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, number)
    process.communicate(timeout=100)  # ends when nobody holds the pipe: no process is left
    assert [name for name in trees(cache) if not name.endswith(".partial")] == []

    fake_tools("mmdebstrap", _BUILDS)
    tree = rootfs.ensure("12", Progress())

    assert trees(cache) == [tree.name]


def test_a_killed_builders_programs_do_not_write_into_the_next_tree(
    cache: Path, fake_tools: AddTool, tmp_path: Path
) -> None:
    """They end a moment after its lock is free."""
    fake_tools("chroot", "exit 0")
    fake_tools("mmdebstrap", _BUILDS + f'echo "$target" >>{tmp_path}/targets')
    first = rootfs.ensure("12", Progress())
    first.rename(tmp_path / "aside")
    rootfs.ensure("12", Progress())
    one, other = (tmp_path / "targets").read_text().split()
    assert one != other


def test_unknown_release(cache: Path) -> None:
    with pytest.raises(LabError, match="the lab knows 11, 12, 13, 14"):
        rootfs.ensure("10", Progress())


def test_mirror_and_proxies_are_apts(fake_tools: AddTool) -> None:
    fake_tools(
        "apt-get",
        "echo 'https://vendor.example/apt any main'\n"
        "echo 'http://archive.example/security bookworm-security main'\n"
        "echo 'http://archive.example/debian/ bookworm contrib'\n"
        "echo 'http://archive.example/debian/ bookworm main'",
    )
    fake_tools("apt-config", 'case "$4" in *::http::*) echo http://proxy.example:3128;; esac')
    found = mirror.find_mirror()
    assert found.url == "http://archive.example/debian"
    assert found.environment == {"http_proxy": "http://proxy.example:3128"}


def test_machine_without_debian_source(fake_tools: AddTool) -> None:
    fake_tools("apt-get", "echo 'https://vendor.example/apt any main'")
    with pytest.raises(LabError, match="apt-get update"):
        mirror.find_mirror()
