"""The parts of a lab. Each is a function of its own room; ``services`` says what it returns."""

from __future__ import annotations

from collections.abc import Callable

from ..core.services import Plan, Site
from ..edge import part as edge
from ..hosts import cloudflared
from ..identity import part as identity
from ..mcp import part as mcp
from ..network import surroundings
from ..tunnels_api import part as api

Part = Callable[[Site], Plan]


def parts() -> tuple[Part, ...]:
    """The parts of every lab, in starting order. DNS is not among them: it needs their names."""
    return (cloudflared.plan, identity.plan, api.plan, edge.plan, mcp.plan, surroundings.plan)
