"""Finds the tunnel edge: one SRV record, then the addresses of its targets.

Vendor behaviour: SRV `_v2-origintunneld._tcp.argotunnel.com` names two regions; each region's
addresses are shared out among the connections. The standard library resolves addresses but not
SRV or TXT, hence the few lines of RFC 1035 here.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import struct
from dataclasses import dataclass

from async_timeout import timeout

SRV_NAME = "_v2-origintunneld._tcp.argotunnel.com"
PROTOCOL_NAME = "protocol-v2.argotunnel.com"
_TXT, _SRV = 16, 33
_TIMEOUT = 5.0
_RESOLV_CONF = "/etc/resolv.conf"


class LookupFailed(OSError):
    """A name of the edge could not be looked up."""


@dataclass(frozen=True)
class Address:
    """One place where the edge can be dialled."""

    host: str
    port: int
    family: socket.AddressFamily


async def edge_addresses(static: tuple[str, ...], ip_version: str) -> list[Address]:
    """Return the edge's addresses, regions alternating. Raises LookupFailed."""
    if static:
        targets = [
            (host.strip("[]"), int(port)) for host, _, port in (e.rpartition(":") for e in static)
        ]
        found = [(await _resolve(host, port, "auto"))[:1] for host, port in targets]
        return [address for region in found for address in region]
    regions = [await _resolve(host, port, ip_version) for host, port in await _srv()]
    if not any(regions):
        raise LookupFailed(f"{SRV_NAME} has no address of IP version {ip_version}")
    longest = max(len(region) for region in regions)
    return [r[i] for i in range(longest) for r in regions if i < len(r)]


async def preferred_protocol() -> str:
    """Return the protocol that the edge steers `--protocol auto` to. Raises LookupFailed."""
    for data, start, length in await _query(PROTOCOL_NAME, _TXT):
        text, at = b"", start
        while at < start + length:
            text += data[at + 1 : at + 1 + data[at]]
            at += 1 + data[at]
        shares = {entry["protocol"]: entry["percentage"] for entry in json.loads(text)}
        return str(max(shares, key=lambda name: shares[name]))
    return "quic"


async def _srv() -> list[tuple[str, int]]:
    records = []
    for data, start, _ in await _query(SRV_NAME, _SRV):
        priority, weight, port = struct.unpack_from(">HHH", data, start)
        records.append((priority, -weight, _name(data, start + 6)[0], port))
    if not records:
        raise LookupFailed(f"no SRV record at {SRV_NAME}")
    return [(host, port) for _, _, host, port in sorted(records)]


async def _resolve(host: str, port: int, ip_version: str) -> list[Address]:
    family = {"4": socket.AF_INET, "6": socket.AF_INET6}.get(ip_version, socket.AF_UNSPEC)
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise LookupFailed(f"lookup {host}: {error.strerror}") from error
    # With `auto` the vendor's connector starts with IPv4 if there is any.
    found.sort(key=lambda item: item[0] != socket.AF_INET)
    first = found[0][0]
    return [Address(str(sa[0]), int(sa[1]), fam) for fam, _, _, _, sa in found if fam == first]


async def _query(name: str, kind: int) -> list[tuple[bytes, int, int]]:
    """Ask the first name server; return (message, offset, length) of each matching record."""
    ident = secrets.randbits(16)
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    question = (
        struct.pack(">HHHHHH", ident, 0x0100, 1, 0, 0, 0) + labels + struct.pack(">BHH", 0, kind, 1)
    )
    server = _name_server()
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        try:
            await loop.sock_connect(sock, (server, 53))
            async with timeout(_TIMEOUT):
                await loop.sock_sendall(sock, question)
                data = await loop.sock_recv(sock, 4096)
        except (OSError, asyncio.TimeoutError) as error:
            raise LookupFailed(f"lookup {name} on {server}:53: {error or 'i/o timeout'}") from error
    answer_id, flags, questions, answers = struct.unpack_from(">HHHH", data)
    if answer_id != ident or flags & 0x000F:
        raise LookupFailed(f"lookup {name} on {server}:53: no such host")
    at = 12
    for _ in range(questions):
        at = _name(data, at)[1] + 4
    records = []
    for _ in range(answers):
        at = _name(data, at)[1]
        found, _, _, length = struct.unpack_from(">HHIH", data, at)
        if found == kind:
            records.append((data, at + 10, length))
        at += 10 + length
    return records


def _name(data: bytes, at: int) -> tuple[str, int]:
    """Return the domain name at `at` and the offset behind it (RFC 1035 §4.1.4)."""
    parts: list[str] = []
    behind: int | None = None
    while data[at]:
        if data[at] & 0xC0 == 0xC0:
            behind = behind if behind is not None else at + 2
            at = struct.unpack_from(">H", data, at)[0] & 0x3FFF
            continue
        parts.append(data[at + 1 : at + 1 + data[at]].decode("ascii"))
        at += 1 + data[at]
    return ".".join(parts), behind if behind is not None else at + 1


def _name_server() -> str:
    try:
        with open(_RESOLV_CONF, encoding="ascii", errors="replace") as file:
            for line in file:
                words = line.split()
                if len(words) > 1 and words[0] == "nameserver":
                    return words[1]
    except OSError:
        pass
    return "127.0.0.1"
