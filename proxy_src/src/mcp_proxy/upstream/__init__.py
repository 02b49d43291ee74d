"""From a request to the upstream's response.

``router`` finds the upstream, ``guard`` judges a request by the options of its route, and
``exchange`` joins a client's stream with a connection of the ``pool``. ``dial`` resolves, validates
and connects; ``addresses`` knows which of several to dial first, and ``race`` dials them. ``tls``
is TLS over such a connection.

``tunnel`` builds these and hands requests to ``exchange``. The room imports ``http``,
``http1.client``, ``tls``, ``watch``, ``system`` and the values of ``config``; it sees the client as
``http.messages.ClientStream`` and imports nothing of the tunnel or of a protocol's server.
"""
