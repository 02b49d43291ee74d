"""Routes and addresses change: what is allowed begins, and what has begun goes on."""

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
    f" 'import socket; socket.create_connection((\"{UPSTREAM}\", {PORT}), 60)'"
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


def test_a_state_host_that_is_known_by_a_name() -> None:
    """Names move: its port is open at every address, and no other port."""
    member = shell(HOSTS[1])
    asks = CONNECTS.replace("mcp-proxy", "mcp-tunnel-renew")
    before = {name: table(shell(name)) for name in HOSTS}
    assert "ConnectionRefusedError" in member.run(asks).stderr
    load_rules(mcp_tunnel_ssh_address="state.example.net", mcp_tunnel_ssh_port=PORT)
    member.check_output(asks)
    chain = member.check_output("nft list chain inet mcp_tunnel renewal_instances")
    assert "ip daddr @resolvers_v4" in chain
    assert "ip6 daddr @resolvers_v6" in chain
    assert "renewal" not in state_host().check_output(
        "nft list chain inet mcp_tunnel renewal_instances"
    ).replace("renewal_instances", "")
    load_rules(mcp_tunnel_ssh_address="state.example.net", mcp_tunnel_ssh_port=22)
    assert "ConnectionRefusedError" in member.run(asks).stderr
    load_rules()
    assert {name: table(shell(name)) for name in HOSTS} == before
