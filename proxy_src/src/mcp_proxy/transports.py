"""What stands in for the transport of a connection that is lost."""

from __future__ import annotations

import asyncio


class _Closed(asyncio.Transport):
    """Takes every call, and does nothing.

    A protocol and its transport refer to each other. Event loops do not all part them in the end,
    so the protocol does: else both would stay until the garbage collector comes.
    """

    def is_closing(self) -> bool:
        """See :class:`asyncio.BaseTransport`: always."""
        return True

    def get_write_buffer_size(self) -> int:
        """See :class:`asyncio.WriteTransport`: nothing."""
        return 0

    def write(self, data: object) -> None:
        """See :class:`asyncio.WriteTransport`."""

    def close(self) -> None:
        """See :class:`asyncio.BaseTransport`."""

    abort = pause_reading = resume_reading = close


CLOSED = _Closed()
