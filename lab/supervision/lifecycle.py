"""`lab up` and `lab down`."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.checkouts import ROOT, Checkout
from ..core.errors import LabError
from ..core.paths import LabPaths
from ..core.processes import alive, recorded
from ..core.progress import Progress
from ..hosts import boot_files, cgroups, cloudflared, layers, qemu, rootfs, ssh
from ..hosts.architectures import OWN
from ..hosts.specs import plan_hosts
from . import cleanup, facts, kept
from .messages import decode
from .spec import LabSpec

_SECONDS_TO_END = 120.0
_TOOLS = (
    *("mmdebstrap", "dnsmasq", "ip", "journalctl", "mount", "nc", "nsenter", "setpriv", "ss"),
    *("ssh", "ssh-keygen", "systemd-nspawn", "unshare"),
)


def _lock(paths: LabPaths) -> int | None:
    """The lab's lock as a descriptor, or None if a running lab holds it."""
    paths.checkout.enter()
    descriptor = os.open(paths.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    if not _is_file(descriptor, paths.lock):
        # `lab down` has removed the file since we opened it: the lock would lock nothing.
        os.close(descriptor)
        return _lock(paths)
    return descriptor


def _is_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def up(
    name: str,
    count: int,
    releases: Sequence[str],
    packages: Sequence[str] = (),
    machines: bool = False,
    architecture: str = OWN,
) -> LabPaths:
    """Makes a lab and returns when it is ready; it lives on in the background.

    Args:
        packages: Debian packages that the hosts have besides the bare system, switched off.
        machines: whether the hosts are virtual machines, each with a kernel of its own.
        architecture: that of virtual machines; containers have this machine's.

    Raises:
        LabError: it exists already, or something in it failed; then nothing is left of it.
    """
    paths = LabPaths(name)
    if os.geteuid() != 0:
        raise LabError("the lab makes namespaces and mounts: run it as root")
    _check_tools(_TOOLS, "tools/bootstrap")
    if machines:
        option = "--arm64" if architecture == "aarch64" else "--machines"
        _check_tools(qemu.tools(architecture), f"tools/bootstrap {option}")
    elif architecture != OWN:
        raise LabError(f"containers are {OWN}, as this machine is: {architecture} takes --machines")
    else:
        cgroups.check(releases)
    progress = Progress()
    lock = _lock(paths)
    if lock is None:
        raise LabError(f"lab {name} is up or coming up: `lab down {name}` ends it")
    try:
        kept.keep_what_was_left(paths)
        cleanup.clean(paths)
        kept.forget(paths)  # a new lab of this name is about to be made
        paths.checkout.publish()
        trees = _trees(releases, packages, machines, architecture, progress)
        hosts = plan_hosts(count, releases, trees, machines, architecture)
        spec = LabSpec(name, tuple(hosts))
        paths.logs.mkdir(mode=0o700, parents=True)
        ssh.prepare(paths, [(host.name, host.address.v4) for host in spec.hosts], machines)
        cloudflared.provide(paths, architecture)
        spec.write(paths.spec)
    except BaseException:
        progress.clear()
        cleanup.clean(paths)
        paths.lock.unlink(missing_ok=True)
        os.close(lock)
        raise
    try:
        _launch(paths, lock, progress)
    finally:
        progress.clear()
        os.close(lock)
    return paths


def _check_tools(tools: Sequence[str], installer: str) -> None:
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        raise LabError(f"not installed: {', '.join(missing)}; run {installer}")


def _trees(
    releases: Sequence[str],
    packages: Sequence[str],
    machines: bool,
    architecture: str,
    progress: Progress,
) -> dict[str, list[Path]]:
    trees = {}
    wanted = [*(boot_files.packages(architecture) if machines else ()), *packages]
    for release, tree in rootfs.ensure_all(releases, progress, architecture).items():
        above = [layers.ensure(tree, wanted, progress, architecture)] if wanted else []
        if machines:
            boot_files.ensure(tree, above, progress, architecture)
        trees[release] = [tree, *above]
    return trees


def _launch(paths: LabPaths, lock: int, progress: Progress) -> None:
    ours, theirs = socket.socketpair()
    with (paths.logs / "keeper.log").open("ab") as log:
        subprocess.Popen(
            [
                *(sys.executable, "-m", "lab.supervision.keeper", paths.name),
                *("--launcher", str(theirs.fileno())),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            # The lock's descriptor too: while the keeper holds it, the lab counts as running.
            pass_fds=(theirs.fileno(), lock),
            start_new_session=True,
        )
    theirs.close()
    log_file = paths.logs / "keeper.log"
    try:
        ready, error = _follow(ours, progress)
    except KeyboardInterrupt:
        progress.step("interrupted: ending the lab")
        ours.shutdown(socket.SHUT_WR)
        _follow(ours, progress)
        raise
    if not ready:
        said = log_file.read_text() if log_file.exists() else ""
        raise LabError(error or f"the keeper ended unexpectedly\n{said}".rstrip())


def _follow(keeper: socket.socket, progress: Progress) -> tuple[bool, str]:
    """Shows progress until the lab is ready or the keeper is gone: (ready, last error)."""
    error = ""
    with keeper.makefile("rb") as lines:
        for line in lines:
            message = decode(line)
            if "ready" in message:
                return True, ""
            if "step" in message:
                progress.step(message["step"])
            elif "detail" in message:
                progress.detail(message["detail"])
            elif "error" in message:
                error = message["error"]
    return False, error


@dataclass(frozen=True)
class Down:
    """The findings of `lab down`.

    Attributes:
        found: whether there was anything.
        crash: how the lab had ended before, unless it was still up.
    """

    found: bool
    crash: kept.Crash | None


def down(paths: LabPaths) -> Down:
    """Ends a lab and removes its leftovers.

    Raises:
        LabError: it does not end.
    """
    deadline = time.monotonic() + _SECONDS_TO_END
    asked = False
    while (lock := _lock(paths)) is None:
        keeper = recorded(paths.keeper)
        if keeper is not None and alive(keeper):
            late = time.monotonic() > deadline
            if late or not asked:
                with contextlib.suppress(ProcessLookupError):  # it has just ended
                    os.kill(keeper, signal.SIGKILL if late else signal.SIGTERM)
                asked = True
        elif time.monotonic() > deadline:
            raise LabError(
                f"lab {paths.name}: `lab up {paths.name}` is at work; interrupt it first"
            )
        time.sleep(0.02)
    try:
        found = asked or paths.run_dir.exists()
        kept.keep_what_was_left(paths)
        crash = kept.last(paths)
        cleanup.clean(paths)
        kept.forget(paths)
        paths.lock.unlink(missing_ok=True)
    finally:
        os.close(lock)
    return Down(found or crash is not None, crash)


def known(checkout: Checkout) -> list[LabPaths]:
    """All labs of a checkout, crashed ones included."""
    names = {
        path.stem for kind in ("lock", "crash") for path in checkout.run_root.glob(f"*.{kind}")
    }
    return [LabPaths(name, checkout) for name in sorted(names)]


def state(paths: LabPaths) -> str:
    """The state of a lab, for people."""
    keeper = recorded(paths.keeper)
    if keeper is not None and alive(keeper):
        return "running" if paths.facts.exists() else "coming up or ending"
    return "coming up" if _is_locked(paths.lock) else "ended unexpectedly"


def _is_locked(path: Path) -> bool:
    """Looks without taking the lock: taking it would block others who want it."""
    try:
        inode = path.stat().st_ino
    except FileNotFoundError:
        return False
    # "1: FLOCK ADVISORY WRITE <pid> <device>:<inode> 0 EOF"; a waiter has "->" in front.
    held = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return any(words[5].endswith(f":{inode}") for words in held if words[1] == "FLOCK")


def processes(paths: LabPaths) -> dict[str, dict[str, dict[str, Any]]]:
    """The supervisor's last word about services and hosts. Raises LabError if it is gone."""
    facts.read(paths)
    try:
        state: dict[str, dict[str, dict[str, Any]]] = json.loads(paths.state.read_text())
    except FileNotFoundError:
        facts.read(paths)
        raise LabError(f"lab {paths.name} is ending") from None
    return state
