"""A picture of docs/monitoring/dashboard.json, drawn from what a real Prometheus has recorded.

``python -m benchmarks.dashboard FILE`` records: it scrapes two replicas of a laboratory under
traffic and through some trouble, and writes what each panel's queries answer. ``draw.py FILE
PICTURE`` draws that with Matplotlib, which is no part of the development environment: ``make
dashboard`` has it in a virtual environment of its own. ``panels.py`` has the common parts of both,
and imports nothing of either.
"""
