from __future__ import annotations

import hypothesis

# The tests share the machine with booting hosts: a slow example says nothing about the code.
hypothesis.settings.register_profile("shared machine", deadline=None)
hypothesis.settings.load_profile("shared machine")
