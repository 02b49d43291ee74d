"""HTTP apart from any version of it: the parts of a message, and what may be passed on.

``messages`` has the heads and the protocols between the layers (``ClientStream``,
``RequestHandler``, ``ClientConnection``). ``rules`` refuses requests that cannot be written into
another head, ``paths`` those that could lead out of a list of paths; ``forwarding`` and
``own_urls`` turn a client's request and an upstream's response into what the other side may see;
``own_answers`` makes those of the proxy itself; ``trace_context`` and
``mcp_message`` read fields for log and metrics.

``http1``, ``http2``, ``upstream``, ``tunnel`` and ``watch`` use it. It imports the values of
``config`` and no other room: no socket, no clock, no log.
"""
