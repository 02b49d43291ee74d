"""Attempts at one connection to a name with several addresses."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, Generic, TypeVar

HEAD_START: Final = 0.25
"""Seconds that an address has for itself before the next one is dialled as well (RFC 8305 §8)."""
_LEAST_PART: Final = 1 / 16
"""Part of all the time that a head start is at most, unless there are fewer addresses."""
_AT_ONCE: Final = 8
"""Attempts at a time, for a name with hundreds of silent addresses: the oldest has to give way."""

_T = TypeVar("_T")


class Race(Generic[_T]):
    """Attempts begun one after the other; the first that succeeds ends them all.

    An address that does not answer at once must not hold up the call, and yet may only be slow: so
    it goes on while the next one is dialled (RFC 8305 §5).

    ``failed`` has the errors of those that failed; ``slow`` are those that were still at it when a
    later one succeeded, or when the time was over.
    """

    def __init__(
        self, addresses: Sequence[str], dial: Callable[[str], Coroutine[Any, Any, _T]]
    ) -> None:
        """*dial* the *addresses* in their order."""
        self.slow: list[str] = []
        self.failed: dict[str, OSError] = {}
        self._waiting = deque(addresses)
        self._dial = dial
        self._running: dict[asyncio.Future[_T], str] = {}

    async def run(self, seconds: float) -> tuple[str, _T] | None:
        """Return the first connection with its address; ``None`` if there is none in *seconds*.

        An :class:`ssl.SSLError` ends it as well: it is rarely the fault of one address alone.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        head_start = min(HEAD_START, seconds * max(_LEAST_PART, 1 / len(self._waiting)))
        try:
            while (self._waiting or self._running) and (left := deadline - loop.time()) > 0:
                self._begin()
                done, _ = await asyncio.wait(
                    self._running,
                    timeout=min(left, head_start) if self._waiting else left,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for attempt in done:
                    if won := self._judge(attempt):
                        return won
                if any(isinstance(error, ssl.SSLError) for error in self.failed.values()):
                    return None
            self.slow += self._running.values()
            return None
        finally:
            for attempt in self._running:
                attempt.cancel()
            self._running.clear()

    def _begin(self) -> None:
        """Dial the next address, if there is one."""
        if not self._waiting:
            return
        if len(self._running) >= _AT_ONCE:
            oldest = next(iter(self._running))
            self.slow.append(self._running.pop(oldest))
            oldest.cancel()
        address = self._waiting.popleft()
        attempt = asyncio.ensure_future(self._dial(address))
        attempt.add_done_callback(_retrieve)
        self._running[attempt] = address

    def _judge(self, attempt: asyncio.Future[_T]) -> tuple[str, _T] | None:
        """Note the outcome of *attempt*; return the connection if it is one."""
        order = list(self._running.values())
        address = self._running.pop(attempt)
        error = attempt.exception()
        if error is None:
            self.slow += order[: order.index(address)]
            return address, attempt.result()
        if not isinstance(error, OSError):
            raise error
        self.failed[address] = error
        return None


def _retrieve(attempt: asyncio.Future[Any]) -> None:
    """Take the error from an *attempt* that nobody waits for, or asyncio complains."""
    if not attempt.cancelled() and isinstance(error := attempt.exception(), OSError):
        part(error)


def part(error: BaseException) -> None:
    """Part *error* from the frames that it came through.

    Event loops keep the error in one of these frames: it would stay, with all that the frames refer
    to, until the garbage collector runs.
    """
    error.__traceback__ = None
