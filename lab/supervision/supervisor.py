"""Process 1 of a lab: makes everything in the lab's namespaces, and takes it along when it ends.

Started by the keeper inside the lab's network namespace and fresh mount and PID namespaces.
So however it ends, SIGKILL included, the kernel kills all processes of the lab and
drops all its mounts. It ends by itself when the keeper closes the connection.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ..core.checkouts import ROOT
from ..core.errors import LabError
from ..core.paths import LabPaths
from ..core.processes import run
from ..core.services import Plan, Service, Site
from ..hosts import ssh
from ..hosts.fleet import Fleet
from ..hosts.machine import Machine
from ..hosts.nspawn import Container
from ..network import dns, namespaces
from .messages import send
from .parts import parts
from .spec import LabSpec

_SECONDS_TO_END = 2.0
_SECONDS_BETWEEN_CHECKS = 0.02
_SECONDS_BETWEEN_WRITES = 1.0


class Supervisor:
    """The running lab.

    Args:
        spec: the lab to make.
        keeper: connection to the keeper.
        fronts: front door -> listening socket on the machine's loopback.
    """

    def __init__(
        self, spec: LabSpec, keeper: socket.socket, fronts: dict[str, socket.socket]
    ) -> None:
        self._paths = LabPaths(spec.name)
        self._spec = spec
        self._keeper = keeper
        self._fronts = fronts
        self._services: dict[str, subprocess.Popen[bytes]] = {}
        self._fleet = Fleet()
        self._state_is_old = False

    def start(self) -> None:
        """Returns when the services are ready and the hosts are booting. Raises LabError."""
        for directory in ("/run/netns", "/run/systemd"):
            # Names of the hosts' namespaces and nspawn's own state: ours alone, gone with us.
            Path(directory).mkdir(exist_ok=True)
            run(["mount", "-t", "tmpfs", self._paths.label, directory])
        namespaces.build_bridge()
        addresses = {n: f"127.0.0.1:{s.getsockname()[1]}" for n, s in self._fronts.items()}
        site = Site(self._spec.name, self._paths.run_dir, addresses)
        plans = [part(site) for part in parts()]
        self._boot_hosts(plans)
        names = {name: list(found) for plan in plans for name, found in plan.names.items()}
        services = [dns.service(site, names), *(s for plan in plans for s in plan.services)]
        for service in services:
            self._start_service(service)
        self._write_state()
        facts = {f"{name}_front": address for name, address in addresses.items()}
        variables: dict[str, Any] = {}
        modes: dict[str, Any] = {}
        for plan in plans:
            facts.update(plan.facts)
            variables.update(plan.variables)
            modes.update(plan.modes)
        inventories = {mode: {**variables, **own} for mode, own in modes.items()}
        send(self._keeper, {"booted": facts, "inventories": inventories})

    def _boot_hosts(self, plans: list[Plan]) -> None:
        send(self._keeper, {"step": f"booting {len(self._spec.hosts)} hosts"})
        cas = [pem for plan in plans for pem in plan.trusted_cas]
        authorized = ssh.user_key(self._paths)
        for spec in self._spec.hosts:
            host = (Machine if spec.machine else Container)(self._paths, spec)
            host.prepare(cas, ssh.host_key(self._paths, spec.name), authorized)
            self._fleet.add(host)

    def _start_service(self, service: Service) -> None:
        send(self._keeper, {"detail": f"starting {service.name}"})
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/root"),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            **service.env,
        }
        descriptors = [self._fronts[name].fileno() for name in service.front_doors]
        for name, number in zip(service.front_doors, descriptors, strict=True):
            environment[f"LAB_FD_{name.upper()}"] = str(number)
        log_file = self._paths.logs / f"{service.name}.log"
        with log_file.open("ab") as log:
            process = subprocess.Popen(
                service.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                pass_fds=descriptors,
                start_new_session=True,
            )
        self._services[service.name] = process
        _wait_until_ready(service, process, log_file)

    def watch(self) -> None:
        """Reboots hosts and notes what has ended, until the keeper closes the connection."""
        wakeup, handler_end = socket.socketpair()
        handler_end.setblocking(False)
        wakeup.setblocking(False)
        signal.set_wakeup_fd(handler_end.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while True:
            self._state_is_old |= self._fleet.boot_due()
            self._reap()
            pauses = [p for p in (self._fleet.pause(), self._update_state()) if p is not None]
            readable, _, _ = select.select(
                [self._keeper, wakeup], [], [], min(pauses, default=None)
            )
            if self._keeper in readable:
                return
            with contextlib.suppress(BlockingIOError):  # a pause is over
                wakeup.recv(4096)

    def _reap(self) -> None:
        """Collects ended children: ours, and the orphans that the kernel gives to process 1."""
        while True:
            try:
                # Looked at but not taken: taking is the Popen objects' business.
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                break
            if ended is None:
                break
            self._state_is_old |= self._note_end(ended.si_pid)

    def _note_end(self, pid: int) -> bool:
        if self._fleet.note_end(pid):
            return True
        for name, process in self._services.items():
            if process.pid == pid:
                print(f"{name}: ended with status {process.wait()}", flush=True)
                return True
        os.waitpid(pid, 0)
        return False

    def _update_state(self) -> float | None:
        """Writes changes; returns the number of seconds until another attempt, if one is due."""
        if self._state_is_old:
            try:
                self._write_state()
            except OSError as error:  # a full disk is no reason to end
                print(f"{self._paths.state}: {error}", flush=True)
                return _SECONDS_BETWEEN_WRITES
            self._state_is_old = False
        return None

    def _write_state(self) -> None:
        state: dict[str, Any] = {
            "services": {n: {"ended": p.returncode} for n, p in self._services.items()},
            "hosts": self._fleet.state(),
        }
        partial = self._paths.state.with_suffix(".partial")
        partial.write_text(json.dumps(state))
        partial.replace(self._paths.state)

    def stop(self) -> None:
        """Lets the services end in an orderly way; the rest is killed when we return."""
        running = [p for p in self._services.values() if p.poll() is None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + _SECONDS_TO_END
        while time.monotonic() < deadline and any(p.poll() is None for p in running):
            time.sleep(_SECONDS_BETWEEN_CHECKS)


def _wait_until_ready(service: Service, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + service.ready_timeout
    while not _is_ready(service):
        if process.poll() is not None:
            wrong = f"ended with status {process.returncode} instead of getting ready"
        elif time.monotonic() > deadline:
            wrong = f"was not ready within {service.ready_timeout:.0f} s"
        else:
            time.sleep(_SECONDS_BETWEEN_CHECKS)
            continue
        tail = "\n  ".join(log.read_text(errors="replace").splitlines()[-12:])
        raise LabError(f"service {service.name} {wrong}; its log ends with:\n  {tail}")


def _is_ready(service: Service) -> bool:
    if service.ready is None:
        return True
    try:
        return service.ready()
    except OSError:
        return False


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--keeper", type=int, required=True)
    parser.add_argument("--front", action="append", default=[])
    arguments = parser.parse_args()
    os.umask(0o022)  # most files written here are the hosts'
    keeper = socket.socket(fileno=arguments.keeper)
    fronts = {}
    for front in arguments.front:
        name, _, number = front.partition("=")
        fronts[name] = socket.socket(fileno=int(number))
    supervisor = Supervisor(LabSpec.read(LabPaths(arguments.name).spec), keeper, fronts)
    try:
        supervisor.start()
        supervisor.watch()
    except LabError as error:
        send(keeper, {"error": str(error)})
        return 1
    finally:
        supervisor.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
