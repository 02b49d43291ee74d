"""The laboratory's upstream MCP servers, and the client that calls them.

``server`` has the tools, ``part`` puts two servers into a lab; ``call`` is the client
of `lab call`. It imports ``tunnels_api``, ``network``, ``wire`` and ``core``.
"""
