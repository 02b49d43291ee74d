# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hands a request to the operator's program, with bounds on its time, its output and its rights.

The program reads the request (PEM) from standard input and writes the certificate (PEM) to standard
output. Its secret is the file ``secret`` in the directory that CREDENTIALS_DIRECTORY names, as
systemd does it. Root never runs it: on a host with systemd it gets a unit of its own, with the
limits of the unit in which the signer answers the timers of the replicas. So a program that works
in a run works for the timers.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import (
    TunnelError,
    without_control,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.values import shown
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.signer.settings import (
    VARIABLE,
    Program,
)

SECONDS = 30.0
"""For an answer. Replicas wait for a minute, see pki.signing_channel.ask."""
MOST_BYTES = 65536
"""Of an answer, and of words about a failure: a chain has at most a few certificates of 8 kB."""
_SHOWN = 500
"""Characters of its words that an error has."""
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SYSTEMD = "/run/systemd/system"
_STAYS = "The certificate in use stays. Run the program by hand on that host to see why"

RIGHTS = (
    "DynamicUser=yes",
    "UMask=0077",
    "LimitCORE=0",
    "MemoryMax=256M",
    "MemorySwapMax=0",
    "TasksMax=64",
    "ProtectSystem=strict",
    "InaccessiblePaths=-/etc/mcp-tunnel -/var/lib/mcp-tunnel-replica",
    "ProtectHome=yes",
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "DevicePolicy=closed",
    "ProtectProc=invisible",
    "ProcSubset=pid",
    "InaccessiblePaths=-/run/dbus -/run/varlink -/run/udev -/run/ssh-unix-local",
    "CapabilityBoundingSet=",
    "AmbientCapabilities=",
    "NoNewPrivileges=yes",
    "RestrictSUIDSGID=yes",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "LockPersonality=yes",
    "MemoryDenyWriteExecute=yes",
    "KeyringMode=private",
    "RemoveIPC=yes",
    "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallFilter=~@privileged @resources",
    "SystemCallErrorNumber=EPERM",
    "ProtectKernelTunables=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelLogs=yes",
    "ProtectControlGroups=yes",
    "ProtectClock=yes",
    "ProtectHostname=yes",
)
"""The limits of the program, of those that systemd 247 knows; the template signer.service.j2 of the
role proxy has the same lines."""


class SignerError(TunnelError):
    """The program has failed.

    :param said: its last words, as the end of a sentence. They may show its secret.
    """

    def __init__(self, name: str, problem: str, said: str = "") -> None:
        subject = f"the signer {name} ({VARIABLE})"
        super().__init__(subject, f"{problem}{said}", _STAYS)
        #: The same without these words: for a replica, which may have been taken over.
        self.for_replicas = TunnelError(subject, problem, _STAYS)


def ask(signer: Program, credentials: str, request: str) -> str:
    """Runs the program for one request (PEM), and returns its standard output.

    :param credentials: the directory of the unit that this process is in, which has the secret;
        empty outside of it.

    :raises TunnelError: if it cannot be run, fails, hangs or says too much.
    """
    _check_files(signer, bool(credentials))
    words = list(signer.command)
    if credentials:
        return _run(words, request, {"CREDENTIALS_DIRECTORY": credentials}, words[0])
    if os.geteuid() == 0 and os.path.isdir(_SYSTEMD):
        return _run(_in_a_unit(words, signer.secret_file), request, {}, words[0])
    with _credentials(signer.secret_file) as environment:
        return _run(words, request, environment, words[0])


def _check_files(signer: Program, is_in_unit: bool) -> None:
    path = signer.command[0]
    if not (os.path.isfile(path) and os.access(path, os.X_OK)):
        raise TunnelError(
            VARIABLE,
            f"{path} is no program on this host",
            "Install it on the state host, where certificates are signed",
        )
    # For the unit of the signer, systemd has read it.
    if signer.secret_file and not is_in_unit and not os.path.isfile(signer.secret_file):
        raise TunnelError(
            VARIABLE,
            f"{signer.secret_file} is no file on this host",
            "Put the program's secret there, on the state host, readable by root alone",
        )


def _in_a_unit(words: list[str], secret_file: str) -> list[str]:
    """The command that has systemd run the program."""
    rights = [*RIGHTS, f"RuntimeMaxSec={SECONDS + 5:.0f}s"]
    if secret_file:
        rights.append(f"LoadCredential=secret:{secret_file}")
    # systemd puts variables in the place of $NAME; of the program's path, it does not.
    arguments = [word.replace("$", "$$") for word in words[1:]]
    options = [f"--property={right}" for right in rights]
    quiet = ("--quiet", "--pipe", "--wait", "--collect")
    return ["/usr/bin/systemd-run", *quiet, *options, "--", words[0], *arguments]


@contextlib.contextmanager
def _credentials(secret_file: str) -> Iterator[dict[str, str]]:
    """The variable that says where the secret is, as systemd would set it."""
    if not secret_file:
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="mcp-tunnel-signer-") as directory:
        os.symlink(secret_file, os.path.join(directory, "secret"))
        yield {"CREDENTIALS_DIRECTORY": directory}


