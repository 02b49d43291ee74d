"""HTTP/1.1 towards an upstream (RFC 9112), sans-IO: reads the responses of one connection."""

from __future__ import annotations

import re
from typing import Final, Protocol

import httptools

from ..http.forwarding import tokens
from ..http.messages import BODILESS_STATUSES, MAX_LENGTH, Headers, ResponseHead

_TIMEOUT: Final = re.compile(rb"(?:^|,)\s*timeout=([0-9]{1,9})\s*(?:,|\Z)", re.IGNORECASE)
"""In ``Keep-Alive``: the seconds for which the peer keeps an idle connection (RFC 2068 §19.7.1)."""

MAX_HEAD: Final = 1 << 17
"""Bytes of a response's head, or of its trailers, at most."""

MAX_FIELDS: Final = 1000
"""Fields of a head or of trailers, at most: of the smallest, 128 KiB would take megabytes."""

MAX_INTERIM: Final = 1000
"""Interim responses before the final one, at most: ``102 Processing`` every 20 s for five hours."""


class ResponseError(Exception):
    """The upstream's answer is not HTTP, or ends too early; the text says how.

    ``error`` is the type of the fault (RFC 9209 §2.3).
    """

    def __init__(self, text: str, error: str = "http_protocol_error") -> None:
        super().__init__(text)
        self.error = error


def incomplete() -> ResponseError:
    """The upstream has closed in the middle of its answer, or before it."""
    return ResponseError("closed before the response was complete", "http_response_incomplete")


class ResponseHandler(Protocol):
    """The receiver of a response's parts."""

    def response_interim(self, status: int, headers: Headers) -> None:
        """An interim (1xx) response."""

    def response_head(self, head: ResponseHead) -> None:
        """The final response's head."""

    def response_body(self, data: bytes) -> None:
        """A part of its content."""

    def response_end(self, trailers: Headers) -> None:
        """The response is complete."""


