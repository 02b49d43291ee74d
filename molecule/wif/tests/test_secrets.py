"""Identity, access and tunnel tokens and keys appear nowhere where somebody could read them.

The run that handles all of them, at full verbosity, is the job in test_jobs.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from deployed import stored
from replicas import HOSTS, LAB_NAME, lab, play
from secrets_search import PLACES, SHAPES, found, key_lines, shown, token_forms


@pytest.fixture(scope="module")
def planted(identity_token: str) -> list[str]:
    """Everything that must not be seen and does not change in between."""
    signature = identity_token.rsplit(".", 1)[1]
    needles = [identity_token, signature, *token_forms(stored("tunnel-token"))]
    for name in HOSTS:
        needles += key_lines(name)
    assert len(needles) == 6 + 2 * (len(HOSTS) + 1)  # the CA's key, too
    return needles


def run_with(identity: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the playbook at full verbosity, with this identity token as a variable."""
    given = folder / "identity.json"
    given.write_text(
        json.dumps({"mcp_tunnel_identity": {"source": "literal", "literal": identity}})
    )
    return play("-vvv", "--diff", "--extra-vars", f"@{given}")


def test_not_on_the_hosts(planted: list[str]) -> None:
    for name in HOSTS:
        for command in PLACES:
            output = shown(name, command)
            assert found(planted, output) == [], (name, command)
            assert not SHAPES.search(output), (name, command)


def test_not_in_the_answer_of_a_failed_exchange(planted: list[str], tmp_path: Path) -> None:
    """The message about a refused token explains its claims, without the token."""
    late = lab("api", LAB_NAME, "identity", "gcp", "--claims", '{"exp": 1700000000}').strip()
    done = run_with(late, tmp_path)
    output = done.stdout + done.stderr
    assert done.returncode != 0
    assert "expired" in output
    assert found([*planted, late, late.rsplit(".", 1)[1]], output) == []
    assert not SHAPES.search(output)
