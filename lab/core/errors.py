"""The one exception that the laboratory's commands turn into a message."""

from __future__ import annotations


class LabError(Exception):
    """Names the object, what is wrong and what to do about it; shown without a traceback."""
