"""Ansible, loaded once, and a fork of it for each run of a playbook.

Half of the processor time of a short run is Ansible's start, and what each of its workers loads
anew: plugins, and the modules of the collection. This program has loaded them before it is asked
for a run. Each run is one of a fork that has loaded modules, and has never run anything. What
Ansible reads from the environment when it starts is read once; client.py starts another server
for runs in another environment.

The argument is the number of a socket. A message on it is a number of bytes, with the descriptors
for output and errors, then that many bytes of JSON: arguments, directory, environment. The answer
is the exit status of the run, negative for a signal. The server ends with the socket.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import glob
import importlib
import json
import os
import signal
import socket
import sys
import tempfile
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

_SUPPORT = Path(__file__).parents[1]
_NUMBER = 4
_INTERNAL_ERROR = 70  # EX_SOFTWARE
_PR_SET_PDEATHSIG = 1  # prctl(2)
#: What Ansible imports only while it runs.
_MODULES = (
    "ansible.cli.playbook",
    "ansible.executor.playbook_executor",
    "ansible.executor.task_executor",
    "ansible.inventory.manager",
    "ansible.module_utils.basic",
    "ansible.plugins.filter.core",
    "ansible.plugins.filter.mathstuff",
    "ansible.plugins.filter.urls",
    "ansible.plugins.filter.urlsplit",
    "ansible.plugins.inventory.yaml",
    "ansible.plugins.test.core",
    "ansible.plugins.test.files",
    "ansible.plugins.test.mathstuff",
    "ansible.plugins.test.uri",
    "ansible.plugins.vars.host_group_vars",
)
#: Plugins that the playbooks use: their kind, and their names.
_PLUGINS = {
    "action": ("assert", "command", "debug", "fail", "include_tasks", "normal", "set_fact"),
    "callback": ("default",),
    "connection": ("local", "ssh"),
    "lookup": ("file", "template", "vars"),
    "shell": ("sh",),
    "strategy": ("linear",),
}
#: Kinds of plugins of which Ansible loads all in each run, with their documentation.
_KINDS = ("become", "callback", "connection", "shell")
#: The collection's code of the controller; each imports of module_utils what it needs.
_OURS = ("action", "filter", "lookup")


def load() -> list[Path]:
    """Load what runs of this collection's playbooks use; return the YAML of the collection."""
    for name in _MODULES:
        importlib.import_module(name)
    from ansible import cli, constants
    from ansible.plugins import loader

    loader.init_plugin_loader()
    # A fork has it already, and Ansible would warn of that.
    cli.init_plugin_loader = lambda *_given: None
    for kind, names in _PLUGINS.items():
        for name in names:
            getattr(loader, f"{kind}_loader").get(name, class_only=True)
    for kind in _KINDS:
        list(getattr(loader, f"{kind}_loader").all(class_only=True))
    for name in constants.INVENTORY_ENABLED:
        loader.inventory_loader.get(name, class_only=True)
    collection = importlib.import_module("ansible_collections.mcp_tunnels.stack")
    for part in _OURS:
        for path in sorted(Path(collection.__path__[0], "plugins", part).glob("*.py")):
            name = f"mcp_tunnels.stack.{path.stem}"
            getattr(loader, f"{part}_loader").get(name, class_only=True)
    # Each result of a task, and each name of a plugin, would be looked for on the disk.
    loader.glob = types.SimpleNamespace(glob=(kept := functools.cache(glob.glob)), iglob=kept)
    # The roles ask for it: what it imports, and what the files of a release import.
    proxy = importlib.import_module(f"{collection.__name__}.plugins.plugin_utils.releases.proxy")
    proxy.release_for(proxy.Target("3.11.2", "x86_64"), sys.executable)
    places = [Path(collection.__path__[0], name) for name in ("playbooks", "roles")]
    return [path for place in places for path in place.rglob("*.yml")]


def _become_ansible(asked: dict[str, Any], begin: Callable[[], None]) -> int:
    """Run ansible-playbook in this fork; return its exit status."""
    from ansible import constants
    from ansible.cli.playbook import PlaybookCLI
    from ansible.utils import path

    os.chdir(asked["directory"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    # As Ansible does when it starts. The server's own directory is not this process's to remove.
    atexit.unregister(path.cleanup_tmp_file)
    parent = os.environ.get("ANSIBLE_LOCAL_TEMP", os.path.dirname(constants.DEFAULT_LOCAL_TMP))
    os.makedirs(parent, 0o700, exist_ok=True)
    own = tempfile.mkdtemp(prefix=f"ansible-local-{os.getpid()}", dir=parent)
    constants.DEFAULT_LOCAL_TMP = own
    atexit.register(path.cleanup_tmp_file, own, warn=True)
    begin()
    sys.argv = [str(_SUPPORT / "kept_playbook.py"), *asked["arguments"]]
    try:
        PlaybookCLI.cli_executor(sys.argv)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def _run(control: socket.socket, streams: list[int], begin: Callable[[], None], text: bytes) -> int:
    """Return the exit status of a run; negative for a signal."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = _INTERNAL_ERROR
    try:
        os.setsid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        control.close()
        for number, stream in zip((1, 2), streams, strict=True):
            os.dup2(stream, number)
            os.close(stream)
        asked = json.loads(text)
        status = _become_ansible(asked, begin)
        atexit._run_exitfuncs()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Nothing of the server is for this process to go on with.
        os._exit(status)


def _read(control: socket.socket, size: int) -> bytes:
    text = b""
    while len(text) < size:
        part = control.recv(size - len(text))
        if not part:
            raise EOFError("the client has ended in the middle of a message")
        text += part
    return text


def main() -> None:
    """Serve the socket whose number is the argument."""
    # Else the files beside this one would be modules for everybody.
    sys.path[0] = str(_SUPPORT)
    import kept_playbook
    from runs import parsed, tasks

    sys.path.pop(0)
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    keep = kept_playbook.prepare()

    def begin() -> None:
        keep()
        if "WITHOUT_PROCESSES" in os.environ:
            tasks.run_in_this_process()

    parsed.keep(load())
    while True:
        size, streams, _flags, _address = socket.recv_fds(control, _NUMBER, 2)
        if not size:
            return
        text = _read(control, int.from_bytes(size, "big"))
        status = _run(control, streams, begin, text)
        for stream in streams:
            os.close(stream)
        control.sendall(status.to_bytes(_NUMBER, "big", signed=True))


if __name__ == "__main__":
    main()
