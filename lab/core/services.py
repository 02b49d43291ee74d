"""The services that run beside the hosts, and how a part of the lab is plugged in.

A *part* (DNS, edge, MCP servers, …) is a function from :class:`Site` to :class:`Plan`. It
is called once per lab, in the supervisor, inside the lab's namespaces and before any host
boots: it may write files below ``site.directory(<part>)``, and says in its plan what the
supervisor has to start. Add it to :func:`lab.supervision.parts.parts`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Service:
    """One process in the lab's network namespace.

    It is started once and never restarted: if it ends, ``lab status`` says so. It gets
    SIGTERM when the lab ends and SIGKILL two seconds later, together with all it started.

    Attributes:
        name: unique; its output goes to ``logs/<name>.log``.
        argv: program and arguments, no secrets (``ps`` shows them).
        env: added to a minimal environment (PATH, LANG, PYTHONPATH).
        ready: asked every 20 ms from within the namespace until it returns true; an
            ``OSError`` counts as false. None: ready at once.
        ready_timeout: seconds until the lab gives up.
        front_doors: names out of :data:`FRONT_DOORS` whose listening sockets it inherits.
            The descriptor's number is in the environment as ``LAB_FD_<NAME>`` (upper case).
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    ready: Callable[[], bool] | None = None
    ready_timeout: float = 120.0
    front_doors: Sequence[str] = ()


#: Listening sockets on the machine's own loopback, made before the namespace is entered, so
#: that a program on the machine can reach a service inside. In lab.json: ``<name>_front``.
FRONT_DOORS: tuple[str, ...] = ("edge",)


@dataclass(frozen=True)
class Site:
    """A part's view of the lab that it is planned for.

    Attributes:
        name: the lab's name.
        run_dir: the lab's run directory; removed when the lab ends.
        fronts: front door -> ``127.0.0.1:PORT`` on the machine.
    """

    name: str
    run_dir: Path
    fronts: Mapping[str, str]

    def directory(self, part: str) -> Path:
        """The part's own directory (0700), made on first use."""
        path = self.run_dir / part
        path.mkdir(mode=0o700, exist_ok=True)
        return path


@dataclass(frozen=True)
class Plan:
    """A part's needs, which the supervisor meets.

    Attributes:
        services: started in order, each once the one before it is ready.
        facts: merged into lab.json; no secrets, paths of files that hold them instead.
        variables: of all hosts in the inventories, as an operator of this tunnel would write them.
        modes: the same, for one value of mcp_tunnel_mode: each has an inventory of its own.
        names: DNS name -> addresses, answered by the lab's resolver.
        trusted_cas: PEM texts that every host's system trust store holds.
    """

    services: Sequence[Service] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, Any] = field(default_factory=dict)
    modes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    trusted_cas: Sequence[str] = ()


def python_service(module: str, *arguments: str) -> tuple[str, ...]:
    """The argv of a service that is a module of this package's environment."""
    return (sys.executable, "-m", module, *arguments)
