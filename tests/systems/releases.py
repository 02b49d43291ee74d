"""The releases; docs/systems.md names them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Release:
    """A release of Debian, and the laboratory that its tests take.

    Attributes:
        hosts: number of them; the first one is the state host.
        machines: virtual machines with a kernel of their own, else containers.
    """

    hosts: int
    machines: bool


RELEASES = {
    "11": Release(hosts=2, machines=False),
    # Emulated, a second one would double the time.
    "14": Release(hosts=1, machines=True),
}
