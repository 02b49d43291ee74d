"""A flood's memory goes back to the system, and is not kept in holes of the C library's heap."""

from __future__ import annotations

import asyncio
from pathlib import Path

from clients import Client, closing_all, comes_to, rss
from h2.connection import H2Connection
from running import DOMAIN, running_proxy
from upstreams import raw_upstream, read_head

CONNECTIONS, STREAMS = 10, 100
#: Then the proxy looks at its load twice a second: a quarter of the shortest time limit.
TIMEOUTS = {"header": "2s"}
SEVERAL_LOOKS = 6.0
LIMITS = {"max_connections": 100}
IN_FLIGHT = "mcp_proxy_requests_in_flight"
#: Number of looks at the memory; the proxy gives it back within some of its ticks.
LOOKS, PAUSE = 600, 0.1


async def stalled(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An upstream whose answer has begun, and does not go on."""
    await read_head(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + bytes(1 << 16))
    await reader.read()  # until the proxy gives up


def requests(route: str) -> bytes:
    """The beginning of an HTTP/2 connection, with as many requests as it may have."""
    connection = H2Connection()
    connection.initiate_connection()
    for number in range(STREAMS):
        head = {":method": "GET", ":scheme": "https", ":path": "/", ":authority": route}
        connection.send_headers(2 * number + 1, list(head.items()), end_stream=True)
    return bytes(connection.data_to_send())


async def test_most_of_it_comes_back_when_the_streams_have_gone(tmp_path: Path) -> None:
    """Compared with the memory of the same process before and during the flood."""
    async with raw_upstream(stalled) as port:
        routes = {"bulk": f"http://127.0.0.1:{port}"}
        async with running_proxy(tmp_path, routes, timeouts=TIMEOUTS, limits=LIMITS) as proxy:
            context = proxy.client_tls("h2")
            wanted = requests(f"bulk.{DOMAIN}")

            def ask(client: Client) -> None:
                client.open_websocket()
                client.open_tls(context, "bulk")
                client.send(wanted)

            empty = rss(proxy)
            with closing_all() as clients:
                for _ in range(CONNECTIONS):
                    clients.append(await asyncio.to_thread(Client, proxy.port))
                    await asyncio.to_thread(ask, clients[-1])
                await comes_to(proxy, IN_FLIGHT, CONNECTIONS * STREAMS)
                await asyncio.sleep(SEVERAL_LOOKS)  # a shorter flood is not noticed
                grown = rss(proxy) - empty
            await comes_to(proxy, IN_FLIGHT, 0)
            left = grown
            for _ in range(LOOKS):
                left = rss(proxy) - empty
                if left < grown / 2:
                    break
                await asyncio.sleep(PAUSE)
            print(f"{grown / 1e6:.1f} MB more during the flood, {left / 1e6:.1f} MB after it")
            assert left < grown / 2
