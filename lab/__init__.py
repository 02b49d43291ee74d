"""The laboratory: real hosts, emulators of what the project talks to, and probes.

Used as ``python -m lab …`` in the checkout; never shipped with the collection.

``commands`` is the command line; ``supervision`` makes a lab, watches it and ends it. ``hosts``
and ``network`` are its machines. ``edge``, ``tunnels_api``, ``identity``, ``mcp`` and
``connector`` stand in for the world, over ``wire``; ``core`` is for all. A room imports only from
rooms below it: docs/architecture.md has their order, and import-linter holds the code to it.
"""
