"""The commands about the lab as a whole and its hosts."""

from __future__ import annotations

import argparse
import subprocess
import time
from typing import TYPE_CHECKING

from ..core.checkouts import OWN, Checkout
from ..core.errors import LabError
from ..core.paths import LabPaths
from ..hosts import cgroups, ssh
from ..hosts.architectures import OWN as OWN_ARCHITECTURE
from ..supervision import facts, lifecycle

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

_SECONDS_TO_REBOOT = 300.0
#: On a computer that others use as well, an emulated machine took more than 300 seconds.
_SECONDS_TO_REBOOT_EMULATED = 1800.0


def add_parsers(subparsers: Subparsers) -> None:
    """Adds up, down, status and host."""
    up = subparsers.add_parser("up", help="make a lab; returns when it is ready")
    up.add_argument("name")
    up.add_argument("--hosts", type=int, default=2)
    up.add_argument(
        "--debian", default="12", help="releases (11 to 14), cycled over the hosts: 12,13"
    )
    up.add_argument(
        "--with",
        dest="packages",
        default="",
        metavar="PACKAGES",
        help="Debian packages that the hosts have, switched off: firewalld,ufw",
    )
    up.add_argument(
        "--machines",
        action="store_true",
        help="virtual machines, each with a kernel of its own, instead of containers",
    )
    up.add_argument(
        "--architecture",
        default=OWN_ARCHITECTURE,
        help="of virtual machines: x86_64, aarch64 (default: %(default)s, as this machine has)",
    )
    up.set_defaults(run=_up)
    down = subparsers.add_parser("down", help="end a lab (without a name: all of this checkout)")
    down.add_argument("name", nargs="?")
    down.add_argument(
        "--everywhere",
        action="store_true",
        help="those of every checkout on this machine, also of one that is gone",
    )
    down.set_defaults(run=_down)
    listing = subparsers.add_parser("list", help="the labs of this machine, and whose they are")
    listing.set_defaults(run=_list)
    status = subparsers.add_parser("status", help="what runs; exit status 1 if anything does not")
    status.add_argument("name")
    status.set_defaults(run=_status)
    host = subparsers.add_parser("host", help="hosts of a lab")
    host.add_argument("name")
    verbs = host.add_subparsers(required=True, metavar="VERB")
    verbs.add_parser("list", help="names and addresses").set_defaults(run=_host_list)
    reboot = verbs.add_parser("reboot", help="reboot one and wait until it is back")
    reboot.add_argument("host")
    reboot.set_defaults(run=_host_reboot)
    cut = verbs.add_parser("cut", help="cut a virtual machine's power and wait until it is back")
    cut.add_argument("host")
    cut.set_defaults(run=_host_cut)
    execute = verbs.add_parser("exec", help="run a command on one, as the user ops")
    execute.add_argument("host")
    execute.add_argument("command", nargs=argparse.REMAINDER)
    execute.set_defaults(run=_host_exec)


def _up(arguments: argparse.Namespace) -> int:
    began = time.monotonic()
    releases = arguments.debian.split(",")
    packages = [name for name in arguments.packages.split(",") if name]
    paths = lifecycle.up(
        arguments.name,
        arguments.hosts,
        releases,
        packages,
        arguments.machines,
        arguments.architecture,
    )
    print(f"lab {arguments.name} is ready after {time.monotonic() - began:.1f} s: {paths.run_dir}")
    print(f"connector: {facts.read(paths)['cloudflared']['description']}")
    return 0


def _down(arguments: argparse.Namespace) -> int:
    if arguments.name and not arguments.everywhere:
        labs = [LabPaths(arguments.name)]
    else:
        checkouts = Checkout.all() if arguments.everywhere else [OWN]
        labs = [lab for checkout in checkouts for lab in lifecycle.known(checkout)]
        labs = [lab for lab in labs if arguments.name in (None, lab.name)]
    for paths in labs:
        done = lifecycle.down(paths)
        whose = "" if paths.checkout == OWN else f" of {paths.checkout.path}"
        print(f"lab {paths.name}{whose}: {'ended' if done.found else 'was not there'}")
        if done.crash:
            print(f"before that, {done.crash}")
    return 0


