"""HTTP/2 towards the client (RFC 9113), sans-IO: bytes in, requests out; responses in, bytes out.

``server`` is the connection. Frames come in through ``input`` (with ``hpack``, ``head``,
``settings``) and go out through ``queue``; ``stream`` is one request. ``windows``, ``numbers`` and
``patience`` keep account of one thing each. ``frames`` has the format and the two kinds of fault.

``tunnel`` runs it. The room imports ``http`` and the values of ``config``: no socket, no clock, no
log, and nothing of ``http1``.
"""
