"""Work that is put off to the end of a read or a turn of the event loop, to be done all at once.

Everything that arrives together is answered together: one TLS record, one system call. Where only
one read can be the reason for an answer, nothing waits for the other reads of the turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .budget import Budget
from .rota import Rota


class Turn:
    """Runs what was added to it, in that order, before the event loop looks for new events.

    ``rota`` says who may work on input in this turn, ``budget`` how much may wait. A read lasts
    from :meth:`read_begins` to :meth:`read_ends`.
    """

    __slots__ = ("_due", "_loop", "_reading", "_soon", "budget", "rota")

    def __init__(self) -> None:
        self.rota = Rota()
        self.budget = Budget()
        self._due: list[Callable[[], None]] = []
        self._soon: list[Callable[[], None]] = []
        self._reading = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, work: Callable[[], None]) -> None:
        """Run *work* later in this turn; work that is added meanwhile runs in the next one."""
        self._due.append(work)
        if len(self._due) == 1:
            if self._loop is None:
                self._loop = asyncio.get_running_loop()
            self._loop.call_soon(self._run)

    def soon(self, work: Callable[[], None]) -> None:
        """Run *work* when the read ends; if there is none, like :meth:`add`."""
        if self._reading:
            self._soon.append(work)
        else:
            self.add(work)

    def read_begins(self) -> None:
        """From now on, work is put off by :meth:`soon`."""
        self._reading = True

    def read_ends(self) -> None:
        """Run what was put off by :meth:`soon`."""
        self._reading = False
        soon, self._soon = self._soon, []
        _do(soon)

    def _run(self) -> None:
        due, self._due = self._due, []
        _do(due)


def _do(due: list[Callable[[], None]]) -> None:
    for work in due:
        try:
            work()
        except Exception as error:  # as the loop does: the others' work goes on
            asyncio.get_running_loop().call_exception_handler(
                {"message": "end of turn failed", "exception": error}
            )
