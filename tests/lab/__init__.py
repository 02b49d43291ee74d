"""The laboratory: real hosts, emulators of what the project talks to, and probes.

Used as ``PYTHONPATH=tests python -m lab …``; never shipped with the collection.
"""
