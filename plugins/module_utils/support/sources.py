# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sources of an archive: each has a name in it, and says how it is read.

The small things that most cases need come first, journals last: the archive may be full by then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.core.errors import TunnelError
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall.files import (
    CONNECTIONS,
    COUNTERS,
    UNIT,
    RuleFiles,
)
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall.table import NFT, TABLE
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.host import loopback
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica import deployed
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.replica.releases import ROOT
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.support import bounded, hashes
from ansible_collections.mcp_tunnels.stack.plugins.module_utils.support.redaction import redacted

# Bytes of one source. A journal of that size is some 10,000 lines.
_MOST = 1024 * 1024
_JOURNAL_LINES = 10_000
_SECONDS = 20.0
_COMMAND = ROOT / "proxy/current/bin/mcp-tunnel"
_MARK = "mcp_tunnel refused"
# cloudflared's own diagnostics, which its `tunnel diag` collects from the same addresses; see
# docs/support.md for the reasons why that command is not run.
_OF_CLOUDFLARED = {
    "ready.json": "/ready",
    "ingress.json": "/config",
    "metrics.txt": "/metrics",
    "diag-configuration.json": "/diag/configuration",
    "diag-system.json": "/diag/system",
    "diag-tunnel.json": "/diag/tunnel",
    "goroutines.txt": "/debug/pprof/goroutine?debug=1",
}
_HOST_COMMANDS = {
    "kernel.txt": "uname -a",
    "uptime.txt": "uptime",
    "time.txt": "timedatectl show",
    "time-sync.txt": "timedatectl timesync-status",
    "chrony.txt": "chronyc -n tracking",
    "resolved.txt": "resolvectl status",
    "addresses.txt": "ip -brief address",
    "routes.txt": "ip route",
    "listeners.txt": "ss -Hltnp",
    "disks.txt": "df --human-readable --print-type",
    "inodes.txt": "df --inodes",
    "memory.txt": "free --mebi",
    "systemd.txt": "systemctl --version",
    "failed-units.txt": "systemctl list-units --failed --no-pager",
    "timers.txt": "systemctl list-timers mcp-* --all --no-pager",
}
_HOST_FILES = ("/etc/os-release", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/hosts")
_OF_INSTANCE = (
    *("proxy.yaml", "required-routes.json", "cloudflared.env", "members.json"),
    *("ca.crt", "tls/tls.crt", "drained", "returning", "renewal/ssh_config", "renewal/known_hosts"),
)


class LeftOut(Exception):
    """There is nothing to put in; the text says why."""


@dataclass(frozen=True)
class Content:
    """The content of a source; *note* is said about it in the manifest."""

    data: bytes
    note: str = ""


@dataclass(frozen=True)
class Source:
    """A file of the archive: its name, how it is made, and the function that makes it.

    The function gets the seconds that are left, and raises :class:`LeftOut`.
    """

    name: str
    how: str
    read: Callable[[float], Content]


def sources(instances: Sequence[str]) -> Iterator[Source]:
    """Everything about this host and these instances of it."""
    command = [str(_COMMAND), "status", "--json"]
    command += [word for name in instances for word in ("--instance", name)]
    # Status 1 says that something does not work, which is why somebody collects this.
    yield _program("status.json", command, good=(0, 1))
    # Not ours, and without settings: `passwd: files` of nsswitch.conf is no password.
    yield from (_file(f"host{path}", Path(path), is_ours=False) for path in _HOST_FILES)
    yield from (_program(f"host/{name}", line.split()) for name, line in _HOST_COMMANDS.items())
    yield from _firewall(instances)
    for instance in instances:
        yield from _instance(instance)
    for unit in (f"{COUNTERS}.timer", f"{COUNTERS}.service", CONNECTIONS, UNIT):
        yield from _unit(unit)
    units = [unit for instance in instances for unit in _units(instance)]
    for unit in units:
        yield from _unit(unit)
    yield Source("host/sha256.txt", "SHA-256 of programs, units and rules", _hashes)
    yield _refusals()
    yield from map(_journal, (UNIT, f"{COUNTERS}.service", CONNECTIONS, *units))


def _hashes(seconds: float) -> Content:
    found = hashes.lines(min(seconds, _SECONDS), _MOST)
    if not found:
        raise LeftOut("there are no files")
    return Content("".join(f"{line}\n" for line in found).encode("utf-8", "backslashreplace"))


def _firewall(instances: Sequence[str]) -> Iterator[Source]:
    files = RuleFiles()
    yield _program("firewall/table.nft", [NFT, "list", "table", *TABLE])
    yield _file("firewall/host.nft", files.host_path)
    for instance in instances:
        yield _file(f"firewall/{instance}.nft", files.instance_path(instance))


def _instance(instance: str) -> Iterator[Source]:
    place = f"instances/{instance}"
    directory = deployed.CONFIGURATIONS / instance
    yield from (_file(f"{place}/{name}", directory / name) for name in _OF_INSTANCE)
    proxy, connector = deployed.proxy_unit(instance), deployed.cloudflared_unit(instance)
    admin, metrics = (
        partial(deployed.admin_port, instance),
        partial(deployed.metrics_port, instance),
    )
    yield _page(f"{place}/proxy/ready.txt", admin, "/readyz", proxy)
    yield _page(f"{place}/proxy/metrics.txt", admin, "/metrics", proxy)
    for name, path in _OF_CLOUDFLARED.items():
        yield _page(f"{place}/cloudflared/{name}", metrics, path, connector)


def _units(instance: str) -> list[str]:
    renewal, signing = f"mcp-tunnel-renew-cert@{instance}", f"mcp-tunnel-signing-{instance}"
    return [
        deployed.proxy_unit(instance),
        f"mcp-proxy@{instance}.socket",
        deployed.cloudflared_unit(instance),
        f"{renewal}.timer",
        f"{renewal}.service",
        f"{signing}.socket",
        # One of a kind for each question: the template is what all of them have.
        f"{signing}@.service",
    ]


def _unit(unit: str) -> Iterator[Source]:
    place = f"units/{unit}"
    if "@." not in unit:
        command = ["systemctl", "show", "--all", unit]
        yield _program(f"{place}/show.txt", command, is_configuration=True)
    yield _program(f"{place}/cat.txt", ["systemctl", "cat", unit], is_configuration=True)
    if unit.endswith(".service"):
        command = ["systemd-analyze", "security", "--no-pager", unit]
        yield _program(f"{place}/security.txt", command)


def _journal(unit: str) -> Source:
    pattern = unit.replace("@.", "@*.")
    command = ["journalctl", f"--unit={pattern}", *_newest_first("short-iso-precise")]
    return Source(f"journals/{unit}.txt", " ".join(command), partial(_read_newest, command, (0,)))


def _refusals() -> Source:
    command = ["journalctl", "--dmesg", f"--grep={_MARK}", *_newest_first("short-iso-precise")]
    # Status 1 is that of grep, where it finds nothing.
    read = partial(_read_newest, command, (0, 1))
    return Source("journals/refusals.txt", " ".join(command), read)


def _newest_first(form: str) -> list[str]:
    return [f"--output={form}", f"--lines={_JOURNAL_LINES}", "--reverse", "--no-pager", "--quiet"]


def _program(
    name: str, command: list[str], good: tuple[int, ...] = (0,), is_configuration: bool = False
) -> Source:
    def read(seconds: float) -> Content:
        done = _ran(command, seconds, good)
        if not done.output:
            raise LeftOut("nothing was said")
        note = f"cut after {_MOST} bytes" if done.cut else ""
        return _cleaned(done.output, note) if is_configuration else Content(done.output, note)

    return Source(name, " ".join(command), read)


def _read_newest(command: list[str], good: tuple[int, ...], seconds: float) -> Content:
    """The lines of a journal in their order; where there are too many, the oldest are cut off."""
    done = _ran(command, seconds, good)
    lines = done.output.splitlines(keepends=True)
    note = ""
    if done.cut:
        note, lines = f"the newest {_MOST} bytes", lines[:-1]
    elif len(lines) >= _JOURNAL_LINES:
        note = f"the newest {_JOURNAL_LINES} lines"
    if not lines:
        raise LeftOut("there are no lines")
    return Content(b"".join(reversed(lines)), note)


def _ran(command: list[str], seconds: float, good: tuple[int, ...]) -> bounded.Done:
    done = bounded.run(command, min(seconds, _SECONDS), _MOST)
    if done.problem:
        raise LeftOut(done.problem)
    if done.status not in (*good, None):
        said = done.output.decode("utf-8", "replace").strip().splitlines()
        raise LeftOut(f"status {done.status}: {said[-1] if said else 'nothing was said'}")
    return done


def _file(name: str, path: Path, is_ours: bool = True) -> Source:
    def read(_seconds: float) -> Content:
        try:
            # Also through a link: resolv.conf often is one.
            with path.open("rb") as file:
                content = file.read(_MOST + 1)
        except OSError as error:
            raise LeftOut(error.strerror or str(error)) from None
        note = f"cut after {_MOST} bytes" if len(content) > _MOST else ""
        return _cleaned(content[:_MOST], note) if is_ours else Content(content[:_MOST], note)

    return Source(name, str(path), read)


def _page(name: str, port: Callable[[], int], path: str, unit: str) -> Source:
    def read(_seconds: float) -> Content:
        try:
            status, body = loopback.get(port(), path, unit, _MOST)
        except (TunnelError, loopback.Stranger) as error:
            raise LeftOut(str(error)) from None
        if status == 404:
            raise LeftOut(f"this release of {unit} has no {path} (HTTP 404)")
        if not status:
            raise LeftOut(f"{unit} does not answer: {body}")
        return Content(body.encode(), "" if status == 200 else f"HTTP {status}")

    return Source(name, f"GET {path} of {unit}", read)


def _cleaned(content: bytes, note: str) -> Content:
    text, count = redacted(content.decode("utf-8", "replace"))
    notes = [note, f"{count} values redacted" if count else ""]
    return Content(text.encode(), "; ".join(filter(None, notes)))
