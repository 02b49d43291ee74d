"""HTTP/1.1 (RFC 9112), sans-IO: bytes in, messages out, and back.

Towards the client: ``server`` is the connection, ``stream`` one request on it, ``head`` what a head
must look like, ``reasons`` the status line. Towards the upstream: ``client`` reads responses.

``tunnel`` runs the server, ``upstream`` the client. The room imports ``http`` and the values of
``config``: no socket, no clock, no log, and nothing of ``http2``.
"""
