"""Settings of the benchmarks' own tests."""

from __future__ import annotations

import hypothesis

# What lands is judged by the same examples every time, and a slow one says nothing about the code.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")
