"""Bytes between programs, without a word about who speaks. It imports ``core``.

``h2link`` and ``h2stream`` are HTTP/2 in either role, for the edge and the connector, whose archive
carries them; ``http_servers`` runs ASGI applications, ``dialled`` sends a client's requests to one
place, and ``control`` is the JSON that the lab's commands and services exchange.
"""
