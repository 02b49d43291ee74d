"""The hosts of a lab. It imports ``connector``, ``network`` and ``core``.

``rootfs`` builds their file systems from a ``mirror``, ``layers`` adds packages; ``nspawn`` boots
one, ``fleet`` keeps all of them running; ``ssh`` reaches them, ``cgroups`` bounds them;
``cloudflared`` chooses the connector that they get.
"""