class ResponseReader:
    """Parser of the responses of one connection, one request at a time.

    ``reusable`` tells after a complete response whether the connection can carry another request;
    ``in_head`` whether the final head is still to come.
    """

    def __init__(self) -> None:
        self.reusable = True
        self.in_head = True
        self.keep_alive_seconds: int | None = None
        self._handler: ResponseHandler | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._head_only = False
        self._content: list[bytes] = []  # of this call of receive(), not yet handed on

    def begin(self, handler: ResponseHandler, method: bytes, upgrade: bytes = b"") -> None:
        """Expect the response to a *method* request; its parts go to *handler*.

        With *upgrade*, the response may be 101: all that follows is then content.
        """
        self._handler = handler
        self._upgrade = upgrade
        self._switched = False
        self._head_only = method == b"HEAD"
        if self._parser is None:
            self._parser = httptools.HttpResponseParser(self)
        self._silent = 0
        self._interims = 0
        self._reset()

    def _reset(self) -> None:
        self._chunked = False
        self._fields: Headers = []
        self._trailers: Headers = []
        self.in_head = True
        self._interim = False
        self._until_close = False

    def close(self) -> None:
        """Read nothing more, and drop all references, so that everything is freed at once."""
        self._handler = self._parser = None
        self._content.clear()

    def receive(self, data: bytes | memoryview) -> None:
        """Parse *data*. Raises :class:`ResponseError`."""
        if self._handler is None or self._parser is None:
            raise ResponseError("data without a request")
        if self._switched:
            self._handler.response_body(bytes(data))
            return
        self._progress = False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as stop:
            if rest := bytes(data[stop.args[0] :]):
                self._handler.response_body(rest)
            return
        except httptools.HttpParserError as error:
            self._hand_on()
            cause = error.__context__
            if isinstance(cause, ResponseError):
                raise cause from None
            raise ResponseError(str(error)) from error
        content = self._content
        if content:
            if len(content) == 1 and self._handler is not None:
                self._handler.response_body(content.pop())
            else:
                self._hand_on()
        self._silent = 0 if self._progress else self._silent + len(data)
        if self._silent > MAX_HEAD:
            raise ResponseError("header fields too large", "http_response_header_section_size")

    def eof(self) -> None:
        """The upstream closed; raises :class:`ResponseError` unless that ends the response."""
        self.reusable = False
        if self._handler is None:
            return
        if not (self._until_close or self._switched):
            raise incomplete()
        self._finish()

    # -- parser callbacks --------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Parser callback: the first byte of a message."""
        if self._handler is None:
            raise ResponseError("data after the end of the response")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Parser callback: a field of the head or a trailer."""
        fields = self._fields if self.in_head else self._trailers
        if len(fields) == MAX_FIELDS:
            raise ResponseError("too many header fields", "http_response_header_section_size")
        fields.append((name, value.strip(b" \t")))  # the parser leaves the blanks after it

    def on_headers_complete(self) -> None:
        """Parser callback: the head is complete."""
        if self._handler is None or self._parser is None:
            raise ResponseError("data after the end of the response")
        self._progress = True
        parser = self._parser
        status = parser.get_status_code()
        if status < 100:
            raise ResponseError("invalid status code")
        if status < 200:
            if status == 101:
                self._switch(self._handler)
                return
            self._interim = True
            self._interims += 1
            if self._interims > MAX_INTERIM:
                raise ResponseError("too many interim responses")
            self._handler.response_interim(status, self._fields)
            return
        self.in_head = False
        length, chunked = self._framing(status)
        self._chunked = chunked
        self.reusable = bool(parser.should_keep_alive())
        if self._head_only:
            # The parser would wait for content that never comes to an answer to HEAD
            # (RFC 9112 §6.3): it is done with.
            self._parser = None
        elif length is None and not chunked and status not in BODILESS_STATUSES:
            self._until_close = True
            self.reusable = False
        self._handler.response_head(ResponseHead(status, self._fields, length))
        if self._head_only:
            self._finish()

    def _switch(self, handler: ResponseHandler) -> None:
        if not self._upgrade:
            raise ResponseError("switched protocols unasked", "http_upgrade_failed")
        if tokens(self._fields, b"upgrade") != {self._upgrade}:
            text = "switched to another protocol than asked for"
            raise ResponseError(text, "http_upgrade_failed")
        if self._parser is None or not self._parser.should_upgrade():
            text = "switched protocols without Connection: Upgrade"
            raise ResponseError(text, "http_upgrade_failed")
        self._switched = True
        self.reusable = False
        handler.response_head(ResponseHead(101, self._fields, None))

    def _framing(self, status: int) -> tuple[int | None, bool]:
        length: int | None = None
        chunked = False
        for name, value in self._fields:
            key = name.lower()
            if key == b"content-length":
                if not value.isdigit() or int(value) > MAX_LENGTH:
                    raise ResponseError("bad Content-Length")
                length = int(value)
            elif key == b"transfer-encoding":
                if chunked or value.lower() != b"chunked":
                    raise ResponseError("unknown transfer coding", "http_response_transfer_coding")
                chunked = True
            elif key == b"keep-alive":
                self._note_keep_alive(value)
        if chunked and length is not None:
            raise ResponseError("both Content-Length and Transfer-Encoding")
        return length, chunked

    def _note_keep_alive(self, value: bytes) -> None:
        timeout = _TIMEOUT.search(value)
        if timeout:
            self.keep_alive_seconds = int(timeout[1])

    def on_body(self, data: bytes) -> None:
        """Parser callback: content."""
        self._progress = True
        if self._handler is None:
            raise ResponseError("data after the end of the response")
        if self._chunked:
            self._content.append(data)
        else:  # that is one piece of each read
            self._handler.response_body(data)

    def _hand_on(self) -> None:
        """Hand on the content of one read in one go, however small its chunks."""
        content, self._content = self._content, []
        if content and self._handler is not None:
            self._handler.response_body(content[0] if len(content) == 1 else b"".join(content))

    def on_message_complete(self) -> None:
        """Parser callback: the message is complete."""
        self._progress = True
        if self._trailers and self._parser is not None and not self._parser.should_keep_alive():
            self.reusable = False  # a trailer was a Connection field
        if self._interim:
            self._reset()
        elif self._handler is not None and not self._switched:
            self._finish()

    def _finish(self) -> None:
        if self._content:
            self._hand_on()
        handler, self._handler = self._handler, None
        if handler is not None:
            handler.response_end(self._trailers)
