"""The laboratory: real hosts, emulators of what the project talks to, and probes.

Used as ``python -m lab …`` in the checkout; never shipped with the collection.
"""
