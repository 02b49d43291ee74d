"""Playbooks as jobs of AWX: ansible-runner's transmit, worker and process, with AWX's parameters.

The parameters are those of ``awx/main/tasks/jobs.py``: the inventory is an executable, each text of
the extra variables is marked as unsafe, and ``awx_job_id`` is one of them. A project has wrappers,
as a job template names a file of it and never a playbook of a collection.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ansible_runner
import yaml
from replicas import CHECKOUT, LAB_NAME, inventory

_CONFIGURATION = """\
[defaults]
callback_result_format = yaml
internal_poll_interval = 0.01
[ssh_connection]
pipelining = True
"""
_NUMBER = 41
"""The number of each job, as AWX counts them."""


@dataclass
class Job:
    """A job that has ended.

    :param status: that of ansible-runner: ``successful``, ``failed``, or ``timeout``.
    :param events: all of its events, as AWX stores them.
    :param directory: where its artifacts are.
    """

    status: str
    directory: Path
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def output(self) -> str:
        """What AWX shows of it."""
        return "".join(event["stdout"] + "\n" for event in self.events)

    @property
    def statistics(self) -> dict[str, Any]:
        """The data of its last event: the recap, and its artifacts as ``artifact_data``."""
        ends = [event for event in self.events if event["event"] == "playbook_on_stats"]
        assert ends, self.output[-3000:]
        data: dict[str, Any] = ends[-1]["event_data"]
        return data

    def left_behind(self) -> str:
        """Return everything that anybody could read of it later: events, artifacts, environment."""
        files = [path for path in self.directory.rglob("*") if path.is_file()]
        texts = [path.read_text(errors="replace") for path in files]
        return "\n".join([json.dumps(self.events), *texts])


class _Unsafe(yaml.SafeDumper):
    """Marks every text, as AWX does with what comes from a survey or a launch."""


_Unsafe.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("!unsafe", text, style="'")
)


def run(
    directory: Path,
    playbook: str,
    answers: Mapping[str, Any] | None = None,
    limit: int = 1200,
    options: str = "",
) -> Job:
    """Run a playbook as a job, with these answers of a survey, for at most *limit* seconds.

    *options* are those of ansible-playbook that follow from the job template.
    """
    private = directory / "private"
    _prepare(private, playbook, {**(answers or {}), "awx_job_id": _NUMBER}, limit)
    sent, back = directory / "sent", directory / "back"
    with sent.open("wb") as stream:
        ansible_runner.interface.run(
            streamer="transmit",
            _output=stream,
            only_transmit_kwargs=False,
            private_data_dir=str(private),
            ident=_NUMBER,
            playbook=f"{playbook}.yml",
            suppress_env_files=True,
            cmdline=options or None,
            envvars={"ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".build/collections")},
        )
    with sent.open("rb") as given, back.open("wb") as taken:
        subprocess.run(
            ["ansible-runner", "worker", "--private-data-dir", str(directory / "worker")],
            stdin=given,
            stdout=taken,
            env={key: value for key, value in os.environ.items() if not _is_ours(key)},
            start_new_session=True,
            timeout=limit + 300,
            check=False,
        )
    job = Job("", directory / "processed")
    with back.open("rb") as stream:
        done = ansible_runner.interface.run(
            streamer="process",
            _input=stream,
            quiet=True,
            private_data_dir=str(job.directory),
            ident=_NUMBER,
            event_handler=lambda event: job.events.append(event) or True,
        )
    job.status = done.status
    return job


def _is_ours(name: str) -> bool:
    return name.startswith(("ANSIBLE_", "MOLECULE_"))


def _prepare(private: Path, playbook: str, extra: Mapping[str, Any], limit: int) -> None:
    """Write what AWX gives to a job: its project, its inventory, its variables and its settings."""
    for name in ("project", "inventory", "env"):
        (private / name).mkdir(parents=True)
    wrapper = {
        "name": playbook,
        "ansible.builtin.import_playbook": f"mcp_tunnels.stack.{playbook}",
    }
    (private / f"project/{playbook}.yml").write_text(yaml.safe_dump([wrapper]))
    (private / "project/ansible.cfg").write_text(_CONFIGURATION)
    group = yaml.safe_load(Path(inventory(LAB_NAME)).read_text())["mcp_tunnel"]
    shown = {
        "mcp_tunnel": {"hosts": list(group["hosts"]), "vars": group["vars"]},
        "_meta": {"hostvars": group["hosts"]},
    }
    script = private / "inventory/hosts"
    script.write_text(f"#!/bin/sh\ncat <<'EOF'\n{json.dumps(shown)}\nEOF\n")
    script.chmod(stat.S_IRWXU)
    (private / "env/extravars").write_text(yaml.dump(dict(extra), Dumper=_Unsafe))
    (private / "env/settings").write_text(json.dumps({"job_timeout": limit}))
