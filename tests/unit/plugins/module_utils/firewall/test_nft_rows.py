"""The rows of the table, from listings as nft 1.0.6 prints them."""

from __future__ import annotations

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall import rows as nft_rows


def match(field, right, protocol="ip"):
    left = {"payload": {"protocol": protocol, "field": field}}
    return {"match": {"op": "==", "left": left, "right": right}}


def rule(chain, comment, *expressions):
    return {"rule": {"chain": chain, "comment": comment, "expr": list(expressions)}}


def counter(name, packets=0):
    return {"counter": {"name": name, "packets": packets, "bytes": packets * 60}}


REFUSE = {"goto": {"target": "proxy_refused"}}
ACCEPT = {"accept": None}
REJECT = {"rule": {"chain": "refuse", "expr": [{"reject": {"type": "tcp reset"}}]}}
UPSTREAM = {
    "match": {
        "op": "==",
        "left": {"concat": [{"payload": {"field": "daddr"}}, {"payload": {"field": "dport"}}]},
        "right": "@upstreams/default",
    }
}
LISTING = [
    {"metainfo": {"version": "1.0.6"}},
    counter("proxy/refused", 5),
    counter("proxy/upstreams/default", 9),
    counter("proxy/upstreams/lab", 9),
    counter("proxy/resolvers", 2),
    counter("cloudflared/edge_v4/default", 100),
    counter("inbound/refused/default"),
    {"set": {"name": "resolvers_v4", "elem": ["10.0.0.53"]}},
    {"set": {"name": "resolvers_v6"}},
    {
        "set": {
            "name": "upstreams/default",
            "elem": [
                {"concat": ["10.0.0.2", 8000]},
                {"concat": [{"prefix": {"addr": "10.1.0.0", "len": 16}}, 443]},
            ],
        }
    },
    {"set": {"name": "edge_v4/default", "elem": [{"range": ["192.0.2.1", "192.0.2.5"]}]}},
    rule("proxy", "DNS", match("daddr", "@resolvers_v4"), match("dport", 53, "th"),
         {"counter": "proxy/resolvers"}, ACCEPT),
    rule("proxy", "DNS", match("daddr", "@resolvers_v6", "ip6"), match("dport", 53, "th"),
         {"counter": "proxy/resolvers"}, ACCEPT),
    rule("proxy", "anything else", {"counter": "proxy/refused"}, REFUSE),
    rule("proxy_instances", "upstreams", UPSTREAM,
         {"counter": "proxy/upstreams/default"}, ACCEPT),
    rule("proxy_instances", "upstreams", UPSTREAM, {"counter": "proxy/upstreams/lab"}, ACCEPT),
    rule("cloudflared_instances", "edge", match("daddr", "@edge_v4/default"),
         match("dport", 7844, "th"), {"counter": "cloudflared/edge_v4/default"}, ACCEPT),
    rule("inbound", "ports", match("dport", {"set": [8080, 8081]}, "tcp"),
         {"counter": "inbound/refused/default"}, REFUSE),
    {"rule": {"chain": "proxy_refused", "expr": [{"counter": "proxy/logged"}]}},
]  # fmt: skip


def test_rows():
    rows = nft_rows.rows([*LISTING, REJECT], "default", {"proxy/refused": [3, 180]})
    found = [(row.who, row.verdict, row.what, row.packets, row.since, row.peers) for row in rows]
    upstreams = ["10.0.0.2 port 8000", "10.1.0.0/16 port 443"]
    assert found == [
        ("mcp-cloudflared", "allowed", "edge", 100, 100, ["192.0.2.1-192.0.2.5 port 7844"]),
        ("mcp-proxy", "allowed", "DNS", 2, 2, ["10.0.0.53 port 53"]),
        ("mcp-proxy", "allowed", "upstreams", 9, 9, upstreams),
        ("mcp-proxy", "refused", "anything else", 5, 2, []),
        ("from outside", "refused", "ports", 0, 0, ["any port 8080/8081"]),
    ]


def test_a_counter_that_began_anew():
    rows = nft_rows.rows([*LISTING, REJECT], "default", {"proxy/refused": [30, 1800]})
    assert next(row.since for row in rows if row.counter == "proxy/refused") == 5


def test_in_audit_mode_nothing_is_refused():
    rows = nft_rows.rows(LISTING, "default", {})
    assert {row.verdict for row in rows} == {"allowed", "counted"}
    assert not nft_rows.refuses(LISTING)


def test_elements_of_sets():
    assert nft_rows.set_elements(LISTING, "resolvers_v4", "resolvers_v6") == ["10.0.0.53"]


def test_many_peers_are_shortened():
    row = nft_rows.Row("x", "x", "allowed", "x", [str(number) for number in range(6)], 0, 0, 0)
    assert nft_rows.shown_peers(row) == "0, 1, 2, 3 and 2 more"