class _Pipe:
    """A pipe to or from the program. Its ends are closed with it."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        ends = os.pipe()
        self.reader, self.writer = (
            stack.enter_context(os.fdopen(end, mode, buffering=0))
            for end, mode in zip(ends, ("rb", "wb"))
        )
        # Programs open /dev/stdin and its like by these names, as another user than this one.
        os.fchmod(self.reader.fileno(), 0o666)


def _run(words: list[str], request: str, environment: dict[str, str], name: str) -> str:
    """Runs a command in a session of its own, all of which is ended if it goes wrong."""
    with contextlib.ExitStack() as stack:
        given, said, complained = (_Pipe(stack) for _pipe in range(3))
        try:
            process = subprocess.Popen(  # noqa: S603  # the operator's own words, and no shell
                words,
                stdin=given.reader,
                stdout=said.writer,
                stderr=complained.writer,
                env={"PATH": _PATH, "LANG": "C.UTF-8", **environment},
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise SignerError(name, f"cannot be run ({error.strerror or error})") from None
        for end in (given.reader, said.writer, complained.writer):
            end.close()
        try:
            # A pipe takes 64 KiB, and a request has 8 at most.
            with contextlib.suppress(BrokenPipeError), given.writer:
                given.writer.write(request.encode())
            output, complaint = _collect(said.reader.fileno(), complained.reader.fileno(), name)
            status = process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            raise SignerError(name, "has closed its output and does not end") from None
        finally:
            _end(process)
    if status:
        raise SignerError(name, _ending(status), _said(complaint))
    return output.decode("utf-8", "replace")


def _collect(output: int, complaint: int, name: str) -> tuple[bytes, bytes]:
    """All that the program says on both of its outputs, within bounds."""
    parts = {output: b"", complaint: b""}
    deadline = time.monotonic() + SECONDS
    with selectors.DefaultSelector() as selector:
        for descriptor in parts:
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map():
            left = deadline - time.monotonic()
            ready = selector.select(left) if left > 0 else []
            if not ready:
                problem = f"gives no answer within {SECONDS:.0f} seconds"
                raise SignerError(name, problem, _said(parts[complaint]))
            for key, _events in ready:
                part = os.read(key.fd, MOST_BYTES)
                if not part:
                    selector.unregister(key.fd)
                parts[key.fd] += part
                if len(parts[key.fd]) > MOST_BYTES:
                    raise SignerError(name, f"says more than {MOST_BYTES} bytes")
    return parts[output], parts[complaint]


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the program and what it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _ending(status: int) -> str:
    return f"was ended by signal {-status}" if status < 0 else f"ends with status {status}"


def _said(words: bytes) -> str:
    """The last words of a program, as the end of a sentence."""
    text = without_control(" ".join(words.decode("utf-8", "replace").split())).rstrip(".")
    return f": {shown(text[-_SHOWN:], _SHOWN)}" if text else ""
