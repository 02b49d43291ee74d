"""Packets that a raw socket sends."""

from __future__ import annotations

import ipaddress
import struct

_TCP = 6
_PUSH_AND_ACK = 0x18


def echo_request(address: str, number: int, payload: bytes) -> bytes:
    """Return ICMP's for an IPv4 address, else ICMPv6's, whose checksum the kernel fills in."""
    if ":" in address:
        return struct.pack(">BBHHH", 128, 0, 0, number, 1) + payload
    checked = _checksum(struct.pack(">BBHHH", 8, 0, 0, number, 1) + payload)
    return struct.pack(">BBHHH", 8, 0, checked, number, 1) + payload


def segment(source: str, source_port: int, address: str, port: int, payload: bytes) -> bytes:
    """Return a TCP segment from the middle of a connection."""
    ends = ipaddress.ip_address(source).packed + ipaddress.ip_address(address).packed
    length = 20 + len(payload)
    pseudo = ends + struct.pack(
        ">LL" if ":" in address else ">HH", *((length, _TCP) if ":" in address else (_TCP, length))
    )

    def header(checksum: int) -> bytes:
        return struct.pack(
            ">HHLLBBHHH", source_port, port, 1, 1, 5 << 4, _PUSH_AND_ACK, 512, checksum, 0
        )

    return header(_checksum(pseudo + header(0) + payload)) + payload


def _checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    padded = data + b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
