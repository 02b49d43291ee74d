"""Whether a file that instances share is written by one at a time."""

from __future__ import annotations

import fcntl
import os


def while_locked(monkeypatch, owner, name, directory):
    """Return a list that gets, for each call of a function, whether the lock was held.

    :param owner: the class or module that has the function *name*.
    :param directory: that of the leases. The lock is on it (flock(2)): one who opens it anew gets
        none.
    """
    held = []
    function = getattr(owner, name)

    def watched(*given, **more):
        held.append(_is_locked(directory))
        return function(*given, **more)

    monkeypatch.setattr(owner, name, watched)
    return held


def _is_locked(directory):
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
