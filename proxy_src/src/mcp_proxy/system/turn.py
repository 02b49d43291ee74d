"""Work that is put off to the end of a turn of the event loop, to be done all at once.

Everything that arrives together is answered together: one TLS record, one system call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .budget import Budget
from .rota import Rota


class Turn:
    """Runs what was added to it, in that order, before the event loop looks for new events.

    ``rota`` says who may work on input in this turn, ``budget`` how much may wait.
    """

    __slots__ = ("_due", "_loop", "budget", "rota")

    def __init__(self) -> None:
        self.rota = Rota()
        self.budget = Budget()
        self._due: list[Callable[[], None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, work: Callable[[], None]) -> None:
        """Run *work* later in this turn; work that is added meanwhile runs in the next one."""
        self._due.append(work)
        if len(self._due) == 1:
            if self._loop is None:
                self._loop = asyncio.get_running_loop()
            self._loop.call_soon(self._run)

    def _run(self) -> None:
        self.rota.turn_ends()
        due, self._due = self._due, []
        for work in due:
            try:
                work()
            except Exception as error:  # as the loop does: the others' work goes on
                asyncio.get_running_loop().call_exception_handler(
                    {"message": "end of turn failed", "exception": error}
                )
