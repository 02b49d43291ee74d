"""The lab's representative outside its namespaces: one process per lab, in the background.

Makes what must be made outside (network namespace, front-door sockets), starts the
supervisor, finds out when the hosts can be used, and cleans up after the end of the lab.
Should it be killed itself, the kernel ends the supervisor and thereby the lab; the rest is
cleaned by the next `lab up` or `lab down`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import sys
import traceback
from pathlib import Path

from ..core.errors import LabError
from ..core.paths import LabPaths
from ..core.processes import dies_with_me, record_self, run
from ..core.services import FRONT_DOORS
from ..hosts import cgroups, ssh
from ..network import namespaces
from . import cleanup, facts, kept
from .messages import Message, decode, send
from .spec import LabSpec

_SECONDS_TO_END = 5.0
_SECONDS_TO_BOOT = 300.0
_SECONDS_TO_BOOT_EMULATED = 1800.0


class Keeper:
    """One lab seen from outside.

    Args:
        paths: the lab's places; the run directory holds the spec.
        launcher: connection to `lab up`; closed by it when it goes away.
    """

    def __init__(self, paths: LabPaths, launcher: socket.socket) -> None:
        self._paths = paths
        self._launcher = launcher
        self._spec = LabSpec.read(paths.spec)

    async def keep(self) -> None:
        """Returns when the lab's end was requested.

        Raises:
            LabError: it does not come up, or has ended by itself.
        """
        ours, theirs = socket.socketpair()
        supervisor = await self._start_supervisor(theirs)
        theirs.close()
        self._unshare = supervisor.pid
        reader, writer = await asyncio.open_connection(sock=ours)
        ended = asyncio.create_task(supervisor.wait())
        asked = asyncio.create_task(self._asked_to_end())
        serving = asyncio.create_task(self._serve(reader))
        try:
            await asyncio.wait((ended, asked, serving), return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                serving.result()
            if not asked.done():
                await asyncio.wait((ended,), timeout=_SECONDS_TO_END)
                status = ended.result() if ended.done() else "not known"
                raise LabError(f"its supervisor ended by itself (status {status})")
        finally:
            asked.cancel()
            serving.cancel()
            writer.close()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.shield(ended), _SECONDS_TO_END)

    async def _start_supervisor(self, connection: socket.socket) -> asyncio.subprocess.Process:
        namespaces.create_namespace(self._paths.network)
        group = cgroups.create(self._paths.label, "lab")
        fronts = {name: socket.create_server(("127.0.0.1", 0)) for name in FRONT_DOORS}
        supervisor = [
            *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
            *(sys.executable, "-m", "lab.supervision.supervisor", self._paths.name),
            *("--keeper", str(connection.fileno())),
        ]
        for name, sock in fronts.items():
            supervisor += ["--front", f"{name}={sock.fileno()}"]
        with (self._paths.logs / "supervisor.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *dies_with_me(namespaces.inside(self._paths.network, supervisor)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[connection.fileno(), *(sock.fileno() for sock in fronts.values())],
                preexec_fn=lambda: cgroups.join(group),
            )
        for sock in fronts.values():
            sock.close()
        return process

    @property
    def _supervisor(self) -> int:
        """The supervisor's PID out here; in its own namespace it is process 1."""
        unshare = self._unshare
        try:
            return int(Path(f"/proc/{unshare}/task/{unshare}/children").read_text())
        except (OSError, ValueError):
            raise LabError("the supervisor ended while the lab came up") from None

    async def _asked_to_end(self) -> None:
        """Returns on SIGTERM, or when `lab up` went away before the lab was ready."""
        loop = asyncio.get_running_loop()
        asked = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, asked.set)

        def launcher_gone() -> None:
            loop.remove_reader(self._launcher)
            if not self._paths.facts.exists():
                asked.set()

        loop.add_reader(self._launcher, launcher_gone)
        await asked.wait()

    async def _serve(self, supervisor: asyncio.StreamReader) -> None:
        """Passes on the supervisor's messages; returns when there are no more."""
        while line := await supervisor.readline():
            message: Message = decode(line)
            if "error" in message:
                raise LabError(message["error"])
            if "booted" in message:
                await self._wait_for_hosts()
                found = {"supervisor": self._supervisor, **message["booted"]}
                facts.write(self._paths, self._spec, found, message["inventories"])
                send(self._launcher, {"ready": True})
            else:
                send(self._launcher, message)
        if not self._paths.facts.exists():
            log = (self._paths.logs / "supervisor.log").read_text(errors="replace")
            raise LabError("the supervisor ended; its log:\n  " + "\n  ".join(log.splitlines()))

    async def _wait_for_hosts(self) -> None:
        waiting = {host.name for host in self._spec.hosts}

        async def wait(name: str) -> None:
            await self._wait_for_host(name)
            waiting.discard(name)
            send(self._launcher, {"detail": f"waiting for {', '.join(sorted(waiting))}"})

        machines = any(host.machine for host in self._spec.hosts)
        limit = _SECONDS_TO_BOOT_EMULATED if machines else _SECONDS_TO_BOOT
        try:
            async with asyncio.timeout(limit):
                await asyncio.gather(*(wait(host.name) for host in self._spec.hosts))
        except TimeoutError:
            journals = "\n".join(self._journal(name) for name in sorted(waiting))
            raise LabError(
                f"not to be reached by SSH within {limit:.0f} s: "
                f"{', '.join(sorted(waiting))}; the end of each journal:\n{journals}"
            ) from None

    def _journal(self, name: str) -> str:
        """The last lines of a host's journal, as text for a person."""
        directory = self._paths.disks / name / "upper/var/log/journal"
        console = self._paths.logs / f"{name}.log"
        if not directory.is_dir():  # a machine's disk cannot be read from outside
            return "\n".join(console.read_text(errors="replace").splitlines()[-15:])
        try:
            return run(["journalctl", f"--directory={directory}", "--lines=15", "--no-pager"])
        except LabError as error:
            return f"{name}: {error}"

    async def _wait_for_host(self, name: str) -> None:
        # Also waits for the end of the boot: logins come earlier.
        argv = ssh.command(self._paths, name, ["systemctl", "is-system-running", "--wait"])
        while True:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
            # 255 is ssh's own failure; any other status is systemctl's.
            if await process.wait() != 255:
                return
            await asyncio.sleep(0.2)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--launcher", type=int, required=True)
    arguments = parser.parse_args()
    paths = LabPaths(arguments.name)
    launcher = socket.socket(fileno=arguments.launcher)
    record_self(paths.keeper)
    os.umask(0o077)
    error = _kept(paths, launcher)
    if error:
        crash = kept.keep(paths, error)
        send(launcher, {"error": f"{error}\nall logs are in {crash.logs}"})
    cleanup.clean(paths)
    paths.lock.unlink(missing_ok=True)
    return 1 if error else 0


def _kept(paths: LabPaths, launcher: socket.socket) -> str | None:
    """Keeps a lab until its end; returns the error, or None if the end was requested."""
    try:
        asyncio.run(Keeper(paths, launcher).keep())
    except LabError as error:
        return str(error)
    except Exception as error:  # a bug: the lab is removed all the same
        traceback.print_exc()
        return f"the keeper failed: {error!r}"
    return None


if __name__ == "__main__":
    sys.exit(main())
