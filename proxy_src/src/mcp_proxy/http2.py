"""HTTP/2 towards the client."""

from __future__ import annotations

from .http1 import Http1Server
from .messages import Channel, OnRequest
from .settings import Limits


class Http2Server(Http1Server):
    def __init__(self, on_request: OnRequest, channel: Channel, limits: Limits) -> None:
        super().__init__(on_request, channel, limits.max_header_bytes)
