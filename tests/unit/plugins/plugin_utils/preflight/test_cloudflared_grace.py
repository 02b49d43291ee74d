from __future__ import annotations

import pytest
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import cloudflared_grace


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("1m30s", 90), ("3m", 180), ("0.05h", 180), ("500ms", 0.5), ("0s", 0)],
)
def test_seconds(text, seconds):
    assert cloudflared_grace.seconds(text) == pytest.approx(seconds)
    assert list(cloudflared_grace.check_grace_period({"cloudflared_grace_period": text})) == []


@pytest.mark.parametrize("text", ["3m1s", "180.1s", "1h", "2m61s"])
def test_longer_than_cloudflared_starts_with(text):
    (problem,) = cloudflared_grace.check_grace_period({"cloudflared_grace_period": text})
    assert problem.subject == "cloudflared_grace_period"
    assert "3m at most" in problem.remedy
