"""A network of the test's own: a nameless namespace, which goes away with its last user."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

PROXY_GROUP = 54321
"""The group that the proxy runs in, by which the kernel tells its packets from the test's."""

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
# Counts the requests to the kernel, before routing or a filter could prevent anything.
_RULES = f"""
table inet watch {{
    set dialled4 {{ type ipv4_addr . inet_service; flags dynamic; size 4096; }}
    set dialled6 {{ type ipv6_addr . inet_service; flags dynamic; size 4096; }}
    set others {{ type inet_proto . inet_service; flags dynamic; size 4096; }}
    chain output {{
        type filter hook output priority -300; policy accept;
        meta skgid != {PROXY_GROUP} accept
        meta l4proto udp ip daddr 127.0.0.1 udp dport 53 accept
        ip daddr 127.0.0.1 tcp dport 53 accept
        tcp flags & (syn | ack) == syn add @dialled4 {{ ip daddr . tcp dport }}
        tcp flags & (syn | ack) == syn add @dialled6 {{ ip6 daddr . tcp dport }}
        meta l4proto != {{ tcp, icmp, ipv6-icmp }} add @others {{ meta l4proto . th dport }}
    }}
    chain faults {{
        type filter hook output priority 0; policy accept;
        ip daddr 10.0.0.66 tcp flags syn reject with tcp reset
        ip daddr 10.0.0.99 drop
    }}
}}
"""


class Namespace:
    """The addresses that the proxy has tried to reach, as the kernel saw it."""

    REFUSING = "10.0.0.66"
    SILENT = "10.0.0.99"

    def forget(self) -> None:
        """Empty the record."""
        commands = [f"flush set inet watch {name}" for name in ("dialled4", "dialled6", "others")]
        subprocess.run(["nft", "; ".join(commands)], check=True)

    def dialled(self) -> set[str]:
        """The destinations of all TCP connections tried, and any other packets that were sent."""
        listed = subprocess.run(
            ["nft", "--json", "list", "table", "inet", "watch"], check=True, capture_output=True
        ).stdout
        found = set()
        for item in json.loads(listed)["nftables"]:
            for element in item.get("set", {}).get("elem", []):
                found.add(":".join(str(part) for part in element["concat"]))
        return found

    def vanish(self, port: int) -> None:
        """Drop all packets to this TCP *port*, and all from there."""
        rules = (
            "add chain inet watch lost { type filter hook input priority 0; policy accept; }\n"
            f"add rule inet watch lost tcp dport {port} drop\n"
            f"add rule inet watch lost tcp sport {port} drop\n"
        )
        subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)

    def silence(self, address: str) -> None:
        """Drop all packets to *address*, as a machine that is switched off does."""
        rules = (
            "add chain inet watch silent { type filter hook output priority 0; policy accept; }\n"
            f"add rule inet watch silent ip daddr {address} drop\n"
        )
        subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)

    def end_silence(self) -> None:
        """Undo :meth:`silence` for all addresses."""
        subprocess.run(["nft", "flush chain inet watch silent"], check=True)

    def refuse(self, address: str, kind: str) -> None:
        """Give *address* a route of a *kind* that leads nowhere (ip-route(8))."""
        subprocess.run(["ip", "route", "add", kind, address], check=True)

    def reset(self, port: int) -> None:
        """Reset each connection to this TCP *port* with its last packet of the handshake."""
        rules = (
            "add chain inet watch resets { type filter hook output priority 0; policy accept; }\n"
            f"add rule inet watch resets tcp dport {port} tcp flags & (syn | ack) == ack "
            "reject with tcp reset\n"
        )
        subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)

    def resolver(self, directory: Path, hosts: str) -> tuple[str, ...]:
        """A command that runs another with 127.0.0.1 as its only name server.

        *hosts* is its /etc/hosts. The files are laid over the machine's in a mount namespace that
        no other process sees and that ends with the command.
        """
        contents = {
            "resolv.conf": "nameserver 127.0.0.1\nsearch corp.test\noptions timeout:5 attempts:1\n",
            "hosts": hosts,
            "nsswitch.conf": "hosts: files dns\n",
        }
        for name, content in contents.items():
            (directory / name).write_text(content)
        mounts = " && ".join(f'mount --bind "$0/{name}" /etc/{name}' for name in contents)
        become = f"setpriv --regid {PROXY_GROUP} --clear-groups"
        script = f'{mounts} && exec {become} "$@"'
        return ("unshare", "--mount", "sh", "-c", script, str(directory))


@contextlib.contextmanager
def own_network(*addresses: str) -> Iterator[Namespace]:
    """Move this thread, and what it starts, into a network with only a loopback interface.

    The interface has all of *addresses*: packets to any of them arrive, and nothing can leave.
    """
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        _call("unshare", _CLONE_NEWNET)
        try:
            lines = [f"address add {address}/32 dev lo" for address in addresses]
            # No route for the rest: a destination without an address here is refused at once.
            batch = "\n".join(["link set lo up", *lines, ""])
            subprocess.run(["ip", "-batch", "-"], input=batch, text=True, check=True)
            subprocess.run(["nft", "-f", "-"], input=_RULES, text=True, check=True)
            yield Namespace()
        finally:
            _call("setns", before, _CLONE_NEWNET)
    finally:
        os.close(before)


def _call(name: str, *arguments: int) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
