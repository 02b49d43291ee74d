"""The lab's resolver: the tunnel edge's names as in the world, the lab's own, and no others."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Mapping, Sequence

from ..core.services import Service, Site
from .addresses import EDGE_PORT, EDGE_REGIONS, GATEWAY_V4, GATEWAY_V6

_EDGE_SRV = "_v2-origintunneld._tcp.argotunnel.com"
#: Vendor behaviour: cloudflared with `--protocol auto` takes the protocol from this record.
_PROTOCOL_TXT = (
    "protocol-v2.argotunnel.com",
    '[{"protocol":"quic","percentage":100},{"protocol":"http2","percentage":0}]',
)
#: Vendor behaviour: percentages of optional features; none are switched on.
_FEATURES_TXT = ("cfd-features.argotunnel.com", "{}")


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def configuration(names: Mapping[str, Sequence[str]]) -> str:
    """dnsmasq's configuration file for these names besides the edge's."""
    lines = [
        "no-resolv",
        "no-hosts",
        # Not "no-daemon": with it, a TCP client that stays keeps everybody else waiting.
        "keep-in-foreground",
        "pid-file=",
        "user=root",  # of the lab's namespaces; it has nothing to protect and writes nothing
        "bind-interfaces",
        f"listen-address={GATEWAY_V4},{GATEWAY_V6}",
        # Any other name does not exist, and the answer comes at once.
        "address=/#/",
    ]
    for name, addresses in {**EDGE_REGIONS, **names}.items():
        lines += [f"host-record={name},{address}" for address in addresses]
    for region in EDGE_REGIONS:
        lines.append(f"srv-host={_EDGE_SRV},{region},{EDGE_PORT},1,1")
    for name, text in (_PROTOCOL_TXT, _FEATURES_TXT):
        lines.append(f"txt-record={name},{_quoted(text)}")
    return "\n".join(lines) + "\n"


def _answers() -> bool:
    """Whether a question for one of the edge's names is answered."""
    question = b"".join(
        bytes([len(label)]) + label.encode() for label in next(iter(EDGE_REGIONS)).split(".")
    )
    query = struct.pack(">6H", os.getpid() & 0xFFFF, 0x0100, 1, 0, 0, 0) + question
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.2)
        sock.connect((GATEWAY_V4, 53))
        sock.send(query + b"\0" + struct.pack(">2H", 1, 1))
        answer = sock.recv(512)
    return len(answer) > 12 and answer[7] > 0


def service(site: Site, names: Mapping[str, Sequence[str]]) -> Service:
    """The resolver of this lab."""
    config = site.directory("dns") / "dnsmasq.conf"
    config.write_text(configuration(names))
    return Service(
        name="dns", argv=("dnsmasq", f"--conf-file={config}", "--log-facility=-"), ready=_answers
    )
