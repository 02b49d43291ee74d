"""The tunnel of this scenario, as the state host and the API have it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import tunnels_api
from caller import Calls, calling
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from replicas import LAB, RUN, TOGETHER, lab, play, recap, state_host
from replicas import LAB_NAME as NAME

STATE = "/var/lib/mcp-tunnel/default"


def stored(file: str) -> str:
    """Return the content of a file in the state directory of the state host."""
    return str(state_host().check_output(f"cat {STATE}/{file}")).strip()


def fingerprint(pem: str) -> str:
    """Return the fingerprint as the API shows it."""
    return x509.load_pem_x509_certificate(pem.encode()).fingerprint(hashes.SHA256()).hex()


def tunnel() -> dict[str, Any]:
    """Return the tunnel that the state host knows, as the API has it."""
    return tunnels_api.the_tunnel(stored("tunnel-domain"))


def all_the_time() -> AbstractContextManager[Calls]:
    """A client that calls a tool all the time."""
    return calling(RUN, LAB["edge_front"], stored("tunnel-id"))


def none_failed(calls: Calls) -> None:
    """Assert that the client has called, and that every call was answered."""
    assert len(calls.made) > 20, len(calls.made)
    assert not calls.failed, f"{len(calls.failed)} of {len(calls.made)}: {calls.failed[:3]}"
    print(f"{len(calls.made)} calls, none failed")


def a_call_is_answered(text: str) -> None:
    """Assert that a real MCP client is answered through the tunnel."""
    assert text in lab("call", NAME, "echo", "echo", f'{{"text": "{text}"}}')


def nothing_is_left_to_do() -> None:
    """Assert that the next run changes nothing."""
    done = play(*TOGETHER)
    assert done.returncode == 0, done.stdout[-3000:]
    assert all(counters["changed"] == 0 for counters in recap(done.stdout).values()), done.stdout
