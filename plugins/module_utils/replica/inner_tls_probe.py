# Copyright: the mcp_tunnels.stack authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One HTTP request through the inner TLS of this host's proxy, as the tunnel's other end makes it.

It uses only the standard library: the check must work on a host whose release is broken.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import socket
import ssl
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

# RFC 6455 sections 1.3, 5.2 and 5.5.
_ACCEPT_KEY = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_BINARY, _CONTINUATION, _CLOSE, _PING, _PONG = 0x2, 0x0, 0x8, 0x9, 0xA
# The proxy lets no upstream speak in its name.
_PROXY_STATUS = re.compile(rb"\r\nproxy-status: *mcp-proxy; *error=([a-z_]+)", re.IGNORECASE)
# The option of the route that has refused the request (docs/proxy.md).
_OPTION = re.compile(rb'; *details="([a-z_]{1,40})"')
# RFC 9110 section 8.6: these say that they have none.
_NO_CONTENT = dict.fromkeys(("PATCH", "POST", "PUT"), "Content-Length: 0\r\n")
_MAX_HEAD = 65536
_MAX_BODY = 512

_Result = TypeVar("_Result")


class ProbeError(Exception):
    """A failed probe, in the words of the operator; ``layer`` is ``proxy`` or ``inner TLS``."""

    def __init__(self, layer: str, text: str) -> None:
        super().__init__(text)
        self.layer = layer


@dataclass(frozen=True)
class Answer:
    """An HTTP answer: its status, and the beginning of its content.

    ``proxy_error`` is the type of the error that the proxy names in ``Proxy-Status`` (RFC 9209
    section 2.3), empty if the answer is the upstream's. ``option``: the option of the route for
    which the proxy has given it, such as ``maintenance``; empty if there is none.
    """

    status: int
    body: bytes
    proxy_error: str = ""
    option: str = ""


@dataclass(frozen=True)
class Wanted:
    """What to ask a route for: a ``method`` and a ``path`` that its options allow.

    ``refused_by``: the option that allows nothing which could be asked for; empty if there is none.
    """

    method: str = "GET"
    path: str = "/"
    refused_by: str = ""


class _WebSocket:
    """A byte stream in binary messages over the proxy's plain WebSocket listener."""

    def __init__(self, port: int, timeout: float, check: Callable[[socket.socket], None]) -> None:
        try:
            self._socket = socket.create_connection(("127.0.0.1", port), timeout)
        except OSError as error:
            raise ProbeError("proxy", f"127.0.0.1:{port}: {error.strerror or error}") from error
        self._buffer = b""
        try:
            check(self._socket)
            self._upgrade(port)
        except OSError as error:
            self.close()
            raise ProbeError("proxy", f"127.0.0.1:{port}: {error.strerror or error}") from error
        except BaseException:
            self.close()
            raise

    def send(self, data: bytes, opcode: int = _BINARY) -> None:
        mask = os.urandom(4)
        size = len(data)
        if size < 126:
            header = struct.pack("!BB", 0x80 | opcode, 0x80 | size)
        else:  # the TLS records of one small request never need the 64-bit form
            header = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, size)
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))
        self._socket.sendall(header + mask + masked)

    def receive(self) -> bytes:
        """The content of the next data frame, b'' at the end."""
        while True:
            first, second = self._take(2)
            size = second & 0x7F
            if size == 126:
                size = int.from_bytes(self._take(2), "big")
            elif size == 127:
                size = int.from_bytes(self._take(8), "big")
            content = self._take(size)
            opcode = first & 0x0F
            if opcode == _PING:
                self.send(content, _PONG)
            elif opcode == _CLOSE:
                return b""
            elif opcode in (_BINARY, _CONTINUATION) and content:
                return content

    def close(self) -> None:
        self._socket.close()

    def _upgrade(self, port: int) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        lines = ["GET / HTTP/1.1", f"Host: 127.0.0.1:{port}", "Upgrade: websocket"]
        lines += ["Connection: Upgrade", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}"]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
        while b"\r\n\r\n" not in self._buffer and len(self._buffer) < _MAX_HEAD:
            self._fill()
        head, _end, self._buffer = self._buffer.partition(b"\r\n\r\n")
        digest = hashlib.sha1((key + _ACCEPT_KEY).encode()).digest()  # noqa: S324  (RFC 6455)
        if not head.startswith(b"HTTP/1.1 101 ") or base64.b64encode(digest) not in head:
            first = head.split(b"\r\n")[0].decode("latin-1")
            raise ProbeError("proxy", f"no WebSocket on 127.0.0.1:{port}: answered {first!r}")

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._fill()
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def _fill(self) -> None:
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionResetError("the proxy closed the connection")
        self._buffer += data


