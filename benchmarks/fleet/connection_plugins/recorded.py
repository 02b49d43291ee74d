"""A connection to a host that does not exist: each module's answer is a recorded one.

The answers are those of a run with nothing to do. They are in the file that ``RECORDED_ANSWERS``
names: module (its last part) to result. So the controller alone is measured. Hosts whose names end
with ``-away`` cannot be reached. ``RECORDED_CALLS`` may name a file that gets host and module of
each call, a line for each.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.connection import ConnectionBase

DOCUMENTATION = """
name: recorded
short_description: A host that does not exist
description: For the benchmark of a fleet.
author: [The mcp_tunnels.stack authors]
options:
  host:
    description: Its name in the inventory.
    type: str
    vars: [{name: inventory_hostname}]
"""

_MODULE = re.compile(rb"^ansible_module='(?:[\w.]+\.)?(\w+)'", re.MULTILINE)


@functools.cache
def _answers() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(os.environ["RECORDED_ANSWERS"]).read_text())
    return content


def _note(call: str) -> None:
    if place := os.environ.get("RECORDED_CALLS"):
        with open(place, "a", encoding="utf-8") as calls:
            calls.write(call)


def _mark(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:16]


class Connection(ConnectionBase):  # type: ignore[misc]  # ansible-core has no types
    """Looks up the answer to the module that would have run."""

    transport = "recorded"
    has_pipelining = True

    def _connect(self) -> Connection:
        return self

    def close(self) -> None:
        """There is nothing to close."""

    def put_file(self, in_path: str, out_path: str) -> None:
        """A run with nothing to do sends no file."""
        raise AssertionError(f"{in_path} would be sent")

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """No run fetches any."""
        raise AssertionError(f"{in_path} would be fetched")

    def exec_command(
        self, cmd: str, in_data: bytes | None = None, sudoable: bool = True
    ) -> tuple[int, bytes, bytes]:
        """Return the module's answer, with the host's own machine."""
        name = self._play_context.remote_addr
        if name.endswith("-away"):
            raise AnsibleConnectionFailure("no route to this host")
        found = _MODULE.search(in_data or b"")
        if not found:
            raise AssertionError(f"no module: {cmd}")
        module = found.group(1).decode()
        _note(f"{name} {module}\n")
        text = json.dumps(_answers()[module])
        return 0, text.replace("MACHINE", _mark(name)).encode(), b""
