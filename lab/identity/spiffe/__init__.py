"""The SPIFFE Workload API, and its command line client.

``workload`` is the server, ``agent`` the client, ``messages`` are what they exchange. It imports
``issuers`` and ``core``.
"""
