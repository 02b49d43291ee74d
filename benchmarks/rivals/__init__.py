"""The proxy, its rivals, and both of their ends. It imports ``processes``.

``chains`` starts them, with ``certificates`` and on one ``interpreter``; ``unwrapper`` is the part
that haproxy lacks; ``go_chain`` builds and starts the one in ``go``; ``upstream`` answers behind
all of them; ``frames`` is WebSocket for either end.
"""
