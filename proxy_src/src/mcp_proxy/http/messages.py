"""The parts of HTTP messages that pass between the layers, whatever version carried them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

Headers = list[tuple[bytes, bytes]]
"""Header or trailer fields in their order, names in the case in which they came."""

IDLE: Final = "idle"
HEAD: Final = "head"
BUSY: Final = "busy"
"""Phases of a connection: nothing begun, a request's head incomplete, at least one request open."""

MAX_LENGTH: Final = (1 << 63) - 1
"""Bytes of content that a ``Content-Length`` may announce: above, a reader with a signed integer
sees another number than one without."""

BODILESS_STATUSES: Final = frozenset((204, 304))
"""Final statuses whose responses never have content (RFC 9110 §6.4.1)."""


@dataclass
class RequestHead:
    """A request up to its content.

    ``authority`` is the ``Host`` or ``:authority`` value; ``headers`` has neither, and need not
    have the framing fields. ``length`` is the size of the content in bytes, 0 if there is none,
    ``None`` if only its end will tell.
    ``http_version`` is ``1.0``, ``1.1`` or ``2``. ``upgrade`` is the protocol that the client wants
    to switch to, if it is one that may be: ``websocket``.
    """

    method: bytes
    target: bytes
    authority: bytes
    headers: Headers
    length: int | None
    http_version: str
    upgrade: bytes = b""


@dataclass
class ResponseHead:
    """A final response up to its content; ``length`` as in :class:`RequestHead`.

    Status 101 is final too: what follows, in both directions, belongs to the protocol of the
    request's ``upgrade``, until one side closes.
    """

    status: int
    headers: Headers
    length: int | None


class ClientStream(Protocol):
    """The client's side of one exchange: takes the response, paces the request."""

    @property
    def room(self) -> int:
        """How many bytes of the response are welcome at a time: less when much is waiting."""

    def send_interim(self, status: int, headers: Headers) -> None:
        """Pass on an interim (1xx) response."""

    def send_head(self, head: ResponseHead) -> None:
        """Send the final response's head. Exactly once, before any content."""

    def send_body(self, data: bytes) -> None:
        """Send a part of the content."""

    def send_end(self, trailers: Headers) -> None:
        """End the response."""

    def abort(self) -> None:
        """Give up after the head was sent: the client must notice that the content is cut short."""

    def hold(self) -> None:
        """Stop delivering content of the request, as far as the protocol can."""

    def release(self) -> None:
        """Undo :meth:`hold`."""


class RequestHandler(Protocol):
    """The receiver of a client's request, as it comes in."""

    def request_body(self, data: bytes) -> None:
        """Take a part of the content."""

    def request_end(self, trailers: Headers) -> None:
        """The request is complete."""

    def client_gone(self) -> None:
        """The client has gone or has cancelled; nothing more can be sent to it."""

    def pause(self) -> None:
        """The client does not take the response fast enough: send nothing for now."""

    def resume(self) -> None:
        """Undo :meth:`pause`."""

    def tick(self, now: float) -> None:
        """Check time limits; *now* is the loop's time in seconds."""


class OnRequest(Protocol):
    """Starts handling a request."""

    def __call__(self, head: RequestHead, stream: ClientStream) -> RequestHandler:
        """Return the handler for the rest of the request."""


class ClientConnection(Protocol):
    """The connection to the client, as the HTTP layers see it."""

    @property
    def scarce(self) -> bool:
        """Whether so much waits for all clients that none should have more than it needs."""

    def abort(self) -> None:
        """Close so that the client can tell that something is missing."""

    def wake(self) -> None:
        """There is output, or input is wanted again: see to it in this turn of the loop."""


class _Gone:
    """Stands in for a connection that is lost."""

    scarce = False

    def abort(self) -> None:
        """See :class:`ClientConnection`."""

    def wake(self) -> None:
        """See :class:`ClientConnection`."""


GONE: Final[ClientConnection] = _Gone()
"""The connection of an HTTP layer that has lost it."""