def _list(_arguments: argparse.Namespace) -> int:
    for checkout in Checkout.all():
        for paths in lifecycle.known(checkout):
            state = lifecycle.state(paths)
            print(f"{paths.name:8} {state:20} {checkout.path}  ({paths.run_dir})")
    return 0


def _status(arguments: argparse.Namespace) -> int:
    paths = LabPaths(arguments.name)
    facts.read(paths)
    print(f"checkout {paths.checkout.path}\nfiles    {paths.run_dir}")
    well = True
    for kind, entries in lifecycle.processes(paths).items():
        for name, entry in entries.items():
            running = entry["ended"] is None
            well = well and running
            state = "running" if running else f"ended with status {entry['ended']}"
            if entry.get("failed"):
                state = f"reboot failed: {entry['failed']}"
            boots = f", boots: {entry['boots']}" if "boots" in entry else ""
            print(f"{kind.removesuffix('s'):8} {name:12} {state}{boots}")
    return 0 if well else 1


def _host_list(arguments: argparse.Namespace) -> int:
    for host in facts.read(LabPaths(arguments.name))["hosts"]:
        print(
            f"{host['name']:10} {host['address']:12} {host['address6']:10} Debian {host['debian']}"
        )
    return 0


def _known_host(paths: LabPaths, host: str) -> str:
    names = [entry["name"] for entry in facts.read(paths)["hosts"]]
    if host not in names:
        raise LabError(f"lab {paths.name} has no host {host!r}: it has {', '.join(names)}")
    return host


def _is_machine(paths: LabPaths, host: str) -> bool:
    hosts = facts.read(paths)["hosts"]
    return bool(next(entry["machine"] for entry in hosts if entry["name"] == host))


def _host_reboot(arguments: argparse.Namespace) -> int:
    paths = LabPaths(arguments.name)
    host = _known_host(paths, arguments.host)
    before = _boot(paths, host)
    ssh.output(paths, host, ["sudo", "systemctl", "reboot"], timeout=60)
    _wait_for_another_boot(paths, host, before)
    return 0


def _host_cut(arguments: argparse.Namespace) -> int:
    paths = LabPaths(arguments.name)
    host = _known_host(paths, arguments.host)
    if not _is_machine(paths, host):
        raise LabError(f"{host} is a container, which has no power to cut: see `lab up --machines`")
    before = _boot(paths, host)
    cgroups.kill(paths.label, host)
    _wait_for_another_boot(paths, host, before)
    return 0


def _boot(paths: LabPaths, host: str) -> str | None:
    """The kernel's name for its present boot; None if the host cannot be reached."""
    return ssh.output(paths, host, ["cat", "/proc/sys/kernel/random/boot_id"], timeout=60)


def _wait_for_another_boot(paths: LabPaths, host: str, before: str | None) -> None:
    limit = _SECONDS_TO_REBOOT_EMULATED if _is_machine(paths, host) else _SECONDS_TO_REBOOT
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        state = lifecycle.processes(paths)["hosts"][host]
        if state["failed"]:
            raise LabError(f"{host} cannot be rebooted: {state['failed']}; see {paths.logs}")
        back = _boot(paths, host) not in (None, before)
        # A unit that has failed, as of a run that was cut, does not keep a host from being back.
        wait = ["systemctl", "is-system-running", "--wait", "||", ":"]
        if back and ssh.output(paths, host, wait, 60) in ("running\n", "degraded\n"):
            return
        time.sleep(0.1)
    raise LabError(f"{host} did not come back within {limit:.0f} s: see {paths.logs}")


def _host_exec(arguments: argparse.Namespace) -> int:
    paths = LabPaths(arguments.name)
    host = _known_host(paths, arguments.host)
    return subprocess.run(ssh.command(paths, host, arguments.command), check=False).returncode
