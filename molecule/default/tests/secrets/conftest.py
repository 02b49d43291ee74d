"""The secrets that are planted on the hosts, and searched for on their disks."""

from __future__ import annotations

from pathlib import Path

import pytest
from replicas import HOSTS, LAB
from secrets_search import key_lines, on_the_disk, token_forms


@pytest.fixture(scope="module")
def planted() -> dict[str, list[str]]:
    """Host to all that must not be on its disk; the state host's CA signs for the others."""
    token = token_forms(Path(LAB["tunnel_token_file"]).read_text().strip())
    secrets = {name: token + key_lines(name) for name in HOSTS}
    for name, needles in secrets.items():
        assert len(needles) == (4 + 2 * 2 if name == HOSTS[0] else 4 + 2), name
        # The token's secret part is in the token in another coding.
        assert {0, *range(4, len(needles))} <= set(on_the_disk(name, needles)), name
    return secrets
