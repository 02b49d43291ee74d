"""ansible-playbook, with modules run in forks of its own process: the same code for less time.

It leaves out how Ansible ships a module to an interpreter and starts it there.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any

from ansible.cli.playbook import main
from ansible.module_utils import basic
from ansible.plugins.action import ActionBase


def _in_a_fork(
    self: ActionBase, module_name: str, module_args: dict[str, Any], task_vars: Any
) -> dict[str, Any]:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        _be_the_module(module_name, {**module_args, **_internal(self)}, writing)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as answer:
        text = answer.read()
    os.waitpid(child, 0)
    result: dict[str, Any] = json.loads(text)
    return result


def _internal(action: ActionBase) -> dict[str, Any]:
    return {"_ansible_check_mode": action._task.check_mode, "_ansible_remote_tmp": "/tmp"}


def _be_the_module(name: str, arguments: dict[str, Any], output: int) -> None:
    status = 1
    try:
        sys.stdout = os.fdopen(output, "w", encoding="utf-8")
        basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode()
        basic._ANSIBLE_PROFILE = "legacy"
        namespace, collection, module = name.split(".")
        path = f"ansible_collections.{namespace}.{collection}.plugins.modules.{module}"
        importlib.import_module(path).main()
    except SystemExit:
        status = 0
    finally:
        sys.stdout.flush()
        os._exit(status)


if __name__ == "__main__":
    ActionBase._execute_module = _in_a_fork
    main()
