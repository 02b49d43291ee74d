"""The stand-in for cloudflared: same command line, same wire protocol, one executable file.

``main`` runs it as ``flags``, ``configuration`` and ``ingress`` say; ``discovery``, ``prechecks``,
``protocol`` and ``quic`` find the edge, ``connection``, ``registration`` and ``capnp_wire`` speak
with it, ``origin`` with the proxy; ``status`` and ``log`` report. ``bundle`` makes the file. It
imports only ``wire``'s HTTP/2, which the file carries.
"""
