"""The lab's network: one bridge in a namespace without uplink, one namespace per host."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from ..core.errors import LabError
from ..core.processes import run
from .addresses import (
    BRIDGE,
    BRIDGE_MAC,
    EDGE_SINK_V4,
    EDGE_SINK_V6,
    GATEWAY_V4,
    GATEWAY_V6,
    INTERNET_GATEWAY_V4,
    INTERNET_GATEWAY_V6,
    INTERNET_V4,
    INTERNET_V6,
    NEIGHBOUR,
    HostAddress,
    local_addresses,
)

#: A command that takes longer never ends.
_SECONDS = 30.0


def _batch(lines: list[str], namespace: str = "") -> None:
    """Runs `ip` once for many commands: a process each would cost seconds with ten hosts."""
    where = ["-n", namespace] if namespace else []
    run(["ip", *where, "-batch", "-"], stdin="\n".join(lines) + "\n", timeout=_SECONDS)


#: Where `ip netns` looks for namespaces; within a lab a file system of its own.
NAMESPACES = Path("/run/netns")


def create_namespace(path: Path) -> None:
    """Makes a network namespace that lives for as long as it is mounted on the file `path`."""
    path.touch()
    run(["unshare", f"--net={path}", "true"])


def inside(path: Path, argv: Sequence[str]) -> list[str]:
    """The command line that runs a program of this machine in a namespace at `path`."""
    return ["nsenter", f"--net={path}", "--", *argv]


def build_bridge() -> None:
    """Makes the bridge with all addresses of the lab's services, in the current namespace."""
    lines = [
        "link set lo up",
        # Otherwise it has the lowest address of its ports, which change at each boot of a host.
        f"link add {BRIDGE} address {BRIDGE_MAC} type bridge",
        f"link set {BRIDGE} up",
    ]
    # Without duplicate address detection: a tentative IPv6 address cannot be bound to yet.
    lines += [
        f"address add {address} dev {BRIDGE} {'nodad' if ':' in address else ''}"
        for address in local_addresses()
    ]
    # A packet to an address that is not here is refused at once instead of vanishing: programs
    # on the hosts that look for the Internet find out quickly.
    lines += ["route add unreachable default", "route add unreachable ::/0"]
    _batch(lines)
    for switch in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        (Path("/proc/sys/net") / switch).write_text("1")


#: Network namespaces of a lab besides the hosts', which are named as they are.
NEIGHBOUR_NAMESPACE = "neighbour"
INTERNET_NAMESPACE = "internet"


def build_neighbour() -> None:
    """Makes the namespace of a machine on the hosts' LAN that is not a host."""
    run(["ip", "netns", "add", NEIGHBOUR_NAMESPACE])
    _attach(NEIGHBOUR_NAMESPACE, "neighbour", NEIGHBOUR)


def build_internet() -> None:
    """Makes the namespace of a machine beyond the gateway, which also holds the edge's sinks."""
    run(["ip", "netns", "add", INTERNET_NAMESPACE])
    _batch(
        [
            f"link add internet type veth peer name eth0 netns {INTERNET_NAMESPACE}",
            f"address add {INTERNET_GATEWAY_V4}/24 dev internet",
            f"address add {INTERNET_GATEWAY_V6}/64 dev internet nodad",
            "link set internet up",
            f"route add {EDGE_SINK_V4} via {INTERNET_V4}",
            f"route add {EDGE_SINK_V6} via {INTERNET_V6}",
        ]
    )
    _batch(
        [
            "link set lo up",
            "link set eth0 up",
            f"address add {INTERNET_V4}/24 dev eth0",
            f"address add {INTERNET_V6}/64 dev eth0 nodad",
            f"address add {EDGE_SINK_V4}/32 dev eth0",
            # Deprecated: the machine does not send from it unless told to.
            f"address add {EDGE_SINK_V6}/128 dev eth0 nodad preferred_lft 0",
            f"route add default via {INTERNET_GATEWAY_V4}",
            f"route add ::/0 via {INTERNET_GATEWAY_V6}",
        ],
        INTERNET_NAMESPACE,
    )


def attach_host(namespace: str, address: HostAddress) -> None:
    """Makes the host's network namespace afresh and connects its eth0 to the bridge.

    Afresh at every boot, as a machine's network is: rules and sysctls do not survive.
    """
    port = f"port{address.index}"
    # Both ends of a pair vanish with either namespace, but the kernel chooses the time: a port
    # that a previous boot left behind is in the way. It may go by itself at any moment, so the
    # result of neither removal counts. The steps after them fail if something is still there.
    _remove(["ip", "netns", "delete", namespace])
    _remove(["ip", "link", "delete", port])
    run(["ip", "netns", "add", namespace], timeout=_SECONDS)
    _attach(namespace, port, address)


def attach_machine(address: HostAddress) -> str:
    """Connects a virtual machine's network card to the bridge; returns the name of its tap device.

    Afresh at every boot; it may be called again after a failure.
    """
    port = f"port{address.index}"
    _remove(["ip", "link", "delete", port])
    _batch([f"tuntap add dev {port} mode tap", f"link set {port} master {BRIDGE} up"])
    return port


def _remove(argv: list[str]) -> None:
    with contextlib.suppress(LabError):
        run(argv, timeout=_SECONDS)


def _attach(namespace: str, port: str, address: HostAddress) -> None:
    """Connects the eth0 of a namespace to the bridge's port, with the gateway as its router."""
    _batch(
        [
            f"link add {port} type veth peer name eth0 address {address.mac} netns {namespace}",
            f"link set {port} master {BRIDGE} up",
        ]
    )
    _batch(
        [
            "link set lo up",
            "link set eth0 up",
            f"address add {address.v4}/24 dev eth0",
            f"address add {address.v6}/64 dev eth0 nodad",
            f"route add default via {GATEWAY_V4}",
            f"route add ::/0 via {GATEWAY_V6}",
        ],
        namespace,
    )


def end_connections(address: HostAddress) -> None:
    """Ends the TCP connections that services and SSH clients have with a host that is gone.

    A machine that shuts down closes its connections; the host's network vanishes before it can.
    If the kernel cannot do this, the peers find out by themselves, later.
    """
    for destination in (address.v4, f"[{address.v6}]"):
        _remove(["ss", "--kill", "--tcp", "dst", destination])
