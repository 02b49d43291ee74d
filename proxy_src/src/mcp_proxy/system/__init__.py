"""The proxy's dealings with the event loop and the kernel.

``turn`` and ``rota`` decide when work is done and by which connection, ``budget`` how much may wait
for slow ones, ``transports`` stands in for a connection that is lost. ``descriptors``,
``keepalive``, ``unsent`` and ``memory`` ask the kernel and the C library. ``build`` tells whether
the proxy runs compiled.

The rooms above ``http`` and the command line use it. It imports no other room, and knows nothing
of what a connection carries.
"""
