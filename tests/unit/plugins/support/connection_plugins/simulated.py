"""A connection to a host that does not exist: tests say what it answers.

Nothing is run anywhere. Each call is written to a journal, and the answer comes from the file that
``SIMULATED_HOSTS`` names; see simulated_hosts.py.
"""

from __future__ import annotations

import ast
import json
import os
import re
import time

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.connection import ConnectionBase
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support import simulated_hosts

DOCUMENTATION = """
name: simulated
short_description: A host that does not exist
description: For tests.
author: [The mcp_tunnels.stack authors]
options:
  host:
    description: Its name in the inventory.
    type: str
    vars: [{name: inventory_hostname}]
  become_user:
    description: The name under which Ansible looks for the account.
    type: str
    default: root
"""

_NAME = re.compile(rb"run_module\(mod_name='([\w.]+)'")
_OPTIONS = re.compile(rb"ANSIBALLZ_PARAMS = (['\"].*)\n")


class Connection(ConnectionBase):
    """Take the input of a host's Python from Ansible, and answer it here."""

    transport = "simulated"
    has_pipelining = True

    def _connect(self):
        return self

    def close(self):
        """There is nothing to close."""

    def put_file(self, in_path, out_path):
        """No file is sent anywhere."""
        self._note({"put_file": [in_path, out_path]})

    def fetch_file(self, in_path, out_path):
        """A host that is asked for a file is asked for too much."""
        self._note({"fetch_file": [in_path, out_path]})
        raise AssertionError("no file is ever fetched")

    def exec_command(self, cmd, in_data=None, sudoable=True):
        """Return the answer of the module that would have run."""
        name = self._play_context.remote_addr
        if not in_data:
            self._note({"command": cmd})
            return 0, b"/tmp/simulated\n", b""
        module, arguments = _module(in_data)
        self._note({"module": module, "arguments": arguments, "command": cmd})
        answer = simulated_hosts.answer(os.environ["SIMULATED_HOSTS"], name, module, arguments)
        if answer.get("unreachable"):
            raise AnsibleConnectionFailure("no route to this host")
        if answer.get("delay"):
            time.sleep(answer["delay"])
        return answer["status"], answer["output"].encode(), b""

    def _note(self, entry):
        """Append one line at once: other calls write theirs at the same time, and read all."""
        line = json.dumps({"host": self._play_context.remote_addr, **entry}, default=str) + "\n"
        path = os.environ["SIMULATED_HOSTS"] + ".journal"
        journal = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(journal, line.encode())
        os.close(journal)


def _module(payload):
    """Return name and arguments of the module in the input of a host's Python."""
    _program, _main, call = payload.rpartition(b'if __name__ == "__main__":\n')
    for node in ast.walk(ast.parse(call.strip())):
        if isinstance(node, ast.Call):
            found = {word.arg: word.value for word in node.keywords}
            if {"ansible_module", "params"} <= found.keys():
                params = json.loads(ast.literal_eval(found["params"]))
                return ast.literal_eval(found["ansible_module"]), params["ANSIBLE_MODULE_ARGS"]
    # Before ansible-core 2.19.
    named, given = _NAME.search(payload), _OPTIONS.search(payload)
    if named and given:
        name = named[1].decode().replace(".plugins.modules.", ".")
        name = name.removeprefix("ansible_collections.").replace(".modules.", ".builtin.")
        return name, json.loads(ast.literal_eval(given[1].decode()))["ANSIBLE_MODULE_ARGS"]
    raise AssertionError("this is no module")
