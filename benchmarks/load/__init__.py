"""The load on a rival. It imports ``rivals``, ``figures`` and ``processes``.

``client`` is one connection, ``http2`` the same over HTTP/2; ``workloads`` is the work that is
measured on them.
"""
