"""Helpers for the bytes that the targets are given."""

from __future__ import annotations


def pieces(data: bytes, seed: int) -> list[bytes]:
    """*data* cut into pieces whose sizes follow from *seed*: of one byte, of some, or of many."""
    if seed < 64:
        return [data[at : at + 1] for at in range(len(data))]
    found, at = [], 0
    while at < len(data):
        seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
        size = 1 + (seed >> 16) % (7 if seed & 1 else 64)
        found.append(data[at : at + size])
        at += size
    return found
