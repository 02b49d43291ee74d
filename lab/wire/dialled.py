"""An HTTP transport that dials one place for every URL."""

from __future__ import annotations

import ssl

import httpx2


class DialledTransport(httpx2.AsyncHTTPTransport):
    """Dials `place` (host:port) and trusts `ca` (PEM); TLS name and Host stay the URL's."""

    def __init__(self, place: str, ca: str, http2: bool = False) -> None:
        super().__init__(verify=ssl.create_default_context(cadata=ca), http2=http2)
        self._host, _, port = place.rpartition(":")
        self._port = int(port)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        request.extensions = {**request.extensions, "sni_hostname": request.url.host}
        request.url = request.url.copy_with(host=self._host, port=self._port)
        return await super().handle_async_request(request)
