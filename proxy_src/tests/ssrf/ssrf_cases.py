"""The table of the SSRF tests: possible names of an upstream, and the outcome of each."""

from __future__ import annotations

from dataclasses import dataclass

from name_server import (
    AAAA,
    CNAME,
    NXDOMAIN,
    REFUSED,
    SERVFAIL,
    A,
    Record,
    Reply,
    addresses,
    chain,
)

PORT = 8000
UPSTREAM = "10.0.0.5"
OTHER = "10.0.0.6"
REFUSING = "10.0.0.66"
SILENT = "10.0.0.99"
METADATA = "169.254.169.254"
HOST_ITSELF = "203.0.113.5"


@dataclass(frozen=True)
class Outcome:
    """``dialled`` are the addresses that are tried, and the only ones but for ``late``.

    Those may be tried as well, in their order: each address has its share of the time to connect,
    which is a few milliseconds of 300 addresses, and a busy machine can need more.
    """

    status: int
    text: str
    log: str
    dialled: tuple[str, ...] = ()
    late: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """A route to ``host``, about which the name server says ``replies``."""

    title: str
    host: str
    replies: tuple[Reply, ...]
    outcome: Outcome


def served(*dialled: str, late: tuple[str, ...] = ()) -> Outcome:
    return Outcome(200, "served", "request finished", dialled, late)


def refused(address: str) -> Outcome:
    return Outcome(
        502,
        "Upstream IP validation failed",
        f"IP validation failed: {address} is not a private address",
    )


UNRESOLVED = Outcome(502, "Upstream name cannot be resolved", "cannot resolve ")

ALLOWED_BY_DEFAULT = (
    "10.0.0.0",
    "10.0.0.5",
    "10.255.255.255",
    "172.16.0.0",
    "172.31.255.255",
    "192.168.0.0",
    "192.168.255.255",
)
FORBIDDEN_BY_DEFAULT = {
    "9.255.255.255": "the last before 10/8",
    "11.0.0.0": "the first after 10/8",
    "172.15.255.255": "the last before 172.16/12",
    "172.32.0.0": "the first after 172.16/12",
    "192.167.255.255": "the last before 192.168/16",
    "192.169.0.0": "the first after 192.168/16",
    "0.0.0.0": "this host, for Linux",
    "0.1.2.3": "this network",
    "127.0.0.1": "loopback",
    "127.0.0.2": "loopback",
    "127.255.255.254": "loopback",
    METADATA: "metadata of AWS, Azure, GCP",
    "169.254.170.2": "credentials of ECS tasks",
    "169.254.0.1": "link-local",
    "100.100.100.200": "metadata of Alibaba",
    "100.64.0.0": "carrier-grade NAT",
    "100.127.255.255": "carrier-grade NAT",
    "168.63.129.16": "Azure's wire server",
    "192.0.0.192": "metadata of Oracle",
    "192.0.2.1": "documentation",
    "192.88.99.1": "relays of 6to4",
    "198.18.0.1": "benchmarks",
    HOST_ITSELF: "the host's own address",
    "8.8.8.8": "the Internet",
    "224.0.0.1": "multicast",
    "239.255.255.255": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "broadcast",
}
ASSIGNED = tuple(
    address
    for address in (*ALLOWED_BY_DEFAULT, OTHER, REFUSING, SILENT, *FORBIDDEN_BY_DEFAULT)
    # 0/8 cannot be given to an interface; 127/8 has been.
    if not address.startswith(("0.", "127."))
)
HOSTS = f"127.0.0.1 localhost\n{METADATA} pinned.test\n{UPSTREAM} good.pinned.test\n"

_ALL_GOOD = tuple(f"10.1.{number // 250}.{number % 250}" for number in range(300))
_LABEL = "a" * 63
_LONGEST = f"{_LABEL}.{_LABEL}.{_LABEL}.{'b' * 56}.test"
_UNRELATED = (Record(A, UPSTREAM, owner="other.test"),)


def _named(title: str, outcome: Outcome, *replies: Reply) -> Case:
    return Case(title, f"{title}.test", replies, outcome)


