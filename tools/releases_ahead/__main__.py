"""``python -m releases_ahead 3.11.2 3.13.5``: for hosts with these versions of CPython.

Each is kept in the controller's cache, where a deployment finds it. It is as well off without, so
nothing is said of failures: whatever it lacks, it makes, or says why it cannot.
"""

from __future__ import annotations

import os
import sys

from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.controller_tools import (
    Wanted,
    get_ready,
)
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.places import Places
from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.releases.proxy import (
    Target,
    release_for,
)

if __name__ == "__main__":
    places, machine = Places(""), os.uname().machine
    releases = [release_for(Target(each, machine), sys.executable, places) for each in sys.argv[1:]]
    get_ready(places, [Wanted(release, []) for release in releases], sys.executable)
