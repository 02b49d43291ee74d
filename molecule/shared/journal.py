"""The journal of a host, whose daemon takes lines in its own time: a look at once may miss some."""

from __future__ import annotations

from testinfra.host import Host


def moment(host: Host) -> str:
    """Return a moment for ``logged``: everything that is logged from now on comes after it."""
    return str(host.check_output("journalctl --sync && date +@%s.%N"))


def read(host: Host, *options: str) -> str:
    """Return what journalctl shows with these options, all that was logged so far included."""
    command = f"journalctl --sync && journalctl --quiet --no-pager --output=cat {' '.join(options)}"
    return str(host.check_output(command))


def logged(host: Host, unit: str, since: str) -> str:
    """Return what the processes of a unit have said since a moment, without systemd's own lines."""
    return read(host, f"--since={since}", f"_SYSTEMD_UNIT={unit}")