CASES = (
    *(
        _named(f"allowed-{address.replace('.', '-')}", served(address), addresses(address))
        for address in ALLOWED_BY_DEFAULT
    ),
    *(
        _named(f"forbidden-{address.replace('.', '-')}", refused(address), addresses(address))
        for address in FORBIDDEN_BY_DEFAULT
    ),
    *(
        Case(f"literal-{address.replace('.', '-')}", address, (), refused(address))
        for address in FORBIDDEN_BY_DEFAULT
    ),
    Case("literal-allowed", UPSTREAM, (), served(UPSTREAM)),
    # Several addresses: one forbidden address spoils the name, wherever it stands.
    _named("both-allowed", served(UPSTREAM, late=(OTHER,)), addresses(UPSTREAM, OTHER)),
    _named("good-then-bad", refused(METADATA), addresses(UPSTREAM, METADATA)),
    _named("bad-then-good", refused(METADATA), addresses(METADATA, UPSTREAM)),
    # The resolver puts link-local addresses first, others stay where they are.
    _named("good-then-public", refused(HOST_ITSELF), addresses(UPSTREAM, HOST_ITSELF)),
    _named("public-then-good", refused(HOST_ITSELF), addresses(HOST_ITSELF, UPSTREAM)),
    _named("last-of-many", refused(HOST_ITSELF), addresses(*_ALL_GOOD[:20], HOST_ITSELF)),
    _named("the-same-twice", served(UPSTREAM), addresses(UPSTREAM, UPSTREAM)),
    _named("first-refuses", served(REFUSING, UPSTREAM), addresses(REFUSING, UPSTREAM)),
    _named("first-is-silent", served(SILENT, UPSTREAM), addresses(SILENT, UPSTREAM)),
    _named(
        "all-refuse",
        Outcome(502, "Upstream refused the connection", f"refused by {REFUSING}", (REFUSING,)),
        addresses(REFUSING),
    ),
    _named(
        "all-silent",
        Outcome(
            504,
            "Upstream did not accept the connection in time",
            "no connection within 10 s",
            (SILENT,),
        ),
        addresses(SILENT),
    ),
    # Over 512 bytes, and so over TCP.
    _named("huge", served(_ALL_GOOD[0], late=_ALL_GOOD[1:64]), addresses(*_ALL_GOOD)),
    _named("huge-and-bad", refused(HOST_ITSELF), addresses(*_ALL_GOOD, HOST_ITSELF)),
    # Chains of CNAME.
    _named("alias", served(UPSTREAM), chain("a.test", to=(UPSTREAM,))),
    _named("alias-to-bad", refused(METADATA), chain("a.test", to=(METADATA,))),
    _named("alias-to-both", refused(HOST_ITSELF), chain("a.test", to=(UPSTREAM, HOST_ITSELF))),
    _named(
        "long-chain-to-bad",
        refused("127.0.0.1"),
        chain(*(f"c{number}.test" for number in range(12)), to=("127.0.0.1",)),
    ),
    _named("alias-to-localhost", refused("127.0.0.1"), chain("localhost", to=("127.0.0.1",))),
    _named("alias-of-itself", UNRESOLVED, chain("alias-of-itself.test", to=())),
    _named("alias-to-nothing", UNRESOLVED, chain("a.test", to=())),
    _named("alias-to-no-hostname", served(UPSTREAM), chain("a b\n.test", to=(UPSTREAM,))),
    _named("unrelated-record", UNRESOLVED, Reply(_UNRELATED)),
    _named(
        "unrelated-alias",
        UNRESOLVED,
        Reply(
            (
                Record(CNAME, "x.test", owner="y.test"),
                Record(A, METADATA, owner="unrelated-alias.test"),
            )
        ),
    ),
    # IPv6 is never dialled, mapped or not.
    _named("only-ipv6", UNRESOLVED, Reply((Record(AAAA, "fd00::5"),))),
    _named("only-mapped", UNRESOLVED, Reply((Record(AAAA, f"::ffff:{METADATA}"),))),
    _named("ipv6-loopback", UNRESOLVED, Reply((Record(AAAA, "::1"),))),
    _named(
        "ipv6-and-good",
        served(UPSTREAM),
        Reply((Record(AAAA, "::1"), Record(A, UPSTREAM))),
    ),
    # No answer worth the name.
    _named("nxdomain", UNRESOLVED, Reply(code=NXDOMAIN)),
    _named("servfail", UNRESOLVED, Reply(code=SERVFAIL)),
    _named("not-for-you", UNRESOLVED, Reply(code=REFUSED)),
    _named("nodata", UNRESOLVED, Reply()),
    _named("silence", UNRESOLVED, Reply(silent=True)),
    _named("garbage", UNRESOLVED, Reply(raw=b"\xff" * 60)),
    _named("short-record", UNRESOLVED, Reply(raw=b"\0\0\1\0\1\0\0\0\0\0\2\x0a\0")),
    _named("answer-to-nobody", UNRESOLVED, Reply((Record(A, UPSTREAM),), foreign=True)),
    # The name itself.
    Case("upper-case", "UPPER.TEST", (), served(UPSTREAM)),
    Case("underscore", "_mcp._tcp.test", (addresses(UPSTREAM),), served(UPSTREAM)),
    Case("punycode", "xn--bcher-kva.test", (addresses(UPSTREAM),), served(UPSTREAM)),
    Case("longest-name", _LONGEST, (addresses(UPSTREAM),), served(UPSTREAM)),
    Case("search-domain", "intra", (), served(UPSTREAM)),
    Case("hosts-file", "pinned.test", (), refused(METADATA)),
    Case("hosts-file-allowed", "good.pinned.test", (), served(UPSTREAM)),
    Case("hosts-file-localhost", "localhost", (), refused("127.0.0.1")),
    # A name that inet_aton(3) takes for an address is judged by the address.
    Case("hexadecimal", "0x7f000001", (), refused("127.0.0.1")),
    Case("hexadecimal-allowed", "0x0a000005", (), served(UPSTREAM)),
    Case("hexadecimal-metadata", "0xa9fea9fe", (), refused(METADATA)),
    Case("hexadecimal-last-part", "127.0x1", (), refused("127.0.0.1")),
)
IN_ORDER = {"first-refuses", "first-is-silent", "huge"}
"""Cases whose outcome is that of the order in which the name server gives the addresses."""
FURTHER_NAMES = {"upper.test": [addresses(UPSTREAM)], "intra.corp.test": [addresses(UPSTREAM)]}