class _InnerTls:
    """The TLS client inside the WebSocket. Verifies the server's certificate and name."""

    def __init__(self, carrier: _WebSocket, hostname: str, ca_certificate: str) -> None:
        self._carrier = carrier
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.create_default_context(cadata=ca_certificate)
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=hostname)
        self._drive(self._tls.do_handshake)

    def send(self, data: bytes) -> None:
        self._tls.write(data)
        self._flush()

    def receive(self) -> bytes:
        """The data that arrives next, b'' at the end of the stream."""
        try:
            return self._drive(lambda: self._tls.read(65536))
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return b""

    def _drive(self, step: Callable[[], _Result]) -> _Result:
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                self._flush()
                data = self._carrier.receive()
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            else:
                self._flush()
                return result

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data:
            self._carrier.send(data)


def request(
    port: int,
    hostname: str,
    ca_certificate: str,
    check: Callable[[socket.socket], None],
    wanted: Wanted = Wanted(),
    timeout: float = 10.0,
) -> Answer:
    """Requests what is *wanted* of *hostname* through the proxy's listener on *port* of loopback.

    :param ca_certificate: PEM; the proxy's certificate must be signed by it.
    :param check: raises if the connection, to which nothing was said yet, is not the proxy's.
    :raises ProbeError: when no HTTP answer came.
    """
    carrier = _WebSocket(port, timeout, check)
    try:
        tls = _InnerTls(carrier, hostname, ca_certificate)
        tls.send(
            f"{wanted.method} {wanted.path} HTTP/1.1\r\nHost: {hostname}\r\n"
            "User-Agent: mcp-tunnel-health\r\nAccept: */*\r\nConnection: close\r\n"
            f"{_NO_CONTENT.get(wanted.method, '')}\r\n".encode()
        )
        return _read_answer(tls)
    except ssl.SSLCertVerificationError as error:
        raise ProbeError(
            "inner TLS", f"the proxy's certificate: {error.verify_message or error.reason}"
        ) from error
    except ssl.SSLError as error:
        raise ProbeError("inner TLS", f"handshake failed: {error.reason or error}") from error
    except (OSError, ValueError) as error:
        raise ProbeError("inner TLS", str(error) or type(error).__name__) from error
    finally:
        carrier.close()


def _read_answer(tls: _InnerTls) -> Answer:
    data = b""
    while b"\r\n\r\n" not in data and len(data) < _MAX_HEAD:
        more = tls.receive()
        if not more:
            break
        data += more
    head, _end, body = data.partition(b"\r\n\r\n")
    words = head.split(b"\r\n")[0].split(b" ")
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        raise ValueError("the answer is not HTTP")
    status = int(words[1])
    error, option = _of_the_proxy(head)
    # Only the proxy's own content is worth waiting for: an upstream's may be a stream without end.
    while error and len(body) < _MAX_BODY:
        try:
            more = tls.receive()
        except OSError:
            break  # the status counts, and is known
        if not more:
            break
        body += more
    return Answer(status, body[:_MAX_BODY], error, option)


def _of_the_proxy(head: bytes) -> tuple[str, str]:
    """The error that the proxy names, and the option of the route; empty if there is none."""
    found = _PROXY_STATUS.search(head)
    if not found:
        return "", ""
    option = _OPTION.match(head, found.end())
    return found[1].decode(), option[1].decode() if option else ""
