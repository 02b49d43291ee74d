"""cloudflared's console log format on standard error: time, level, message, then sorted fields."""

from __future__ import annotations

import json
import sys
from datetime import datetime, timezone

_LEVELS = {"debug": "DBG", "info": "INF", "warn": "WRN", "error": "ERR", "fatal": "FTL"}
_ORDER = list(_LEVELS)


class Log:
    """Writes lines at or above `level`; `as_json` gives one JSON object per line."""

    def __init__(self, level: str = "info", as_json: bool = False) -> None:
        self._threshold = _ORDER.index(level)
        self._as_json = as_json

    def debug(self, message: str, **fields: object) -> None:
        self._write("debug", message, fields)

    def info(self, message: str, **fields: object) -> None:
        self._write("info", message, fields)

    def warn(self, message: str, **fields: object) -> None:
        self._write("warn", message, fields)

    def error(self, message: str, **fields: object) -> None:
        self._write("error", message, fields)

    def _write(self, level: str, message: str, fields: dict[str, object]) -> None:
        if _ORDER.index(level) < self._threshold:
            return
        now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        if self._as_json:
            line = json.dumps({"level": level, "time": now, **fields, "message": message})
        else:
            # The console writer puts the error first and the other fields in order of name.
            names = sorted(fields, key=lambda name: (name != "error", name))
            shown = [f"{name}={_shown(fields[name])}" for name in names]
            line = " ".join([now, _LEVELS[level], message, *shown])
        print(line, file=sys.stderr, flush=True)


def _shown(value: object) -> str:
    text = str(value)
    return json.dumps(text) if not text or any(c in text for c in ' "\\=\n') else text
