"""Routes change while calls are in progress: the calls go on, and nothing new begins."""

from __future__ import annotations

from contextlib import ExitStack

from replicas import HOSTS, LAB, LAB_NAME, lab, shell, state_host
from rules import load_rules, table
from streamer import streaming

UPSTREAM = "10.77.0.2"
PORT = 8000
STATE = "/var/lib/mcp-tunnel/default"
# The proxy would do this for the next request.
CONNECTS = (
    "setpriv --reuid=mcp-proxy --clear-groups python3 -c"
    f" 'import socket; socket.create_connection((\"{UPSTREAM}\", {PORT}), 5)'"
)


def test_streams_outlive_their_route() -> None:
    ca, domain = (
        state_host().check_output(f"cat {STATE}/{each}") for each in ("ca.crt", "tunnel-domain")
    )
    before = {name: table(shell(name)) for name in HOSTS}
    with ExitStack() as calls:
        streams = []
        for name in HOSTS:
            lab("edge", LAB_NAME, "pin", name)
            calls.callback(lab, "edge", LAB_NAME, "unpin")
            for transport in ("http", "sse"):
                call = streaming(LAB["edge_front"], ca, f"echo.{domain.strip()}", transport)
                streams.append(calls.enter_context(call))
        for name in HOSTS:
            shell(name).check_output(CONNECTS)

        load_rules(mcp_tunnel_routes={"secure": LAB["upstreams"]["secure"]})
        for name in HOSTS:
            assert f"{UPSTREAM} . {PORT}" not in table(shell(name))
            assert "ConnectionRefusedError" in shell(name).run(CONNECTS).stderr
        for stream in streams:
            stream.goes_on()

        load_rules()
        assert {name: table(shell(name)) for name in HOSTS} == before
        for stream in streams:
            stream.goes_on()
