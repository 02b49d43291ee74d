"""The two rivals and both of their ends. It imports ``processes``.

``chains`` starts them, with ``certificates`` and on one ``interpreter``; ``unwrapper`` is the part
that haproxy lacks; ``upstream`` answers behind both; ``frames`` is WebSocket for either end.
"""
