from __future__ import annotations

from ansible_collections.mcp_tunnels.stack.plugins.plugin_utils.preflight import plan
from ansible_collections.mcp_tunnels.stack.tests.unit.plugins.support.variables import good
from hypothesis import given
from hypothesis import strategies as st

PRIVATE = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]


def planned(**changes):
    return plan.make_plan(good(**changes), ["a"], "a")["firewall"]


def upstreams(*urls, **changes):
    routes = {f"r{number}": url for number, url in enumerate(urls)}
    return planned(mcp_tunnel_routes=routes, **changes)["upstreams"]


def test_the_published_networks_of_the_edge():
    firewall = planned()
    assert firewall["edge_v4"] == ["198.41.192.0/19"]
    assert firewall["edge_v6"] == ["2606:4700:a0::/44"]


def test_an_edge_without_ipv6():
    firewall = planned(mcp_tunnel_edge_networks=["203.0.113.7"])
    assert (firewall["edge_v4"], firewall["edge_v6"]) == (["203.0.113.7"], [])


def test_an_address_is_exactly_itself():
    assert upstreams("http://10.77.0.2:8000", "https://10.77.0.2:8443") == [
        "10.77.0.2 . 8000",
        "10.77.0.2 . 8443",
    ]


def test_a_name_is_any_address_that_may_be_dialled():
    assert upstreams("http://mcp.internal:80") == [f"{item} . 80" for item in PRIVATE]
    assert upstreams("http://mcp.internal:80", proxy_allowed_ips=["10.1.2.3/24"]) == [
        "10.1.2.0/24 . 80"
    ]
    assert upstreams("http://mcp.internal:80", proxy_disable_ip_validation=True) == [
        "0.0.0.0/0 . 80"
    ]


def test_an_address_does_not_overlap_with_a_name_of_its_port():
    assert upstreams("http://x_y:80", "http://10.0.0.1:80", "http://10.0.0.1:81") == [
        *(f"{item} . 80" for item in PRIVATE),
        "10.0.0.1 . 81",
    ]


def covered(element, first):
    """Return the numbers of an element's addresses, counted from the address *first*."""
    address, length = (*element.split("/"), "")[:2]
    if ":" in address:
        number, bits = int(address.rpartition(":")[2] or "0", 16), 128
    else:
        number, bits = int(address.rpartition(".")[2]), 32
    assert address.startswith(first)
    return range(number, number + 2 ** (bits - int(length or bits)))


def networks(first, bits):
    """Networks of at most 32 addresses, the lowest of which are those that begin with *first*."""
    text = "{:x}" if bits == 128 else "{}"

    def made(number, small):
        size = 2**small
        return f"{first}{text.format(number // size * size)}/{bits - small}"

    return st.builds(made, st.integers(0, 127), st.integers(0, 5))


@given(
    st.lists(networks("203.0.113.", 32), min_size=1, max_size=12),
    st.lists(networks("2001:db8::", 128), max_size=12),
)
def test_the_elements_of_the_edge(v4, v6):
    firewall = planned(mcp_tunnel_edge_networks=v6 + v4)
    for first, given_networks, name in (
        ("203.0.113.", v4, "edge_v4"),
        ("2001:db8::", v6, "edge_v6"),
    ):
        wanted = {number for item in given_networks for number in covered(item, first)}
        elements = [number for item in firewall[name] for number in covered(item, first)]
        assert len(elements) == len(set(elements))
        assert set(elements) == wanted


@given(
    st.lists(networks("10.0.0.", 32), min_size=1, max_size=6),
    st.lists(
        st.tuples(st.one_of(st.none(), st.integers(0, 127)), st.sampled_from([80, 443, 8000])),
        min_size=1,
        max_size=8,
    ),
)
def test_the_elements_of_the_upstreams(allowed, routes):
    urls = [
        f"http://{'name' if number is None else f'10.0.0.{number}'}:{port}"
        for number, port in routes
    ]
    dialled = [number for item in allowed for number in covered(item, "10.0.0.")]
    wanted = {
        (number, port)
        for address, port in routes
        for number in (dialled if address is None else [address])
    }
    elements = [
        (number, int(port))
        for network, port in (
            item.split(" . ") for item in upstreams(*urls, proxy_allowed_ips=allowed)
        )
        for number in covered(network, "10.0.0.")
    ]
    assert len(elements) == len(set(elements))
    assert set(elements) == wanted
