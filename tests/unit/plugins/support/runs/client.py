"""Runs of playbooks by a server; on hosts that exist, the first in an environment by itself.

A server takes longer to start than ansible-playbook. Where tasks have processes, nothing is saved
before the second run.
"""

from __future__ import annotations

import atexit
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

_SERVER = Path(__file__).with_name("server.py")
_PROGRAM = Path(__file__).parents[1] / "kept_playbook.py"
#: What may differ between runs of a server: Ansible reads none of it when it starts.
_OF_A_RUN = (
    *("ANSIBLE_LOCAL_TEMP", "KILL_AFTER", "PYTEST_CURRENT_TEST", "SIMULATED_HOSTS"),
    *("XDG_CACHE_HOME", "container"),
)
#: The variable that lets a server run tasks in the process of the run; see tasks.py.
WITHOUT_PROCESSES = "WITHOUT_PROCESSES"
_NUMBER = 4
#: Process and environment → its server; None after the first run.
_servers: dict[tuple[object, ...], Server | None] = {}


def run(
    arguments: Sequence[str],
    directory: Path,
    environment: Mapping[str, str],
    timeout: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run ansible-playbook with these arguments, in a session of its own, without a terminal.

    :param environment: all of it.
    :param timeout: seconds.
    :raises TimeoutError: if the run has not ended by then.
    """
    fixed = {name: environment[name] for name in environment if name not in _OF_A_RUN}
    # Without its name, Ansible takes the configuration of the directory.
    place = "" if "ANSIBLE_CONFIG" in fixed else str(directory)
    # A fork of this process has none of its servers.
    key = (os.getpid(), place, *sorted(fixed.items()))
    if key not in _servers and WITHOUT_PROCESSES not in fixed:
        _servers[key] = None
        return run_alone(arguments, directory, environment, timeout)
    server = _servers.get(key) or Server(directory, fixed)
    _servers[key] = server
    try:
        return server.run(arguments, directory, environment, timeout)
    except BaseException:
        # What it would answer next is unknown.
        _servers[key] = None
        server.stop()
        raise


def run_alone(
    arguments: Sequence[str],
    directory: Path,
    environment: Mapping[str, str],
    timeout: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Do the same as :func:`run` with a new process, and one for each task."""
    try:
        return subprocess.run(
            [sys.executable, str(_PROGRAM), *arguments],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            start_new_session=True,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(str(error)) from error


class Server:
    """A process with server.py, which ends with this one."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, str(_SERVER), str(theirs.fileno())],
                cwd=directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        self._owner = os.getpid()
        atexit.register(self.close)

    def run(
        self,
        arguments: Sequence[str],
        directory: Path,
        environment: Mapping[str, str],
        timeout: float | None,
    ) -> subprocess.CompletedProcess[str]:
        """Do the same as the function of this name."""
        asked = {
            "arguments": list(arguments),
            "directory": str(directory),
            "environment": dict(environment),
        }
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            text = json.dumps(asked).encode()
            size = len(text).to_bytes(_NUMBER, "big")
            self._control.settimeout(timeout)
            socket.send_fds(self._control, [size], [output.fileno(), errors.fileno()])
            self._control.sendall(text)
            answer = self._control.recv(_NUMBER)
            assert len(answer) == _NUMBER, "the server has ended; its reason is above"
            said = [_content(stream) for stream in (output, errors)]
        status = int.from_bytes(answer, "big", signed=True)
        return subprocess.CompletedProcess(list(arguments), status, *said)

    def stop(self) -> None:
        """End it, and the run that has not ended."""
        self._process.terminate()
        self.close()

    def close(self) -> None:
        """Let it end."""
        if os.getpid() == self._owner:
            self._control.close()
            self._process.wait()


def _content(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode()
