"""The hosts of a lab. It imports ``connector``, ``network`` and ``core``.

``rootfs`` builds their file systems from a ``mirror``, ``layers`` adds packages; ``specs`` holds
their specifications. ``nspawn`` boots a container; ``machine`` boots a virtual machine from
``boot_files`` with ``qemu``. ``fleet`` keeps all of them running; ``ssh`` reaches them, ``cgroups``
bounds them; ``cloudflared`` chooses the connector that they get.
"""
