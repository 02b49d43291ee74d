"""Settings of the benchmarks' own tests."""

from __future__ import annotations

import hypothesis

# Every change is judged by the same examples, and a slow example says nothing about the code.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")
