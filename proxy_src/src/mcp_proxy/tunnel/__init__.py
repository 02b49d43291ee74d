"""Connections from the connector: WebSocket, inner TLS, HTTP.

``server`` accepts and drains, ``connection`` joins the layers on a transport. ``websocket``, with
``ws_opening`` and ``ws_frames``, and ``inner_tls`` are sans-IO: bytes in, bytes out.

``process.worker`` runs it. The room imports ``http1``, ``http2``, ``upstream`` and the rooms below
them, and nothing of ``process``: it does not know how many processes there are.
"""
