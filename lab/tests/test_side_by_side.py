"""Labs of two checkouts on one machine: the same names, and a crash of one is not the other's."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.core.checkouts import OWN, ROOT, Checkout
from lab.core.errors import LabError
from lab.core.paths import LabPaths
from lab.supervision import lifecycle, mounts
from lab.tests.support import RunningLab, lab, nothing_is_left

_SUN_PATH = 107  # unix(7)
_SSH_SUFFIX = 17  # the length that ssh appends while it makes a control socket


class Other:
    """A second checkout, with a copy of the laboratory."""

    def __init__(self, path: Path) -> None:
        shutil.copytree(ROOT / "lab", path / "lab", ignore=shutil.ignore_patterns("__pycache__"))
        self.checkout = Checkout(path)

    def lab(self, *arguments: str) -> tuple[int, str]:
        """Runs its `python -m lab …`: (exit status, output)."""
        done = subprocess.run(
            [sys.executable, "-m", "lab", *arguments],
            env={**os.environ, "PYTHONPATH": str(self.checkout.path)},
            cwd="/",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
            check=False,
        )
        return done.returncode, done.stdout


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Other]:
    """All its labs that are left at the end are ended."""
    made = Other(tmp_path.resolve() / "checkout")
    yield made
    for paths in lifecycle.known(made.checkout):
        lifecycle.down(paths)
    shutil.rmtree(made.checkout.run_root, ignore_errors=True)


def keeper(paths: LabPaths) -> int:
    return int(json.loads(paths.keeper.read_text())["pid"])


def test_a_killed_lab_leaves_its_namesake_alone(name: str, other: Other) -> None:
    theirs = LabPaths(name, other.checkout)
    assert lab("up", name, "--hosts", "1")[0] == 0
    status, output = other.lab("up", name, "--hosts", "1")
    assert status == 0, output
    mine, second = RunningLab(LabPaths(name)), RunningLab(theirs)
    assert mine.on("host1", "cat /etc/machine-id") != second.on("host1", "cat /etc/machine-id")
    for paths in (mine.paths, theirs):
        assert (paths.checkout.link / name / "inventory.yml").samefile(paths.inventory())
        assert f"{paths.name:8} running" in lab("list")[1]
        assert f"{paths.checkout.path}  ({paths.run_dir})" in lab("list")[1]
    assert str(other.checkout.path) in other.lab("status", name)[1]
    boot = mine.on("host1", "cat /proc/sys/kernel/random/boot_id")

    os.kill(keeper(theirs), signal.SIGKILL)
    status, output = other.lab("up", name, "--hosts", "1")

    assert status == 0, output
    assert mine.on("host1", "cat /proc/sys/kernel/random/boot_id") == boot
    assert lab("status", name)[0] == 0
    os.kill(keeper(theirs), signal.SIGKILL)
    assert lab("down", name) == (0, f"lab {name}: ended\n")
    nothing_is_left(name)
    assert other.lab("down", name)[0] == 0
    nothing_is_left(name, other.checkout)


def test_down_without_a_name_ends_the_checkouts_own(two: RunningLab, other: Other) -> None:
    assert other.lab("up", "mine", "--hosts", "1")[0] == 0
    assert other.lab("down") == (0, "lab mine: ended\n")
    assert lab("status", two.paths.name)[0] == 0


def test_a_lab_of_a_checkout_that_is_gone_can_be_ended(name: str, other: Other) -> None:
    assert other.lab("up", name, "--hosts", "1")[0] == 0
    shutil.rmtree(other.checkout.path)
    status, output = lab("down", name, "--everywhere")
    assert (status, output) == (0, f"lab {name} of {other.checkout.path}: ended\n")
    nothing_is_left(name, other.checkout)


def test_the_link_of_a_copied_checkout_becomes_its_own(tmp_path: Path) -> None:
    copy = Checkout(tmp_path)
    copy.link.parent.mkdir()
    copy.link.symlink_to(OWN.run_root)
    copy.publish()
    assert copy.link.readlink() == copy.run_root != OWN.run_root


def test_something_else_in_the_links_place_is_named(tmp_path: Path) -> None:
    there = Checkout(tmp_path)
    there.link.mkdir(parents=True)
    with pytest.raises(LabError, match=r"\.build/lab: the link .* cannot be made"):
        there.publish()


def test_the_longest_names_fit(tmp_path: Path) -> None:
    paths = LabPaths("a2345678", Checkout(tmp_path))
    control = f"{paths.run_dir}/ssh/{'c' * 40}"
    assert len(control) + _SSH_SUFFIX <= _SUN_PATH
    assert len(f"{paths.label}-host100") <= 64  # machine names, hostname(7)


#: In a mount namespace of its own: the machine's /run is as the test makes it.
_PRIVATE = ["unshare", "--mount", "--propagation", "private", "sh", "-euc"]


def in_private(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [*_PRIVATE, f"mount -t tmpfs test /run\n{script}", "sh", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHON": sys.executable},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
        check=False,
    )
    return done.stdout + (f"\nstatus {done.returncode}" if done.returncode else "")


#: Actions of the machine's other programs while a lab is up.
_DISTURBERS = {
    "plain ip netns add": "ip netns add other",
    "a shared /run": "mount --make-rshared /run",
    "a namespace that holds copies of the mounts": (
        "unshare --mount --propagation private sh -c 'echo there; exec sleep 100' >$2 & holder=$!;"
        " until grep -qs there $2; do sleep 0.1; done"
    ),
    "a lab's file that is mounted twice": (
        "for f in /run/mcp-tunnel-lab/*/$1/network; do mount --bind $f $f; done"
    ),
}


@pytest.mark.parametrize(
    "disturbers",
    [
        pytest.param([*_DISTURBERS], id="all of it"),
        *(
            pytest.param([disturber], id=disturber, marks=pytest.mark.exhaustive)
            for disturber in _DISTURBERS
        ),
    ],
)
def test_down_whatever_others_do_with_mounts(
    name: str, disturbers: list[str], tmp_path: Path
) -> None:
    disturb = "\n".join(_DISTURBERS[disturber] for disturber in disturbers)
    said = in_private(
        f"""
        "$PYTHON" -m lab up $1 --hosts 1
        holder=
        {disturb}
        "$PYTHON" -m lab down $1
        find /run/mcp-tunnel-lab /run/netns -name "*$1*"
        if [ "$holder" ]; then {{ kill $holder; wait $holder; }} 2>/dev/null || :; fi
        """,
        name,
        str(tmp_path / "holder"),
    )
    assert said.endswith(f"lab {name}: ended\n"), said
    nothing_is_left(name)


def test_a_busy_directory_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lab").mkdir()
    monkeypatch.setattr(mounts, "_SECONDS", 0.1)

    def busy(path: Path) -> None:
        raise OSError(16, "Device or resource busy", str(path))

    monkeypatch.setattr(shutil, "rmtree", busy)
    with pytest.raises(LabError, match=r"lab cannot be removed: .*busy.*fuser"):
        mounts.remove_tree(tmp_path / "lab")


def test_a_tree_that_vanishes_by_itself_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Look-then-act race: another process removes the tree in the middle of the removal."""
    tree = tmp_path / "lab"
    (tree / "inside").mkdir(parents=True)
    real: Callable[[Path], None] = shutil.rmtree

    def faster(path: Path) -> None:
        real(path)
        raise FileNotFoundError(2, "No such file or directory", str(path))

    monkeypatch.setattr(shutil, "rmtree", faster)
    mounts.remove_tree(tree)
    assert not tree.exists()
