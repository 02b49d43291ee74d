"""Files that root leaves for the proxy, which has no privilege to ask for the content itself."""

from __future__ import annotations

import math
import os
import stat
import time
from typing import Callable, Generic, TypeVar

_MAX_BYTES = 256 * 1024

T = TypeVar("T")


class HostFile(Generic[T]):
    """A file of one kind of content, read anew each time.

    It may be missing, or unusable in any other way, without harm. That costs one line in the log
    for each new reason, however often the file is read.
    """

    def __init__(
        self, path: str, parse: Callable[[bytes], T], tell: Callable[[str, str], None]
    ) -> None:
        """*parse* raises :class:`ValueError` with what is wrong.

        *tell* logs the path with each new problem, and with ``""`` once the problem is over.
        """
        self._path = path
        self._parse = parse
        self._tell = tell
        self._problem = ""

    def read(self) -> tuple[T | None, float]:
        """The content and its age in seconds; ``None`` and infinity if it cannot be used."""
        found: tuple[T | None, float] = (None, math.inf)
        problem = ""
        try:
            content, written = _read(self._path)
            found = (self._parse(content), max(0.0, time.time() - written))
        except OSError as error:
            problem = f"cannot read it: {error.strerror or error}"
        except ValueError as error:
            problem = str(error)
        if problem != self._problem:
            self._problem = problem
            self._tell(self._path, problem)
        return found


def _read(path: str) -> tuple[bytes, float]:
    """Content and modification time; raises :class:`OSError`, or :class:`ValueError` if unfit."""
    with open(path, "rb", opener=_open) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("not a regular file")
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ValueError(f"larger than {_MAX_BYTES // 1024} KiB")
    return content, status.st_mtime


def _open(path: str, flags: int) -> int:
    # Otherwise opening a pipe would wait for a writer, and the whole proxy with it.
    return os.open(path, flags | os.O_NONBLOCK)
