"""Lists in pages: newest first, with an opaque cursor."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from .errors import ApiError

_DEFAULT = 20
_MAX = 1000
_BOOLEANS = {"true": True, "false": False}
_Record = TypeVar("_Record", bound=Mapping[str, Any])


def page(
    records: Sequence[_Record], shown: Callable[[_Record], Any], query: Mapping[str, str]
) -> dict[str, Any]:
    """Return the page that `query` (include_archived, limit, page) asks for.

    `records` are oldest first. Raises ApiError.
    """
    with_archived = _BOOLEANS.get(query.get("include_archived", "false"))
    if with_archived is None:
        raise ApiError(400, "include_archived: true or false")
    limit = query.get("limit", str(_DEFAULT))
    if not (limit.isascii() and limit.isdigit() and 1 <= int(limit) <= _MAX):
        raise ApiError(400, f"limit: a whole number between 1 and {_MAX}")
    newest = list(reversed(records))
    start = 0
    if "page" in query:
        last = _decoded(query["page"])
        places = [place for place, each in enumerate(newest) if each["id"] == last]
        if not places:
            raise ApiError(400, "page: not a cursor of this list")
        start = places[0] + 1
    rest = [each for each in newest[start:] if with_archived or each["archived_at"] is None]
    taken = rest[: int(limit)]
    more = len(rest) > len(taken)
    return {
        "data": [shown(each) for each in taken],
        "next_page": _encoded(taken[-1]["id"]) if more else None,
    }


def _encoded(record_id: str) -> str:
    return "page_" + base64.urlsafe_b64encode(record_id.encode()).decode().rstrip("=")


def _decoded(cursor: str) -> str:
    text = cursor.removeprefix("page_")
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except (binascii.Error, ValueError):
        return ""
