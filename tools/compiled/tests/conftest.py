"""Where the collection is, whose code takes the wheels."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[3] / ".build/collections"))
