"""The real collection awx.awx beside this checkout, and the playbooks run against a stand-in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from stages import other_collections

from tests.awx.fake_awx import TOKEN, FakeAwx

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / ".build/collections"))
SECRET = "eyJhIjoidGhlIHRva2VuIG9mIHRoZSB0dW5uZWwiLCJ0IjoieCIsInMiOiJ5In0"
#: The variables of an operator who sets what has to be set.
OPERATOR = {
    "mcp_tunnel_awx_image": "registry.example.net/mcp-tunnel:1",
    "mcp_tunnel_awx_project_url": "https://git.example.net/mcp-tunnel.git",
    "mcp_tunnel_awx_token": SECRET,
    "mcp_tunnel_awx_machine": {"username": "ansible", "ssh_key_data": "a key"},
    "mcp_tunnel_awx_webhook_url": "https://hooks.example.net/1",
}


@pytest.fixture(scope="session")
def collection() -> Path:
    """Where Ansible finds awx.awx."""
    return other_collections.path()


@pytest.fixture
def awx() -> Iterator[FakeAwx]:
    """An AWX without objects of ours."""
    with FakeAwx() as server:
        yield server


Run = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture
def run(tmp_path: Path, collection: Path) -> Run:
    """Run a playbook: exit status, the result of the task, and the whole output.

    Modules run as :mod:`quick_playbook` does it, or, with the ``program`` of Ansible, as usual.
    """

    def call(
        awx: FakeAwx | None,
        *arguments: str,
        beside: Path | None = collection,
        program: str = "tests.awx.quick_playbook",
        playbook: str = "awx",
        **variables: Any,
    ) -> tuple[int, dict[str, Any], str]:
        given = {**OPERATOR, **variables}
        if awx:
            connection = {
                "controller_host": awx.address,
                "controller_oauthtoken": TOKEN,
            }
            given.setdefault("mcp_tunnel_awx_connection", connection)
        (tmp_path / "variables.json").write_text(json.dumps(given))
        places = [ROOT / ".build/collections", *([beside] if beside else [])]
        environment = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("CONTROLLER_", "TOWER_", "AAP_"))
        }
        done = subprocess.run(
            [
                *(sys.executable, "-m", program, "-i", "localhost,"),
                *(str(ROOT / f"playbooks/{playbook}.yml"), "-e", f"@{tmp_path}/variables.json"),
                *arguments,
            ],
            cwd=tmp_path,
            env={
                **environment,
                "PYTHONPATH": str(ROOT),
                # Else each of a thousand requests reads all authorities of this machine.
                "SSL_CERT_FILE": "/dev/null",
                "ANSIBLE_COLLECTIONS_PATH": ":".join(map(str, places)),
                "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
                "ANSIBLE_NOCOLOR": "1",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, _result(done.stdout), done.stdout + done.stderr

    return call


def _result(output: str) -> dict[str, Any]:
    """The last result that Ansible shows; empty if there is none."""
    _before, arrow, rest = output.rpartition("]: FAILED! => ")
    if not arrow:
        _before, arrow, rest = output.rpartition("] => ")
    result: dict[str, Any] = json.JSONDecoder().raw_decode(rest)[0] if arrow else {}
    return result