# With `allowed_ips`, which replace the default: networks of any size, and single addresses.
ALLOWED_IPS = ["10.9.8.0/29", "10.7.7.7", "10.6.6.6/31", "127.0.0.53/32"]
EDGES = (
    *((address, True) for address in ("10.9.8.0", "10.9.8.7", "10.7.7.7", "10.6.6.6", "10.6.6.7")),
    ("127.0.0.53", True),
    *((address, False) for address in ("10.9.7.255", "10.9.8.8", "10.7.7.6", "10.7.7.8")),
    *(
        (address, False)
        for address in ("10.6.6.5", "10.6.6.8", UPSTREAM, "127.0.0.1", "127.0.0.52")
    ),
    *((address, False) for address in ("192.168.0.1", "172.16.0.1", METADATA, "0.0.0.0")),
)

# Refused before anything runs: the value of a route, and the message about it.
_NOT_FOUR = "write an IPv4 address as four decimal numbers"
_NO_HOST = "the host is neither a hostname nor an IPv4 address"
_SHAPE = "give scheme http or https, host and port, and no path"
_RANGE = "a port lies between 1 and 65535"
BAD_UPSTREAMS = {
    "http://2130706433:80": _NOT_FOUR,
    "http://127.1:80": _NOT_FOUR,
    "http://10.0.5:80": _NOT_FOUR,
    "http://0177.0.0.1:80": _NOT_FOUR,
    "http://010.0.0.5:80": _NOT_FOUR,
    "http://017700000001:80": _NOT_FOUR,
    "http://0x7f.1:80": _NOT_FOUR,
    "http://10.0.0.256:80": _NOT_FOUR,
    "http://10.0.0.5.6:80": _NOT_FOUR,
    "http://10.0.0.5.:80": _NO_HOST,
    "http://mcp.test.:80": _NO_HOST,
    "http://bücher.test:80": _NO_HOST,
    "http://\uff11\uff12\uff17.0.0.1:80": _NO_HOST,
    "http://127\u30020\u30020\u30021:80": _NO_HOST,
    "http://mcp%2etest:80": _NO_HOST,
    "http://-mcp.test:80": _NO_HOST,
    f"http://{'a' * 64}.test:80": _NO_HOST,
    f"http://{'a.' * 125}test:80": _NO_HOST,
    "http://[::1]:80": _SHAPE,
    "http://[::ffff:169.254.169.254]:80": _SHAPE,
    "http://::1:80": _SHAPE,
    "http://user@10.0.0.5:80": _SHAPE,
    "http://10.0.0.5:80@127.0.0.1:80": _SHAPE,
    "http://10.0.0.5:80#127.0.0.1:80": _SHAPE,
    "http://10.0.0.5:80/path": _SHAPE,
    "http://10.0.0.5": _SHAPE,
    "http://10.0.0.5:": _SHAPE,
    "http://10.0.0.5:+80": _SHAPE,
    "http://10.0.0.5: 80": _SHAPE,
    "http://10.0.0.5:\uff18\uff10": _SHAPE,
    "http:10.0.0.5:80": _SHAPE,
    "gopher://10.0.0.5:80": _SHAPE,
    "file:///etc/passwd": _SHAPE,
    "unix:/run/x.sock": _SHAPE,
    "http://10.0.0.5:0": _RANGE,
    "http://10.0.0.5:65536": _RANGE,
    "http://10.0.0.5:99999": _RANGE,
}
BAD_ALLOWED_IPS = (
    "::1",
    "::ffff:10.0.0.0/104",
    "10.0.0",
    "010.0.0.1",
    "0x0a000005",
    "167772165",
    "10.0.0.0/33",
    "10.0.0.0-10.0.0.9",
    "localhost",
    "*",
)
