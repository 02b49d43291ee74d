"""One request on an HTTP/1.1 connection, and the framing of its response (RFC 9112 §6)."""

from __future__ import annotations

from typing import Protocol

from ..http.messages import BODILESS_STATUSES, Headers, RequestHandler, RequestHead, ResponseHead


class Http1Output(Protocol):
    """The connection, as far as a response on it needs to know."""

    draining: bool
    """Whether the connection closes after what is in flight."""

    @property
    def room(self) -> int:
        """See :class:`http.messages.ClientStream`."""

    def write(self, *parts: bytes) -> None:
        """Add to the output."""

    def write_head(self, status: int, fields: Headers) -> None:
        """Write a response head."""

    def switch(self) -> None:
        """Switch the protocol: from now on, no byte in either direction is HTTP."""

    def set_held(self, held: bool) -> None:
        """Whether the request in front takes no more content for now."""

    def advance(self) -> None:
        """Go on to the next request if the one in front is answered and complete."""

    def cut(self) -> None:
        """Give the connection up at once."""


class Http1Stream:
    """One request and its response. Implements :class:`http.messages.ClientStream`."""

    complete = False
    answered = False
    paused = False
    discarded = 0
    head_sent = False
    continued = False
    _chunked = False
    _bodiless = False

    def __init__(self, output: Http1Output, head: RequestHead, keep_alive: bool) -> None:
        self.head = head
        self.handler: RequestHandler | None = None  # mypyc sets no such default for a protocol
        self.keep_alive = keep_alive
        self.early: list[bytes] = []  # content that came before its turn
        self.trailers: Headers = []
        self._output = output

    @property
    def room(self) -> int:
        """See :class:`http.messages.ClientStream`."""
        return self._output.room

    def send_interim(self, status: int, headers: Headers) -> None:
        """Pass on an interim response; HTTP/1.0 knows none (RFC 9110 §15.2)."""
        if self.head.http_version != "1.0":
            self.continued = True
            self._output.write_head(status, headers)

    def send_head(self, head: ResponseHead) -> None:
        """Send the head, with the framing that the request's method and version allow."""
        self.head_sent = True
        if head.status == 101:
            self._switch(head.headers)
            return
        fields = list(head.headers)
        bodiless = self.head.method == b"HEAD" or head.status in BODILESS_STATUSES
        self._bodiless = bodiless
        if head.length is not None:
            if head.status != 204:
                fields.append((b"Content-Length", b"%d" % head.length))
        elif not bodiless:
            if self.head.http_version == "1.0":
                self.keep_alive = False
            else:
                self._chunked = True
                fields.append((b"Transfer-Encoding", b"chunked"))
        if not self.complete and not self.continued and _expects_continue(self.head):
            # The client may or may not send the content now: the bytes that follow are ambiguous.
            self.keep_alive = False
        if self._output.draining:
            self.keep_alive = False
        if not self.keep_alive:
            fields.append((b"Connection", b"close"))
        self._output.write_head(head.status, fields)

    def _switch(self, headers: Headers) -> None:
        """From here on the connection is a tunnel, and ends with it (RFC 9110 §7.8)."""
        self.keep_alive = False
        fields = [*headers, (b"Connection", b"Upgrade"), (b"Upgrade", self.head.upgrade)]
        self._output.write_head(101, fields)
        self._output.switch()

    def send_body(self, data: bytes) -> None:
        """Send content."""
        if self._bodiless or not data:
            return
        if self._chunked:
            self._output.write(b"%x\r\n" % len(data), data, b"\r\n")
        else:
            self._output.write(data)

    def send_end(self, trailers: Headers) -> None:
        """End the response; trailers exist only in chunked coding (RFC 9112 §7.1.2)."""
        if self._chunked:
            lines = [b"0\r\n"]
            for name, value in trailers:
                lines += (name, b": ", value, b"\r\n")
            lines.append(b"\r\n")
            self._output.write(b"".join(lines))
        self.answered = True
        self.handler = None
        self._output.set_held(False)  # the rest may come in at any speed now
        self._output.advance()

    def abort(self) -> None:
        """Cut the connection: HTTP/1.1 has no other sign of an incomplete response."""
        self.handler = None
        self._output.cut()

    def hold(self) -> None:
        """Take no more content."""
        self._output.set_held(True)

    def release(self) -> None:
        """Take content again."""
        self._output.set_held(False)


def _expects_continue(head: RequestHead) -> bool:
    return any(
        name.lower() == b"expect" and value.strip().lower() == b"100-continue"
        for name, value in head.headers
    )
