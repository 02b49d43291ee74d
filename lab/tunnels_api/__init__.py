"""The Tunnels API and the token exchange, in place of the vendor's.

``application`` takes each request: ``auth`` judges who sends it, ``tunnels`` does it by the rules
of ``authorities`` and ``paging``, ``state`` keeps the effect; ``faults`` and ``cutting`` get in the
way, ``audit`` writes it down, ``errors`` are its refusals. ``control`` is the Console,
``directory`` has the files, ``part`` its place in a lab. It imports ``identity``, ``network``,
``wire`` and ``core``.
"""
