"""Whether the modules that carry traffic run compiled, by mypyc, or as they were written."""

from __future__ import annotations

import importlib.util

# Without importing anything: every module says the same (tools/compiled).
_found = importlib.util.find_spec(f"{__package__}.turn")

BUILD = "pure" if _found and str(_found.origin).endswith(".py") else "compiled"
