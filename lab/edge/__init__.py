"""The laboratory's tunnel edge: takes connectors in, and carries TLS clients to them.

``connectors``, ``rpc`` and ``udp`` are the connectors' side; ``front``, ``hello``, ``channel`` and
``trust`` the clients'. ``directory`` has its files, ``control`` its commands, ``part`` its place in
a lab. It imports ``tunnels_api``, ``network``, ``wire`` and ``core``.
"""
