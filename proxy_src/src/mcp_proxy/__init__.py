"""The routing proxy of an MCP tunnel.

The command line is ``cli``. Each room imports only from rooms below it (docs/architecture.md):

============  ====================================================================
``process``   the supervisor, its workers, and what they say to each other
``tunnel``    connections from the connector: WebSocket, inner TLS, and HTTP on top
``upstream``  from a request to the upstream's response
``http1``     HTTP/1.1, of clients and of upstreams
``http2``     HTTP/2, of clients
``tls``       certificates and the contexts made of them
``watch``     log, metrics, admin address
``http``      messages, and the protocols between the layers
``config``    the configuration's values, rules and file
``system``    the event loop and the kernel
============  ====================================================================
"""

__version__ = "0.1.0"
