"""The conditions under which two listings are the same, and how counters go on."""

from __future__ import annotations

import copy

from ansible_collections.mcp_tunnels.stack.plugins.module_utils.firewall import (
    listing as nft_listing,
)

LISTING = [
    {"metainfo": {"version": "1.0.6", "json_schema_version": 1}},
    {"counter": {"name": "proxy/refused", "handle": 2, "packets": 7, "bytes": 420}},
    {"set": {"name": "resolvers_v4", "handle": 3, "elem": ["10.0.0.1", "10.0.0.2"]}},
    {
        "rule": {
            "chain": "proxy",
            "handle": 9,
            "expr": [
                {"match": {"op": "==", "left": "dport", "right": {"set": [53, 853]}}},
                {"counter": "proxy/refused"},
                {"accept": None},
            ],
        }
    },
]


def changed(change):
    listing = copy.deepcopy(LISTING)
    change(listing)
    return nft_listing.digest(listing) != nft_listing.digest(LISTING)


def test_what_the_kernel_adds_does_not_matter():
    def load_again(listing):
        listing[1]["counter"].update(handle=20, packets=8, bytes=480)
        listing[2]["set"].update(handle=30, elem=["10.0.0.2", "10.0.0.1"])
        listing[3]["rule"]["handle"] = 90
        listing[3]["rule"]["expr"][0]["match"]["right"]["set"] = [853, 53]

    assert not changed(load_again)


def test_everything_else_does():
    assert changed(lambda listing: listing.pop(3))
    assert changed(lambda listing: listing[2]["set"]["elem"].append("10.0.0.3"))
    assert changed(lambda listing: listing[3]["rule"]["expr"].insert(0, {"accept": None}))
    assert changed(lambda listing: listing[3]["rule"]["expr"].reverse())
    assert changed(lambda listing: listing.insert(3, listing[3]))


def test_the_version_is_no_part_of_it():
    assert not changed(lambda listing: listing[0]["metainfo"].update(version="1.1.3"))
    assert nft_listing.nft_version(LISTING) == "1.0.6"


def test_counters():
    assert nft_listing.counters(LISTING) == {"proxy/refused": [7, 420]}
    assert nft_listing.counters(None) == {}


def test_counters_go_on():
    rules = (
        "table inet mcp_tunnel {\n\tcounter proxy/refused { }\n\tcounter proxy/new { }\n"
        "\tchain proxy {\n\t\tcounter name proxy/refused\n\t}\n}\n"
    )
    totals = {"proxy/refused": [7, 420], "proxy/gone": [1, 60]}
    assert nft_listing.continued(rules, totals) == rules.replace(
        "counter proxy/refused { }", "counter proxy/refused { packets 7 bytes 420 }"
    ).replace("counter proxy/new { }", "counter proxy/new { packets 0 bytes 0 }")


def test_numbers_of_accounts_are_compared_with_the_accounts():
    def held(name, number):
        return [{"set": {"name": name, "elem": [number]}}]

    digest = nft_listing.digest
    assert digest(held("account/mcp-proxy", 997)) == digest(held("account/mcp-proxy", 5))
    assert digest(held("account/mcp-proxy", 997)) != digest(held("account/ops", 997))
    assert digest(held("resolvers_v4", 1)) != digest(held("resolvers_v4", 2))
